"""Reading questions in every format, mending offsets, drawing and splitting."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.data import (
    Corpus,
    Example,
    Reference,
    load,
    require_labels,
    sample,
    split_by_article,
    write_squad,
)
from spanqa.errors import DataError, RecipeError
from spanqa.example import article_of

MILL = "The mill was built in 1887.\r\nZoë’s 👩‍🚀 café, built later, has 東京 on its wall."
EXAMPLES = (
    Example("a1", "When?", MILL, (Reference("1887", 22), Reference("in 1887", 19)), "Mill", "Mill"),
    Example("a2", 'Who, "she" asked?', MILL, (), "Mill", "Mill"),
    Example("b1", "Where?", "In Vík, by the sea.", (Reference("Vík", 3),), "Vík", "Vík"),
)


def row_of(example: Example) -> dict[str, Any]:
    """A flat row with the hub's columns."""
    return {
        "id": example.id,
        "title": example.title,
        "context": example.context,
        "question": example.question,
        "answers": {
            "text": [answer.text for answer in example.answers],
            "answer_start": [answer.start for answer in example.answers],
        },
    }


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8", newline="")


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_as(kind: str, path: Path) -> Path:
    """`EXAMPLES` in one of the formats."""
    rows = [row_of(example) for example in EXAMPLES]
    if kind == "nested":
        write_squad(EXAMPLES, path := path / "a.json")
    elif kind == "list of rows":
        write_json(path := path / "a.json", rows)
    elif kind == "rows under data":
        write_json(path := path / "a.json", {"version": "1", "data": rows})
    elif kind == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (path := path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8", newline="")
    elif kind == "csv":
        write_csv(
            path := path / "a.csv", [{**r, "answers": json.dumps(r["answers"])} for r in rows]
        )
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path := path / "a.parquet")
    return path


@pytest.mark.parametrize(
    "kind", ["nested", "list of rows", "rows under data", "jsonl", "csv", "parquet"]
)
def test_every_format_gives_the_same(tmp_path: Path, kind: str) -> None:
    path = write_as(kind, tmp_path)
    corpus = load(str(path))
    assert corpus.examples == EXAMPLES
    assert corpus == Corpus(str(path), EXAMPLES, corpus.fingerprint)
    write_squad(EXAMPLES, tmp_path / "reference.json")
    assert corpus.fingerprint == load(tmp_path / "reference.json").fingerprint


def test_dataset_with_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = [json.dumps(row_of(example), ensure_ascii=False) for example in EXAMPLES]
    (folder / "train.jsonl").write_text("\n".join(rows), encoding="utf-8", newline="")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    corpus = load(f"{folder}:train[:2]")
    assert corpus.examples == EXAMPLES[:2]
    assert corpus.source == f"{folder}:train[:2]"
    assert load(f"{folder}:default:train").examples == EXAMPLES
    with pytest.raises(DataError, match=r'sets:test: .* Unknown split "test"'):
        load(f"{folder}:test")
    with pytest.raises(DataError, match="nowhere:train: neither a file nor a dataset"):
        load(f"{tmp_path / 'nowhere'}:train")


def test_csv_with_a_column_for_each(tmp_path: Path) -> None:
    cases = [("1887", "22", ""), ("1887", "22.0", "False"), ("", "", "true"), ("", "", "")]
    rows = [
        {
            "question": "When?",
            "context": MILL,
            "answer_text": text,
            "answer_start": start,
            "is_impossible": flag,
        }
        for text, start, flag in cases
    ]
    write_csv(tmp_path / "a.csv", rows)
    corpus = load(tmp_path / "a.csv")
    answer = (Reference("1887", 22),)
    assert [example.answers for example in corpus] == [answer, answer, (), ()]
    assert [example.id for example in corpus] == [f"question-{n}" for n in range(4)]
    require_labels(corpus)


