"""The command line: what it parses, what it prints, how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import bounded
import pytest
from fakes import make_comparison, make_manifest

from spanqa import __version__, comparison
from spanqa.answer import Answer
from spanqa.cli import app, main
from spanqa.console import print_answers, surroundings
from spanqa.errors import SpanQAError
from spanqa.export import QUESTIONS
from spanqa.manifest import Manifest
from spanqa.reader import BATCH_SIZE
from spanqa.recipe import HEADS, DataRecipe, Recipe, TrainingRecipe, find_recipe
from spanqa.records import write_atomic
from spanqa.run import Comparison, run_folder, write_questions
from spanqa.section import keys_of

COMMANDS = (
    "ask",
    "batch",
    "calibrate",
    "check",
    "compare",
    "evaluate",
    "export",
    "predict",
    "report",
    "score",
    "serve",
    "train",
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spanqa(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line; exit status, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A SQuAD 2.0 file with an answerable and an unanswerable question."""
    context = "The bridge was built by Ada Brånd in 1887. It spans the Lenna."
    start = context.index("Ada Brånd")
    questions = [
        {
            "id": "q1",
            "question": "Who built it?",
            "is_impossible": False,
            "answers": [{"text": "Ada Brånd", "answer_start": start}],
        },
        {"id": "q2", "question": "Who paid?", "is_impossible": True, "answers": []},
    ]
    return _squad(tmp_path / "data.json", context, questions)


def _squad(path: Path, context: str, questions: list[dict[str, Any]]) -> Path:
    paragraphs = [{"context": context, "qas": questions}]
    article = {"title": "Bridge", "paragraphs": paragraphs}
    path.write_text(json.dumps({"version": "v2.0", "data": [article]}), encoding="utf-8")
    return path


def _json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


# Help, version and speed


def test_help_lists_every_command(spanqa: Run) -> None:
    status, out, err = spanqa("--help")
    assert (status, err) == (0, "")
    assert re.findall(r"^│ (\w+) ", out, re.MULTILINE) == list(COMMANDS)
    assert "--debug" in out
    assert spanqa() == (status, out, err)


