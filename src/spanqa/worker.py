"""Worker: one of a pool, with a Reader of its own, that answers shards one after the other.

A shard is read, answered and written a group of rows at a time, so a worker holds no more than one
group whatever the size of the shard. It may be begun again, and by several workers at once: what
counts is written last, and is the same each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from spanqa.answer import Answer
from spanqa.asked import Asked, Rejected, rows_of
from spanqa.errors import DataError, ModelError, SpanQAError
from spanqa.job import Job, Output, Report, model_sha256
from spanqa.reader import Reader, in_groups
from spanqa.records import dump
from spanqa.rows import in_words
from spanqa.shards import Columns, Shard, parquet_file
from spanqa.shipped import folder_of
from spanqa.storage import Place

ROW_GROUP = 10_000
"""Rows of a Parquet file of answers that are written together,"""
ROW_GROUP_CHARACTERS = 2**24
"""unless they hold so many characters before."""
TRIES = 5
"""Times that a shard is begun where its worker or its machine dies."""
_PROBE = ("Is the model well?", "The model is well.")


def load(job: Job) -> Reader:
    """The reader that a job was begun with.

    Raises:
        SpanQAError: there is no such model, or it is another one here.
    """
    reader = Reader.from_pretrained(
        job.model,
        backend=job.backend,
        batch_size=job.batch_size,
        min_precision=job.min_precision,
    )
    if job.model_sha256 not in ("", model_sha256(local_folder(job.model))):
        raise ModelError(f"{job.model}: is not the same model on all machines")
    return reader


def local_folder(name: str) -> Path:
    """Where a model lies that has been loaded, those of the hub in the cache."""
    if folder_of(name).is_dir():
        return folder_of(name)
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    if not isinstance(config, str):
        raise ModelError(f"{name}: cannot be found in the cache of the model hub")
    return Path(config).parent


class Worker:
    """What Ray Data makes once per actor, and calls with every shard."""

    def __init__(self, job: Job, output: Output) -> None:
        self.job, self.output = job, output
        self.error = ""
        try:
            self.reader = load(job)
        except Exception as error:
            self.error = _sentence(error, job.model)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The report of a shard, or the sentence that says why the job cannot go on."""
        if self.error:
            return {"error": self.error, "report": ""}
        shard = Shard(**row)
        try:
            report = answer_shard(self.reader, self.job, shard, self.output)
        except Exception as error:
            rows = f"{shard.file}, rows {shard.first} to {shard.first + shard.rows - 1}"
            return {"error": _sentence(error, rows), "report": ""}
        return {"error": "", "report": dump(asdict(report)).decode()}


def _sentence(error: Exception, where: str) -> str:
    """Why the job cannot go on; what nobody has foreseen is named by its type."""
    return str(error) if isinstance(error, SpanQAError) else f"{where}: {in_words(error)}"


def answer_shard(reader: Reader, job: Job, shard: Shard, output: Output) -> Report:
    """Answer a shard, unless that is done already.

    Raises:
        DataError: its file was changed or cannot be read, the answers cannot be written, or its
            workers died too often.
        ModelError: the model answers nothing any more.
    """
    if done := output.report(shard.number):
        return done
    if output.tried(shard.number) > TRIES:
        raise DataError(
            f"{shard.file}: rows {shard.first} to {shard.first + shard.rows - 1} ended their "
            f"worker {TRIES} times (memory, most likely); see to it, and run the same command again"
        )
    began, answered = time.perf_counter(), 0
    rejected: list[Rejected] = []
    rows = rows_of(shard, job.columns, job.limits)
    with output.answers(shard.number).writing() as file, _writer(file, job, shard) as write:
        for row, found in outcomes(reader, rows, job.top_k):
            if isinstance(row, Rejected):
                rejected.append(row)
            else:
                write(_record(shard, row, found), row.size)
                answered += 1
    if rejected:
        lines = [{"file": shard.file, **asdict(row)} for row in rejected]
        output.rejected(shard.number).write(b"".join(map(dump, lines)))
    else:  # an earlier try may have rejected some, and died
        output.rejected(shard.number).remove()
    seconds = time.perf_counter() - began
    report = Report(shard.number, answered, len(rejected), seconds, reader.backend.name)
    output.finish(report)
    return report