def test_csv_without_answers_is_unlabelled(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"question": "When?", "context": MILL, "answers": ""}])
    assert not load(tmp_path / "a.csv").examples[0].labelled


def test_synthetic(monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(part: str, size: int, seed: int = 0) -> tuple[Example, ...]:
        return tuple(Example(f"{part}-{n}", "Who?", "Ada.", article="x") for n in range(size))

    module = SimpleNamespace(generate=generate, TRAIN_SIZE=5, EVAL_SIZE=3)
    monkeypatch.setitem(sys.modules, "spanqa.synthetic", module)
    monkeypatch.setattr("spanqa.synthetic", module, raising=False)
    assert len(load("synthetic:train")) == 5
    assert len(load("synthetic:eval")) == 3
    assert [example.id for example in load("synthetic:eval:2")] == ["eval-0", "eval-1"]


def test_article_is_the_title_or_a_hash_of_the_context() -> None:
    assert article_of("Mill", "x") == "Mill"
    unknown = {article_of(title, text) for title in ("", "_unknown_title") for text in ("x", "y")}
    assert len(unknown) == 2
    assert article_of("", "x") != article_of("", "y")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"title": "Other"}, True),
        ({"id": "other"}, False),
        ({"question": "Whence?"}, False),
        ({"answers": {"text": ["The"], "answer_start": [0]}}, False),
        ({"answers": {"text": [], "answer_start": []}}, False),
        ({"answers": None}, False),
    ],
)
def test_fingerprint_covers_ids_texts_and_answers(
    tmp_path: Path, change: dict[str, Any], same: bool
) -> None:
    rows = [row_of(EXAMPLES[0])]
    write_json(tmp_path / "a.json", rows)
    write_json(tmp_path / "b.json", [{**rows[0], **change}])
    first, second = (load(tmp_path / name).fingerprint for name in ("a.json", "b.json"))
    assert (first == second) is same
    assert len(first) == 64


def test_unlabelled_differs_from_unanswerable(tmp_path: Path) -> None:
    row = {**row_of(EXAMPLES[0]), "answers": []}
    write_json(tmp_path / "a.json", [row])
    write_json(tmp_path / "b.json", [{**row, "answers": None}])
    assert load(tmp_path / "a.json").fingerprint != load(tmp_path / "b.json").fingerprint


SONG = "la la Land, la LAND"


@pytest.mark.parametrize(
    ("text", "start", "moved"),
    [
        ("la", 5, ("la", 3)),  # nearest, not first
        ("la", 9, ("la", 12)),
        ("la", -4, ("la", 0)),
        ("la", 400, ("la", 12)),
        ("Land", 15, ("Land", 6)),  # as it is before any other case, though further off
        ("land", 12, ("LAND", 15)),  # the context's own letters
        ("land", 7, ("Land", 6)),
        ("sea", 0, None),
        ("", 0, None),
    ],
)
def test_realign(tmp_path: Path, text: str, start: int, moved: tuple[str, int] | None) -> None:
    row = {"id": "q", "question": "?", "context": SONG, "title": "t"}
    good = {**row, "id": "good", "answers": {"text": ["Land"], "answer_start": [6]}}
    write_json(
        tmp_path / "a.json", [good, {**row, "answers": {"text": [text], "answer_start": [start]}}]
    )
    corpus = load(tmp_path / "a.json", misaligned="realign")
    assert corpus.examples[0].answers == (Reference("Land", 6),)
    if moved is None:
        assert (len(corpus), corpus.dropped, corpus.realigned) == (1, ("q",), ())
    else:
        assert corpus.examples[1].answers == (Reference(*moved),)
        assert (corpus.dropped, corpus.realigned) == ((), ("q",))


