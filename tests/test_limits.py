"""Files made to fill the memory are refused within a stated amount of it, honest ones are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from test_bad_files import ROW, dump

from spanqa import formats, lines
from spanqa import parquet as ours
from spanqa.data import load
from spanqa.errors import DataError, RecipeError
from spanqa.limits import MAX_ROW, read_whole
from spanqa.recipe import Recipe
from spanqa.records import from_json

MIB = 2**20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of memory")
GIGABYTES = 3 * 2**30

_READ = """
import sys
import spanqa.data, spanqa.metrics, spanqa.recipe, spanqa.check
import pyarrow.parquet, pyarrow.compute
from pathlib import Path

def status(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) // 1024

def batch(path):
    from collections import Counter
    from spanqa import asked, shards
    columns, limits = shards.Columns(keep=("beside",)), shards.Limits(2_000, 5_000_000)
    found = shards.corpus_of(path, columns, limits, 100).shards
    rows = (row for shard in found for row in asked.rows_of(shard, columns, limits))
    return Counter(getattr(row, "reason", "") for row in rows)

kind, path = sys.argv[1:]
read = {
    "load": spanqa.data.load,
    "check": spanqa.check.check,
    "score": spanqa.metrics.read_predictions,
    "recipe": spanqa.recipe.Recipe.from_yaml,
    "count": lambda path: sum(example is not None for example, _ in spanqa.data.scan(path)),
    "batch": batch,
}[kind]
before = status("VmRSS")
try:
    found = read(path)
    said = str(getattr(found, "problems", found))
except spanqa.SpanQAError as error:
    said = str(error)
print(status("VmHWM") - before)
print(said[:2000])
"""


def read(kind: str, path: Path) -> tuple[int, str]:
    """MiB that a fresh process took more at its peak, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, kind, str(path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    grown, _, said = done.stdout.partition("\n")
    return int(grown), said


def sparse(path: Path, beginning: bytes = b"") -> Path:
    """A file of some gigabytes of zeros that take no room on the disk."""
    path.write_bytes(beginning)
    with path.open("r+b") as file:
        file.truncate(GIGABYTES)
    return path


@LINUX
@pytest.mark.parametrize(
    "kind, name, beginning, most, said",
    [
        ("load", "a.jsonl", b'{"context": "', 160, ": line 1: has more than 33,554,432 charact"),
        ("check", "a.jsonl", b'{"context": "', 160, "line 1"),
        ("load", "a.csv", b'question,context\nWho?,"', 160, ": line 2: has more than 33,554,432 "),
        ("load", "a.csv", b"question,context,", 160, ": line 1: has more than 33,554,432 charac"),
        ("load", "a.json", b'{"data": "', 4, ": has more than 268,435,456 bytes, the limit of suc"),
        ("load", "a.parquet", b"PAR1", 4, ": is not a Parquet file, or is cut off"),
        ("score", "a.json", b'{"a": "', 4, ": has more than 268,435,456 bytes"),
        ("recipe", "a.yaml", b"name: ", 4, ": has more than 1,048,576 bytes"),
    ],
)
def test_gigabytes_are_refused(
    kind: str, name: str, beginning: bytes, most: int, said: str, tmp_path: Path
) -> None:
    path = sparse(tmp_path / name, beginning)
    grown, sentence = read(kind, path)
    assert grown <= most
    assert (f"{path}{said}" if kind != "check" else said) in sentence
    assert "limit" in sentence or name == "a.parquet"


def write(path: Path, rows: list[dict[str, Any]] | pyarrow.Table, **settings: Any) -> Path:
    table = rows if isinstance(rows, pyarrow.Table) else pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, path, **settings)
    return path


@LINUX
def test_a_parquet_bomb_is_refused_by_what_it_says_of_itself(tmp_path: Path) -> None:
    """Gigabytes of one letter, a thousandth of that on the disk, and none of it unpacked."""
    batch = pyarrow.record_batch({"question": ["?"] * 60, "context": ["a" * 1_000_000] * 60})
    path = tmp_path / "a.parquet"
    with parquet.ParquetWriter(
        path, batch.schema, compression="zstd", use_dictionary=False
    ) as writer:
        writer.write_table(pyarrow.Table.from_batches([batch] * 40), row_group_size=10_000)
    assert path.stat().st_size < 3_000_000
    grown, said = read("load", path)
    assert said.startswith(f"{path}: row group 0 has 2,400,")
    assert "the limit is 2,147,483,648; write the file with smaller row groups" in said
    assert grown <= 16