def test_version(spanqa: Run) -> None:
    assert spanqa("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("words", [["--help"], ["compare", "--help"], ["train", "--heads", "x"]])
def test_nothing_heavy_is_imported_for_help_and_errors(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from spanqa.cli import main\n"
        f"main({words})\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'matplotlib', 'scipy'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    done = bounded.run([sys.executable, "-c", code])
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stderr


@pytest.mark.parametrize("command", ["compare", "train"])
def test_help_shows_every_value_of_a_recipe(
    spanqa: Run, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")  # wide enough not to break a name
    _, shown, _ = spanqa(command, "--help")
    for key in keys_of(Recipe):
        in_train = key not in ("heads", "seeds")
        option = f"--{key.replace('_', '-')}"
        assert (option in shown) == (command == "compare" or in_train), key
    assert "Peak learning rate of AdamW." in shown


# Values of the recipe on the command line


def _parsed(*words: object) -> Recipe:
    _, bound, _ = app.parse_args([str(word) for word in words], exit_on_error=False)
    values = bound.arguments["values"]
    assert isinstance(values, Recipe)
    return values


CHANGED = Recipe(
    name="Zoë's",
    heads=("joint", "crf"),
    seeds=(3, 1),
    data=DataRecipe(
        train="squad_v2:train[:1000]",
        eval="my dev.json",
        extra=("more.json", "and more.json"),
        extra_sample=10,
        calibration="c.json",
        calibration_fraction=0.25,
        sample=100,
        sample_seed=1,
        eval_sample=50,
        misaligned="realign",
    ),
    training=TrainingRecipe(
        epochs=0.5, learning_rate=3e-5, head_learning_rate=1e-3, report_to=("tensorboard", "wandb")
    ),
)


@pytest.mark.parametrize("recipe", [Recipe(), CHANGED])
def test_the_file_gives_what_the_command_line_leaves_out(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert _parsed("compare", path, "--output", "x") == recipe
    changed = _parsed("compare", path, "-o", "x", "--training.batch-size", 3, "--seeds", 7, 8)
    assert changed == recipe.override({"training.batch_size": 3, "seeds": [7, 8]})


@pytest.mark.parametrize("name", ["demo", "minilm-squad2", "reader", "spanbert-squad2"])
def test_shipped_recipes_by_name(name: str) -> None:
    assert _parsed("compare", name, "--output", "x") == Recipe.from_yaml(find_recipe(name))


def test_demo_is_the_default_recipe() -> None:
    assert _parsed("compare", "--output", "x") == Recipe.from_yaml(find_recipe("demo"))


def test_every_value_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: plain", encoding="utf-8")
    words: list[object] = []
    for key in keys_of(Recipe):
        value: Any = CHANGED.to_dict()
        for part in key.split("."):
            value = value[part]
        if value is not None and value != []:
            words += [
                f"--{key.replace('_', '-')}",
                *(value if isinstance(value, list) else [value]),
            ]
    assert _parsed("compare", path, "--output", "x", *words) == CHANGED


def test_none_empties_a_value(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(CHANGED.to_yaml(), encoding="utf-8")
    words = ("--data.sample", "none", "--training.head-learning-rate", "none")
    values = _parsed("compare", path, "--output", "x", *words)
    assert values.data.sample is None
    assert values.training.head_learning_rate is None


def test_train_takes_one_head_and_one_seed(
    spanqa: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train_one` is a training of minutes, so it is only listened to here."""
    asked: list[tuple[Recipe, str, int, Path]] = []
    run = make_comparison(("crf",), (7,)).runs[0]

    def listen(recipe: Recipe, head: str, seed: int, output: Path) -> Any:
        asked.append((recipe, head, seed, output))
        return run

    monkeypatch.setattr(comparison, "train_one", listen)
    words = ("--head", "crf", "--seed", 7, "--output", tmp_path, "--training.epochs", 1)
    status, out, err = spanqa("train", "spanbert-squad2", *words)
    assert (status, err) == (0, "")
    published = Recipe.from_yaml(find_recipe("spanbert-squad2"))
    wanted = published.override({"heads": ["crf"], "seeds": [7], "training.epochs": 1})
    assert asked == [(wanted, "crf", 7, tmp_path)]
    assert re.search(rf"^exact +{run.metrics['exact']:.2f}$", out, re.MULTILINE)
    assert out.splitlines()[-1] == str(tmp_path / "model")


# Errors: one sentence, exit 2


ERRORS: list[tuple[list[str], str]] = [
    (["score", "no.json", "no2.json"], "no.json: no such file"),
    (["check", "no.json"], "no.json: no such file"),
    (["ask", "m", "-q", "Who?", "--context", "no.txt"], "no.txt: cannot be read: No such file"),
    (["ask", "m", "--context", "-"], 'Command "ask" parameter --question requires an argument.'),
    (["report", "nowhere"], "nowhere is not the folder of a comparison"),
    (["compare", "nothing", "--output", "x"], "nothing is neither a recipe file nor one of"),
    (["compare"], 'Command "compare" parameter --output requires an argument.'),
    (
        ["compare", "-o", "x", "--training.epoch", "2"],
        "Unknown option: --training.epoch. Did you mean --training.epochs?",
    ),
    (
        ["compare", "-o", "x", "--training.epochs", "two"],
        'Invalid value for --training.epochs: unable to convert "two" into float.',
    ),
    (
        ["compare", "-o", "x", "--training.schedule", "step"],
        'Invalid value "step" for --training.schedule. Choose from: "linear", "cosine", "const',
    ),
    (
        ["compare", "-o", "x", "--training.batch-size", "0"],
        "training.batch_size must be at least 1, got 0",
    ),
    (["compare", "-o", "x", "--heads", "crf", "crf"], "heads must be without repetitions"),
    (["compare", "-o", "x", "--windows.stride", "300"], "windows.stride must be less than"),
    (["train", "-o", "x", "--head", "lstm"], f"heads must be one or more of {', '.join(HEADS)}"),
    (["train", "-o", "x", "--head", "crf", "--heads", "crf"], "Unknown option: --heads."),
    (["compre"], 'Unknown command "compre". Did you mean "compare"?'),
    (
        ["predict", "m", "d", "-o", "x", "--batch-size", "0"],
        'Invalid value "0" for --batch-size. Must be > 0.',
    ),
    (["check", "synthetic:dev"], "synthetic:dev: give synthetic:train, synthetic:eval or"),
    (["check", "synthetic:eval", "--max-length", "1"], "max_length is 1; give 6 or more"),
]


@pytest.mark.parametrize("words, sentence", ERRORS, ids=[" ".join(e[0]) for e in ERRORS])
def test_errors_are_one_sentence(
    spanqa: Run,
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = spanqa(*words)
    assert (status, out) == (2, "")
    assert err.startswith(f"spanqa: {sentence}")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_bad_recipe_names_the_file(spanqa: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training:\n  batch_sise: 8\n", encoding="utf-8")
    status, _, err = spanqa("compare", path, "--output", tmp_path / "out")
    assert status == 2
    sentence = "unknown key training.batch_sise; did you mean training.batch_size?"
    assert err == f"spanqa: {path}: {sentence}\n"


def test_a_folder_that_cannot_be_made(spanqa: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = spanqa("compare", "--output", tmp_path / "file" / "out")
    assert (status, err.count("\n")) == (2, 1)
    assert str(tmp_path / "file") in err


@pytest.mark.parametrize("words", [["--debug", "report", "x"], ["report", "x", "--debug"]])
def test_debug_shows_the_traceback(spanqa: Run, words: list[str]) -> None:
    status, _, err = spanqa(*words)
    assert status == 2
    assert err.startswith("Traceback (most recent call last):")
    assert err.splitlines()[-1].startswith("spanqa: x is not the folder of a comparison")


class _Raiser:
    """Stands for a comparison that ends in an exception."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, recipe: Recipe, output: Path, **_: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error, status, sentence",
    [
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on where it was"),
        (SpanQAError("two\nlines"), 2, "two lines"),
        (PermissionError(13, "Permission denied", "runs"), 2, "runs: Permission denied"),
        (ZeroDivisionError("oh"), 1, "unexpected ZeroDivisionError: oh; --debug shows where"),
        (SpanQAError("half a pair: \ud800"), 2, "half a pair: \\ud800"),
    ],
)
def test_how_an_exception_ends(
    spanqa: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, sentence: str
) -> None:
    monkeypatch.setattr(comparison, "compare", _Raiser(error))
    ended, out, err = spanqa("compare", "--output", "x")
    assert (ended, out) == (status, "")
    assert err.startswith(f"spanqa: {sentence}")
    assert err.count("\n") == 1


def test_a_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = bounded.run([sys.executable, "-m", "spanqa.cli", "--help"], stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


# score


def test_score_prints_the_figures(spanqa: Run, data: Path, tmp_path: Path) -> None:
    predictions = _json(tmp_path / "predictions.json", {"q1": "Ada", "q2": ""})
    status, out, err = spanqa("score", data, predictions)
    assert (status, err) == (0, "")
    assert re.search(r"^exact +50\.00$", out, re.MULTILINE)
    assert re.search(r"^HasAns_f1 +66\.67$", out, re.MULTILINE)
    assert re.search(r"^total +2$", out, re.MULTILINE)
    assert out.splitlines()[-1].startswith("metric:squad2.0|questions:2|")


def test_score_prints_the_scripts_json(spanqa: Run, data: Path, tmp_path: Path) -> None:
    predictions = _json(tmp_path / "predictions.json", {"q1": "Ada Brånd", "q2": "nobody"})
    na_prob = _json(tmp_path / "na_prob.json", {"q1": 0.25, "q2": 0.75})
    words = ("--na-prob", na_prob, "--na-prob-thresh", 0.5, "--json")
    status, out, _ = spanqa("score", data, predictions, *words)
    assert status == 0
    expected = {
        "exact": 100.0,
        "f1": 100.0,
        "total": 2,
        "HasAns_exact": 100.0,
        "HasAns_f1": 100.0,
        "HasAns_total": 1,
        "NoAns_exact": 100.0,
        "NoAns_f1": 100.0,
        "NoAns_total": 1,
        "best_exact": 100.0,
        "best_exact_thresh": 0.25,
        "best_f1": 100.0,
        "best_f1_thresh": 0.25,
    }
    assert out == json.dumps(expected, indent=2) + "\n"


def test_strict_score_refuses_foreign_ids(spanqa: Run, data: Path, tmp_path: Path) -> None:
    predictions = _json(tmp_path / "predictions.json", {"q1": "Ada", "q2": "", "q3": "x"})
    assert spanqa("score", data, predictions)[0] == 0
    status, _, err = spanqa("score", data, predictions, "--strict")
    assert (status, err.count("\n")) == (2, 1)
    assert "'q3'" in err


def test_score_by_the_older_script(spanqa: Run, tmp_path: Path) -> None:
    answer = {"text": "1887", "answer_start": 9}
    questions = [{"id": f"q{i}", "question": "When?", "answers": [answer]} for i in range(4)]
    data = _squad(tmp_path / "data.json", "Built in 1887.", questions)
    predictions = _json(tmp_path / "predictions.json", {"q0": "1887"})
    status, out, err = spanqa("score", data, predictions, "--metric", "squad1.1", "--json")
    assert (status, out) == (0, '{"exact_match": 25.0, "f1": 25.0}\n')
    assert err == "spanqa: 3 questions without a prediction score 0\n"


@pytest.mark.parametrize(
    "words", [("--na-prob", "no.json"), ("--na-prob-thresh", "0.5"), ("--precision-recall",)]
)
def test_the_older_script_knows_no_unanswerable_questions(
    spanqa: Run, words: tuple[str, ...]
) -> None:
    status, _, err = spanqa("score", "a.json", "b.json", "--metric", "squad1.1", *words)
    assert (status, err) == (
        2,
        f"spanqa: {words[0]} is for SQuAD 2.0; leave it out with --metric squad1.1\n",
    )


def test_score_equals_the_official_figures(spanqa: Run, squad_data: Path) -> None:
    systems = squad_data / "predictions"
    status, out, _ = spanqa(
        "score",
        squad_data / "squad2" / "dev-v2.0.json",
        systems / "bidaf-selfattn-elmo-ai2.pred.json",
        "--json",
    )
    assert status == 0
    official = json.loads((systems / "bidaf-selfattn-elmo-ai2.official-eval.json").read_text())
    printed = json.loads(out)
    assert printed == {key: official[key] for key in printed}
    assert printed["exact"] == pytest.approx(65.704, abs=5e-4)


# check


def test_check_of_a_sound_file(spanqa: Run, data: Path) -> None:
    status, out, err = spanqa("check", data)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"{data}: 2 questions, nothing is wrong"
    assert re.search(r"^ +1-64 +2 +#{40} *$", out, re.MULTILINE)


def test_check_of_a_faulty_file(spanqa: Run, data: Path, tmp_path: Path) -> None:
    answers = [{"text": "zzz", "answer_start": 2}]
    questions = [{"id": f"q{i}", "question": f"Who {i}?", "answers": answers} for i in range(12)]
    faulty = _squad(tmp_path / "faulty.json", "A text without it.", questions)
    status, out, err = spanqa("check", faulty)
    assert (status, err) == (1, "")
    assert "answers that are not at their offset: 12" in out
    assert "and 2 more; --all lists them" in out
    assert out.splitlines()[-1] == f"{faulty}: 12 questions, 12 problems"
    _, out, _ = spanqa("check", faulty, "--all")
    assert all(f"question 'q{i}'" in out for i in range(12))


def test_check_against_the_evaluation_file(spanqa: Run, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_bytes(data.read_bytes())
    status, out, _ = spanqa("check", data, "--eval", other)
    assert status == 1
    assert "contexts shared with the evaluation file: 1" in out


def test_check_counts_tokens(spanqa: Run, data: Path, tiny_encoder_folder: Path) -> None:
    status, out, _ = spanqa("check", data, "--encoder", tiny_encoder_folder, "--max-length", 12)
    assert status == 0
    assert "question + context, tokens" in out
    assert "2 above 12" in out


# report


def test_report_of_a_comparison(spanqa: Run, tmp_path: Path) -> None:
    made = make_comparison(("softmax", "span-crf"), (1, 2))
    _save(made, tmp_path)
    status, out, err = spanqa("report", tmp_path)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").is_file() and (tmp_path / "results.csv").is_file()
    header = next(line for line in lines if "head" in line)
    assert header.index("softmax") < header.index("span-crf")
    exact = next(line for line in lines if line.startswith("│ EM"))
    assert len(re.findall(r"\d+\.\d\d ± \d+\.\d\d", exact)) == 2


def _save(comparison: Comparison, folder: Path) -> None:
    write_atomic(folder / "recipe.yaml", comparison.recipe.to_yaml().encode())
    write_questions(folder / "questions.jsonl", comparison.questions)
    for run in comparison.runs:
        run.save(run_folder(folder, run.head, run.seed))


# ask


def test_ask_reads_standard_input_as_it_is(
    spanqa: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe")))
    status, _, err = spanqa("ask", tmp_path, "-q", "Who?", "--context", "-")
    assert (status, err) == (2, "spanqa: -: is not UTF-8 text\n")


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder_folder: Path, tiny_tokenizer: Any
) -> Path:
    """An untrained checkpoint: its answers are arbitrary, but spans of the text."""
    import torch
    from transformers import BertForQuestionAnswering

    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = BertForQuestionAnswering.from_pretrained(tiny_encoder_folder)
    folder = tmp_path_factory.mktemp("model")
    made.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_ask_gives_offsets_of_the_text(
    spanqa: Run, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    text = "The bridge\r\nwas built by Zoë Brånd. 🙂 It spans the Lenna."
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    questions = ("-q", "Who built it?", "--question", "What does it span?")
    status, out, _ = spanqa("ask", model, *questions, "--context", "-", "--top-k", 3, "--json")
    assert status == 0
    asked = json.loads(out)
    assert [each["question"] for each in asked] == ["Who built it?", "What does it span?"]
    for each in asked:
        assert len(each["answers"]) == 3
        for answer in each["answers"]:
            assert text[answer["start"] : answer["end"]] == answer["text"]
            assert 0 <= answer["probability"] <= 1


def test_ask_prints_the_answer_in_its_sentence(spanqa: Run, model: Path, tmp_path: Path) -> None:
    text = "The bridge was built by Ada Brånd. It spans the Lenna."
    (tmp_path / "page.txt").write_text(text, encoding="utf-8")
    words = ("--context", tmp_path / "page.txt", "--top-k", 20)
    status, out, _ = spanqa("ask", model, "-q", "Who [built] it?", *words)
    assert status == 0
    assert out.splitlines()[0] == "Who [built] it?"
    printed = re.findall(
        r"^  (.+)  \(.*, characters (\d+) to (\d+)\)\n    (.+)$", out, re.MULTILINE
    )
    assert len(printed) == 20
    for answer, start, end, sentence in printed:
        assert text[int(start) : int(end)] == answer
        assert f">>{answer}<<" in sentence
        assert sentence.replace(">>", "").replace("<<", "").strip() in text


def test_what_runs_the_model_is_said_on_standard_error(
    spanqa: Run, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "page.txt").write_text("The bridge was built by Ada.", encoding="utf-8")
    words = ("ask", model, "-q", "Who?", "--context", tmp_path / "page.txt")
    for backend in ("auto", "torch"):
        status, out, err = spanqa(*words, "--backend", backend, "--json")
        assert status == 0
        assert len(json.loads(out)) == 1
        assert len(re.findall(r"^backend: torch fp32", err, re.MULTILINE)) == 1
    status, out, err = spanqa(*words, "--backend", "onnx")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"spanqa: {model}: has no onnx export")


def test_no_answer_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_answers("Who\x1b paid?", "Nobody knows.", [Answer("", 0, 0, 0.97, 0.97)])
    assert capsys.readouterr().out == "Who  paid?\n  no answer  (probability 0.970)\n"


def test_evaluate_and_predict_agree_with_score(
    spanqa: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    status, out, _ = spanqa("evaluate", model, data, "--output", tmp_path / "a", "--json")
    assert status == 0
    figures = json.loads(out)
    assert figures["total"] == 2
    status, out, _ = spanqa("predict", model, data, "-o", tmp_path / "b")
    assert status == 0
    names = ["predictions.json", "nbest_predictions.json", "null_odds.json"]
    assert out.splitlines() == [str(tmp_path / "b" / name) for name in names]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    _, out, _ = spanqa("score", data, tmp_path / "b" / "predictions.json", "--json")
    scored = json.loads(out)
    assert {key: figures[key] for key in scored} == scored


CONTEXT = "First one. Dr. Brånd built it in 1887! Did she?\nYes, she did. " + "word " * 100


@pytest.mark.parametrize(
    "answer, sentence",
    [
        ("First", "First one. "),
        ("1887", "Brånd built it in 1887! "),
        ("she?", "Did she?\nYes, she did. "),
        ("Yes", "Yes, she did. "),
        ("word", ("word " * 100)[:204]),
    ],
)
def test_the_sentence_around_an_answer(answer: str, sentence: str) -> None:
    start = CONTEXT.index(answer)
    left, right = surroundings(CONTEXT, start, start + len(answer))
    assert CONTEXT[left:right] == sentence


# The generated documentation


def _generator() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "docs" / "generate.py"
    if not path.is_file():
        pytest.skip("docs/generate.py is not part of this copy")
    spec = spec_from_file_location("generate", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documented_help_is_the_present_one() -> None:
    generate = _generator()
    page = generate.PAGE.read_text(encoding="utf-8")
    assert [block[1].strip() for block in generate.BLOCK.findall(page)] == [
        "",
        *("compare", "train", "evaluate", "predict", "calibrate", "export", "ask", "serve"),
        *("batch", "score", "check", "report"),
    ]
    assert generate.generated(page) == page


def test_an_outdated_help_is_noticed() -> None:
    generate = _generator()
    page = generate.PAGE.read_text(encoding="utf-8")
    outdated = page.replace("Peak learning rate of AdamW.", "Something else.")
    assert outdated != page
    assert generate.generated(outdated) == page


# export


def test_export_prints_what_the_gate_measured(
    spanqa: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from spanqa import export

    asked: dict[str, Any] = {}

    def write(model: str, **settings: Any) -> tuple[Path, Manifest]:
        asked.update(settings, model=model)
        manifest = make_manifest("onnx-int8", speeds=(10.0, 23.47), agreement=0.984, exact=69.8)
        return tmp_path / "made", manifest

    monkeypatch.setattr(export, "export", write)
    words = ("--format", "onnx", "--int8", "--data", "dev.json", "--max-em-loss", 0.5)
    status, out, err = spanqa("export", "some/model", *words, "-o", tmp_path / "made")
    assert (status, err) == (0, "")
    assert asked == {
        "model": "some/model",
        "format": "onnx",
        "int8": True,
        "data": "dev.json",
        "questions": QUESTIONS,
        "output": tmp_path / "made",
        "min_agreement": None,
        "max_em_loss": 0.5,
        "batch_size": BATCH_SIZE,
    }
    cells = [re.findall(r"[\w.%-]+(?: \w+)*", line) for line in out.splitlines()]
    assert ["500 questions", "torch", "onnx-int8"] in cells
    assert ["answered alike", "100.0%", "98.4%"] in cells
    assert ["exact match", "70.00", "69.80"] in cells
    assert ["questions a second", "10.0", "23.5"] in cells
    assert out.splitlines()[-1] == str(tmp_path / "made")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--format", "tflite", "--data", "x.json"), "Invalid value"),
        (("--format", "onnx"), 'Command "export" parameter --data requires an argument'),
        (("--format", "onnx", "--data", "x.json", "--min-agreement", 97), "min_agreement must be"),
        (("--format", "onnx", "--data", "x.json"), "some/model: is not a folder of yours"),
    ],
)
def test_export_refuses(spanqa: Run, words: tuple[object, ...], sentence: str) -> None:
    status, out, err = spanqa("export", "some/model", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"spanqa: {sentence}")