@settings(deadline=None)
@given(st.text("aAbB.", max_size=12), st.text("aAbB.", min_size=1, max_size=3), st.integers(-3, 15))
def test_realign_against_enumeration(context: str, text: str, start: int) -> None:
    from spanqa.alignment import answer_fault, nearest

    places = range(len(context) - len(text) + 1)
    exact = [p for p in places if context[p : p + len(text)] == text]
    folded = [p for p in places if context[p : p + len(text)].lower() == text.lower()]
    found = nearest(text, start, context)
    if not folded:
        assert found is None
    else:
        assert found is not None
        assert found[1] in (exact or folded)
        assert abs(found[1] - start) == min(abs(p - start) for p in exact or folded)
        assert answer_fault(*found, context) is None
    assert (answer_fault(text, start, context) is None) == (start in exact)


def misaligned_file(tmp_path: Path) -> Path:
    rows = [row_of(example) for example in EXAMPLES]
    rows[0]["answers"] = {"text": ["1887", "1887"], "answer_start": [22, 21]}
    write_json(tmp_path / "a.json", rows)
    return tmp_path / "a.json"


def test_misaligned_is_an_error_by_default(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'a1' \(\[0\]\): answer '1887' is not at answer_start 21"):
        load(misaligned_file(tmp_path))


def test_misaligned_dropped_kept(tmp_path: Path) -> None:
    path = misaligned_file(tmp_path)
    dropped = load(path, misaligned="drop")
    assert [example.id for example in dropped] == ["a2", "b1"]
    assert dropped.dropped == ("a1",)
    kept = load(path, misaligned="keep")
    assert kept.examples[0].answers == (Reference("1887", 22), Reference("1887", 21))
    assert (kept.dropped, kept.realigned) == ((), ())


def test_nothing_left(tmp_path: Path) -> None:
    row = {**row_of(EXAMPLES[0]), "answers": {"text": ["x"], "answer_start": [0]}}
    write_json(tmp_path / "a.json", [row])
    with pytest.raises(DataError, match="no question is left; all 1 were dropped"):
        load(tmp_path / "a.json", misaligned="drop")


def test_misaligned_must_be_a_choice() -> None:
    with pytest.raises(RecipeError, match="misaligned is 'mend', not error, drop, realign, keep"):
        load("a.json", misaligned="mend")  # type: ignore[arg-type]


def test_impossible_outweighs_answers_except_for_scoring(tmp_path: Path) -> None:
    answers = {"text": ["nowhere"], "answer_start": [3]}
    write_json(
        tmp_path / "a.json", [{**row_of(EXAMPLES[0]), "is_impossible": True, "answers": answers}]
    )
    (example,) = load(tmp_path / "a.json")
    assert (example.answers, example.labelled) == ((), True)
    (example,) = load(tmp_path / "a.json", misaligned="keep")
    assert example.answers == (Reference("nowhere", 3),)


def test_plausible_answers_are_no_answers(tmp_path: Path) -> None:
    row = {**row_of(EXAMPLES[1]), "plausible_answers": [{"text": "1887", "answer_start": 22}]}
    write_json(tmp_path / "a.json", [{**row, "is_impossible": True}])
    assert load(tmp_path / "a.json").examples == EXAMPLES[1:2]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def examples_of_any_text(draw: st.DrawFn) -> tuple[Example, ...]:
    context = draw(texts.filter(str.strip))
    start = draw(st.integers(0, len(context) - 1))
    end = draw(st.integers(start + 1, len(context)))
    title = draw(texts)
    labelled = draw(st.booleans())
    answers = (Reference(context[start:end], start),) if labelled and draw(st.booleans()) else ()
    article = article_of(title, context)
    ids = draw(st.lists(texts.filter(bool), min_size=1, max_size=3, unique=True))
    return tuple(Example(id, draw(texts), context, answers, title, article, labelled) for id in ids)


@settings(deadline=None, max_examples=60)
@given(examples_of_any_text())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, given: tuple[Example, ...]) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_squad(given, path)
    assert load(path).examples == given