@LINUX
def test_a_text_that_rows_repeat_is_kept_once(tmp_path: Path) -> None:
    """A dictionary of one text, which each of the rows would unpack for itself: 1 GB in all."""
    rows = 125
    dictionary = pyarrow.DictionaryArray.from_arrays([0] * rows, ["a" * 8_000_000])
    ids = [f"q{n}" for n in range(rows)]
    table = pyarrow.table({"id": ids, "question": ["?"] * rows, "context": dictionary})
    path = write(tmp_path / "a.parquet", table, compression="zstd", dictionary_pagesize_limit=2**30)
    assert path.stat().st_size < 100_000
    grown, said = read("count", path)
    assert said.strip() == str(rows)
    assert grown <= 256


@LINUX
@pytest.mark.parametrize("column", ["context", "beside"])
def test_a_corpus_that_repeats_a_long_text_is_rejected_row_by_row(
    column: str, tmp_path: Path
) -> None:
    """200 MB in each of 300 rows, 60 GB in all, a megabyte on the disk at most."""
    rows = 300
    long = pyarrow.DictionaryArray.from_arrays([0] * rows, ["a" * 200_000_000])
    columns = {name: ["?"] * rows for name in ("question", "context", "beside")}
    table = pyarrow.table(columns | {column: long})
    path = write(tmp_path / "a.parquet", table, compression="zstd", dictionary_pagesize_limit=2**30)
    del long, table
    assert path.stat().st_size < 1_000_000
    grown, said = read("batch", path)
    assert said.strip() == "Counter({'the row has more than 31,060,576 bytes': 300})"
    assert grown <= 1_500


@LINUX
def test_a_corpus_bomb_is_refused_by_what_it_says_of_itself(tmp_path: Path) -> None:
    count = 8_000_000
    same = pyarrow.DictionaryArray.from_arrays(pyarrow.nulls(count, "int32").fill_null(0), ["a"])
    columns = {name: same for name in ("question", "context", "beside")}
    path = write(tmp_path / "a.parquet", pyarrow.table(columns))
    grown, said = read("batch", path)
    assert f"{path}: holds 8,000,000 rows or values of a column in" in said
    assert grown <= 64


def test_lists_and_maps_have_the_size_of_what_they_repeat() -> None:
    once = pyarrow.array(["a" * 1_000]).dictionary_encode()
    many = once.take(pyarrow.array([0] * 50))
    for array in (
        pyarrow.ListArray.from_arrays([0, 10, 50], many),
        pyarrow.FixedSizeListArray.from_arrays(many, 25),
        pyarrow.MapArray.from_arrays([0, 10, 50], many, pyarrow.array([0] * 50, "int8")),
    ):
        assert 50_000 <= ours.size_of(array) < 51_000
        assert ours.size_of(array.slice(1)) < 41_000


@LINUX
def test_many_rows_in_few_bytes_are_refused(tmp_path: Path) -> None:
    count = 8_000_000
    same = pyarrow.DictionaryArray.from_arrays(pyarrow.nulls(count, "int32").fill_null(0), ["a"])
    path = write(tmp_path / "a.parquet", pyarrow.table({"question": same, "context": same}))
    grown, said = read("load", path)
    assert f"{path}: holds 8,000,000 questions or answers in" in said
    assert grown <= 16


@LINUX
def test_many_answers_in_few_bytes_are_refused(tmp_path: Path) -> None:
    count = 3_000_000
    answers = pyarrow.array([[{"text": "a", "answer_start": 0}]], type=_answers()).flatten()
    answers = pyarrow.ListArray.from_arrays(
        [0, count], answers.take(pyarrow.nulls(count, "int32").fill_null(0))
    )
    path = write(
        tmp_path / "a.parquet",
        pyarrow.table({"question": ["?"], "context": ["a"], "answers": answers}),
    )
    grown, said = read("load", path)
    assert f"{path}: holds 3,000,000 questions or answers in" in said
    assert grown <= 16


def _answers() -> pyarrow.DataType:
    answer = pyarrow.struct({"text": pyarrow.string(), "answer_start": pyarrow.int32()})
    return pyarrow.list_(answer)