def outcomes(
    reader: Reader, rows: Iterable[Asked | Rejected], top_k: int
) -> Iterator[tuple[Asked | Rejected, tuple[Answer, ...]]]:
    """Rows in order with their answers; nothing, and why, for a row that has none.

    Raises:
        ModelError: it is not a row that the model fails at: it answers nothing any more.
    """
    for group in groups(rows):
        answers = _answers(reader, [row for row in group if isinstance(row, Asked)], top_k)
        for row in group:
            found = () if isinstance(row, Rejected) else next(answers)
            if isinstance(found, str):
                yield Rejected(row.row, row.id, found), ()
            else:
                yield row, found


def groups(rows: Iterable[Asked | Rejected]) -> Iterator[list[Asked | Rejected]]:
    """Rows that are read together: as many as `Reader.stream` would take."""
    return in_groups(rows, lambda row: row.size if isinstance(row, Asked) else 0)


def _answers(
    reader: Reader, asked: Sequence[Asked], top_k: int
) -> Iterator[tuple[Answer, ...] | str]:
    """Answers to each row, or why there are none: one row's error must not be another's."""
    pairs = [(row.question, row.context) for row in asked]
    try:
        yield from list(reader.stream(pairs, top_k=top_k))
        return
    except Exception:
        pass  # found out below
    for question, context in pairs:
        try:
            yield reader.answer(question, context, top_k=top_k)
        except Exception as error:
            _require_well(reader, error)
            yield f"the model failed ({type(error).__name__}: {' '.join(str(error).split())})"


def _require_well(reader: Reader, error: Exception) -> None:
    try:
        reader.answer(*_PROBE)
    except Exception as again:
        raise ModelError(
            f"{reader.name}: answers nothing any more ({type(error).__name__}: {error}); see to "
            "it, and run the same command again"
        ) from again


def _record(shard: Shard, row: Asked, answers: Sequence[Answer]) -> dict[str, Any]:
    listed = []
    for answer in answers:
        values = asdict(answer) | {"window": list(answer.window)}
        del values["document"]  # there is one text
        listed.append(values)
    return {"id": row.id, "file": shard.file, "row": row.row, **row.kept, "answers": listed}


_Write = Callable[[dict[str, Any], int], None]
"""Writes a record that holds so many characters, about."""


@contextmanager
def _writer(file: IO[bytes], job: Job, shard: Shard) -> Iterator[_Write]:
    """What writes one record after the other into a file of the job's kind."""
    if job.kind == "jsonl":

        def write_line(record: dict[str, Any], size: int) -> None:
            file.write(dump(record))

        yield write_line
        return
    import pyarrow
    import pyarrow.parquet

    schema = _schema(shard, job.columns)
    records: list[dict[str, Any]] = []
    held = 0
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:

        def flush() -> None:
            nonlocal held
            writer.write_table(pyarrow.Table.from_pylist(records, schema))
            records.clear()
            held = 0

        def write(record: dict[str, Any], size: int) -> None:
            nonlocal held
            records.append(record)
            held += size
            if len(records) == ROW_GROUP or held >= ROW_GROUP_CHARACTERS:
                flush()

        yield write
        flush()


def _schema(shard: Shard, columns: Columns) -> Any:
    """Of the answers to a Parquet file: what is kept has the type that it had."""
    import pyarrow as pa

    with parquet_file(Place(shard.url)) as parquet:
        given = parquet.schema_arrow
    answer = [
        ("text", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("probability", pa.float64()),
        ("null_probability", pa.float64()),
        ("window", pa.list_(pa.int64())),
    ]
    keys = [("id", pa.string()), ("file", pa.string()), ("row", pa.int64())]
    kept = [(name, given.field(name).type) for name in columns.keep]
    return pa.schema([*keys, *kept, ("answers", pa.list_(pa.struct(answer)))])