def test_write_squad_groups_by_title_and_context(tmp_path: Path) -> None:
    write_squad((EXAMPLES[0], EXAMPLES[2], EXAMPLES[1]), tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert written["version"] == "v2.0"
    assert [article["title"] for article in written["data"]] == ["Mill", "Vík"]
    (paragraph,) = written["data"][0]["paragraphs"]
    assert [qa["is_impossible"] for qa in paragraph["qas"]] == [False, True]
    assert paragraph["qas"][0]["answers"][0] == {"text": "1887", "answer_start": 22}


def made(sizes: Iterable[int]) -> tuple[Example, ...]:
    """Articles of so many questions."""
    return tuple(
        Example(f"{article}-{n}", "?", "x", article=f"article {article}")
        for article, size in enumerate(sizes)
        for n in range(size)
    )


def test_sample_is_seeded_and_in_order() -> None:
    examples = made([50])
    drawn = sample(examples, 10, 7)
    assert len(drawn) == 10
    assert drawn == sample(examples, 10, 7) != sample(examples, 10, 8)
    places = [examples.index(example) for example in drawn]
    assert places == sorted(set(places))
    assert sample(examples, 50, 1) == examples


@pytest.mark.parametrize("size", [0, -1, 4])
def test_sample_of_an_impossible_size(size: int) -> None:
    with pytest.raises(RecipeError, match=f"a sample of {size} cannot be drawn from 3 questions"):
        sample(EXAMPLES, size, 42)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=9),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_split_by_article(sizes: list[int], fraction: float, seed: int) -> None:
    examples = made(sizes)
    rest, held = split_by_article(examples, fraction, seed)
    assert rest and held
    assert not {example.article for example in rest} & {example.article for example in held}
    assert sorted(rest + held, key=examples.index) == list(examples)
    assert (rest, held) == split_by_article(examples, fraction, seed)
    # No single article of the rest, put over to the held part, would come closer.
    off = len(held) - fraction * len(examples)
    if len({example.article for example in rest}) > 1:
        for article in {example.article for example in rest}:
            size = sum(example.article == article for example in rest)
            assert abs(off) <= abs(off + size)


def test_split_depends_on_the_seed() -> None:
    examples = made([3] * 20)
    splits = {split_by_article(examples, 0.1, seed)[1] for seed in range(10)}
    assert {len(held) for held in splits} == {6}
    assert len(splits) > 5


def test_split_of_one_article() -> None:
    with pytest.raises(DataError, match="3 questions of 1 article cannot be split by article"):
        split_by_article(made([3]), 0.5, 0)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_split_of_an_impossible_fraction(fraction: float) -> None:
    with pytest.raises(RecipeError, match="give a share between 0 and 1"):
        split_by_article(made([3, 3]), fraction, 0)


@pytest.mark.parametrize(
    ("name", "questions", "unanswerable"),
    [
        ("squad2/dev-v2.0.json", 11_873, 5_945),
        ("squad2/train-part.json", 31_586, 12_587),
        ("squad1/dev-v1.1.json", 10_570, 0),
        ("adversarialqa/train.json", 29_965, 0),
        *((f"xquad/xquad.{code}.json", 1_190, 0) for code in ("en", "ar", "hi", "ru", "th", "zh")),
    ],
)
def test_real_data(squad_data: Path, name: str, questions: int, unanswerable: int) -> None:
    if not (squad_data / name).is_file():
        pytest.skip(f"real data not found: no {name} in {squad_data}")
    corpus = load(squad_data / name)
    assert len(corpus) == questions
    assert sum(not example.answers for example in corpus) == unanswerable
    require_labels(corpus)
    for example in corpus:
        for answer in example.answers:
            assert example.context[answer.start : answer.end] == answer.text


def test_split_of_real_data(squad_data: Path) -> None:
    corpus = load(squad_data / "squad2" / "train-part.json")
    rest, held = split_by_article(corpus.examples, 0.1, 42)
    assert abs(len(held) - 0.1 * len(corpus)) <= 1
    assert not {example.context for example in rest} & {example.context for example in held}