def test_a_row_of_parquet_that_is_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "MAX_ROW", 1_000)
    rows = [ROW | {"id": f"q{n}"} for n in range(300)]
    path = write(tmp_path / "a.parquet", rows)
    assert len(load(path)) == 300  # more than fits at once
    path = write(path, [*rows, ROW | {"id": "q", "context": "a" * 1_001}])
    with pytest.raises(DataError, match=r"a\.parquet: row 300: has more than 1,000 bytes"):
        load(path)
    long = {"text": ["a" * 600] * 2, "answer_start": [0, 0]}
    path = write(path, [ROW | {"id": "q", "answers": long}])
    with pytest.raises(DataError, match=r"row 0: has more than 1,000 bytes, the limit of a row"):
        load(path)


@pytest.mark.parametrize("answers", ["listed", "columns"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_parquet_is_read_as_it_was_written(answers: str, dictionary: bool, tmp_path: Path) -> None:
    given: list[dict[str, Any]] = [
        ROW | {"id": "a", "answers": [], "other": "x" * 100},
        ROW | {"id": "b", "other": None},
        ROW | {"id": "c", "title": None, "answers": None, "other": ""},
    ]
    if answers == "columns":
        given[0]["answers"] = {"text": [], "answer_start": []}
        given[1]["answers"] = {"text": ["1887"], "answer_start": [35]}
    path = write(tmp_path / "a.parquet", given, use_dictionary=dictionary, row_group_size=2)
    found = load(path).examples
    assert [example.id for example in found] == ["a", "b", "c"]
    assert [[a.start for a in example.answers] for example in found] == [[], [35], []]
    assert [example.labelled for example in found] == [True, True, False]
    assert [example.title for example in found] == ["Lenna", "Lenna", ""]
    assert {example.context for example in found} == {ROW["context"]}


@pytest.mark.parametrize(
    "values",
    [
        pyarrow.array([10**15], pyarrow.timestamp("s")),
        pyarrow.array([-(2**31)], pyarrow.int32()).view(pyarrow.date32()),
    ],
)
@pytest.mark.parametrize("name", ["id", "title"])
def test_a_date_that_python_has_none_for(
    name: str, values: pyarrow.Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pyarrow.table({"question": ["?"], "context": ["a"], name: values})
    path = write(tmp_path / "a.parquet", table)
    with pytest.raises(DataError, match=r"a\.parquet: rows 0 to 0: cannot be read: ") as caught:
        load(path)
    assert str(caught.value).isprintable()
    monkeypatch.setattr(formats, "_hub_rows", lambda *_, **__: ours.rows_of([table]))
    with pytest.raises(DataError, match="rows 0 to 0: cannot be read"):
        load("somebodys/questions:train")


def test_parquet_without_a_column_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"context": "x", "id": "q"}])
    with pytest.raises(DataError, match=r"a\.parquet: has no column 'question'; the columns are"):
        load(path)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_the_limit_is_that_of_a_row_and_not_of_the_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "MAX_ROW", 400)
    monkeypatch.setattr(lines.Lines.__init__, "__kwdefaults__", {"limit": 400})
    path = tmp_path / f"a.{kind}"
    text = "word\n" * 40
    if kind == "csv":
        rows = [f'q{n},?,"{text}"\n' for n in range(20)]
        path.write_text("id,question,context\n" + "".join(rows))
    else:
        path.write_bytes(b"\n".join(dump({**ROW, "id": f"q{n}"}) for n in range(20)))
    assert len(load(path)) == 20
    assert path.stat().st_size > 400
    with path.open("a") as file:
        file.write(f'q,?,"{text * 2}"\n' if kind == "csv" else dump(ROW | {"x": text * 2}).decode())
    with pytest.raises(DataError, match=r"line \d+: has more than 400 characters, the limit of"):
        load(path)


def test_the_largest_row_is_read(tmp_path: Path) -> None:
    context = "a" * (MAX_ROW - 100)
    for name, content in (
        ("a.jsonl", dump({"question": "?", "context": context})),
        ("a.csv", f"question,context\n?,{context}\n".encode()),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert len(load(path).examples[0].context) == len(context)


def test_a_pipe_is_read_to_its_limit(tmp_path: Path) -> None:
    assert read_whole(Path("/dev/null")) == b""
    with pytest.raises(DataError, match=r"/dev/zero: has more than 1,000 bytes"):
        read_whole(Path("/dev/zero"), 1_000)
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1_000)
    assert read_whole(path, 1_000) == b"x" * 1_000
    with pytest.raises(DataError, match=r"more than 999 bytes, the limit of such a file; do this"):
        read_whole(path, 999, "do this")


LAUGHS = "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" if n else "a0: &a0 [ha, ha]\n"
    for n in range(12)
)
MERGES = "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" if n else "a0: &a0 {k: v}\n"
    for n in range(12)
)


@pytest.mark.parametrize(
    "content, said",
    [
        (LAUGHS, "is not YAML: an alias, which recipes do not have, stands in line 2"),
        (MERGES, "is not YAML: an alias, which recipes do not have, stands in line 2"),
        ("a: &a [*a]", "is not YAML: an alias, which recipes do not have, stands in line 1"),
        ("[" * 100_000, "is not a recipe: it is nested too deeply"),
        ("- " * 100_000, "is not a recipe: it is nested too deeply"),
        ("name: a\nname: b", "is not YAML: the key name stands a second time in line 2"),
        ("training: {epochs: 1, epochs: 2}", "the key epochs stands a second time in line 1"),
        ("name: !!python/object/apply:os.system ['x']", "could not determine a constructor"),
        ("name: !!timestamp never", "is not YAML: a value does not fit its type"),
        ("windows: {max_length: 1" + "0" * 400 + "}", "windows.max_length must be a whole number"),
        ("training: {epochs: 1" + "0" * 400 + "}", "training.epochs must be a number, got 10000"),
        ("name: 1" + ":1" * 180 + ".5", "is not YAML: a value does not fit its type"),
        ("name: 2001-99-99", "is not YAML: a value does not fit its type"),
        ("name: !!int ''", "is not YAML: a value does not fit its type"),
        ("name: !!float x", "is not YAML: a value does not fit its type"),
        ('name: "\\ud800"', "name must be text that UTF-8 can write, got '\\ud800'"),
        ("name: a\0b", "is not YAML: unacceptable character #x0000"),
        (f"? {'k' * 5_000}\n: 1", "unknown key kkk"),
        ('"a\\nb": 1', "unknown key a\\nb; a recipe's parts are"),
        ("? [a]\n: 1", "is not YAML"),
        ("seeds: [" + "1, " * 10_000 + "]", "seeds must be without repetitions, got [1, 1, 1, "),
    ],
)
def test_a_recipe_that_is_none_is_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(path)
    sentence = str(caught.value).removeprefix(f"{path}: ")
    assert said in sentence
    assert sentence.isprintable()
    assert len(sentence) < 400


@pytest.mark.parametrize(
    "name, content",
    [
        ("UTF-16", "id,question,context\n1,a,b\n".encode("utf-16")),
        ("UTF-16 without a mark", "id,question,context\n1,a,b\n".encode("utf-16-le")),
        ("NaN", b'[{"question": NaN, "context": "a"}]'),
        ("Infinity", b'[{"question": "?", "context": "a", "answers": [{"text": "a", '
         b'"answer_start": Infinity}]}]'),
        ("overflow", b'[{"question": "?", "context": "a", "answers": [{"text": "a", '
         b'"answer_start": 1e999}]}]'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet"])
def test_bytes_of_another_kind_are_refused(
    name: str, content: bytes, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value).isprintable()


def test_a_null_byte_is_a_character_like_others(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    answer = {"text": "b\0c", "answer_start": 2}
    row = {"id": "q\0", "question": "\0?", "context": "a\0b\0c", "answers": [answer]}
    path.write_bytes(dump(row))
    assert load(path).examples[0].answers[0].text == "b\0c"


def test_an_offset_beyond_all_bounds_is_kept_for_scoring_alone(
    tmp_path: Path, tiny_tokenizer: Any
) -> None:
    from spanqa.recipe import WindowRecipe
    from spanqa.windows import cut

    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"\n".join(
            dump(
                ROW
                | {
                    "id": f"q{n}",
                    "answers": [{"text": "1887", "answer_start": start}],
                }
            )
            for n, start in enumerate((10**300, -(10**300), 2**63, -(2**63)))
        )
    )
    with pytest.raises(DataError, match=r"answer_start 1000+… is outside the context of 53") as got:
        load(path)
    assert len(str(got.value).removeprefix(str(path))) < 300
    examples = load(path, misaligned="keep").examples
    windows = cut(
        examples, tiny_tokenizer, WindowRecipe(max_length=64, stride=8, max_question_length=16)
    )
    assert not windows.labels.any()
    assert len(load(path, misaligned="realign").realigned) == 4


def test_a_number_that_no_float_holds_is_damage() -> None:
    with pytest.raises(DataError, match=r"^a\.json is damaged: so large a number"):
        from_json(float, 10**400, "a.json")
