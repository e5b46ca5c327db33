"""The commands that answer: ask, predict, serve, batch; `spanqa.commands` has the others.

Whatever a command needs is imported inside it, so that help and errors are quick.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from spanqa.arguments import (
    AS_TRAINED,
    DEFAULT_BATCH,
    DEFAULT_SETTINGS,
    AsJson,
    Batch,
    Output,
    Reading,
    Settings,
)
from spanqa.errors import DataError

if TYPE_CHECKING:
    from spanqa.reader import Reader


def predict(
    model: str,
    data: str,
    /,
    *,
    output: Output,
    reading: Reading = AS_TRAINED,
) -> None:
    """Answer the questions of data and write the answers to files.

    Args:
        model: Folder or hub id of a checkpoint; `default` for the reader that comes with spanqa.
        data: A SQuAD JSON, JSONL, CSV or Parquet file, or a hub id with its split.
        output: Folder for predictions.json, nbest_predictions.json and null_odds.json.
        reading: How the model answers.
    """
    from spanqa import console, evaluation

    used = evaluation.predict(model, data, output, **vars(reading))
    console.print_backend(used)
    files = ("predictions.json", "nbest_predictions.json", "null_odds.json")
    console.print_paths(output / name for name in files)


def ask(
    model: str = "default",
    /,
    *,
    question: Annotated[list[str], Parameter(alias="-q")],
    context: Annotated[str, Parameter(allow_leading_hyphen=True)],
    top_k: PositiveInt = 1,
    reading: Reading = AS_TRAINED,
    as_json: AsJson = False,
) -> None:
    """Answer questions about a text.

    Args:
        model: Folder or hub id of a checkpoint; `default` for the reader that comes with spanqa.
        question: A question; may be given several times.
        context: File with the text, `-` for standard input.
        top_k: Answers shown for each question.
        reading: How the model answers.
        as_json: Print JSON: a list of questions with their answers and character offsets.
    """
    text = _read_text(context)
    from spanqa import console
    from spanqa.reader import Reader

    reader = Reader.from_pretrained(model, **vars(reading))
    console.print_backend(reader.backend.name)
    found = reader.answer(question, text, top_k=top_k)
    if as_json:
        console.print_json(
            [
                {"question": each, "answers": [asdict(answer) for answer in answers]}
                for each, answers in zip(question, found, strict=True)
            ]
        )
        return
    for each, answers in zip(question, found, strict=True):
        console.print_answers(each, text, answers)


def serve(
    model: str = "default",
    /,
    *,
    reading: Reading = AS_TRAINED,
    settings: Settings = DEFAULT_SETTINGS,
) -> None:
    """Answer questions over HTTP, with a web page; needs the `serve` extra.

    SIGTERM and Ctrl-C finish what was accepted, then end it.

    Args:
        model: Folder or hub id of a checkpoint; `default` for the reader that comes with spanqa.
        reading: How the model answers.
        settings: Where to listen, who may ask, and how much.
    """
    from spanqa import serving

    def load() -> Reader:
        from spanqa.reader import Reader

        return Reader.from_pretrained(model, **vars(reading))

    serving.serve(
        load, settings, lambda address: print(f"{model} answers at {address}", flush=True)
    )


def batch(
    model: str,
    input: str,
    output: str,
    /,
    *,
    reading: Reading = AS_TRAINED,
    settings: Batch = DEFAULT_BATCH,
) -> None:
    """Answer a corpus: every row with a question and a text; needs the `ray` extra.

    Rows that cannot be answered go to a file with the reason. Running the same command again goes
    on where it was.

    Args:
        model: Folder or hub id of a checkpoint; `default` for the reader that comes with spanqa.
        input: A JSONL or Parquet file, a folder of such files, or a pattern such as
            `questions/*.jsonl.gz`; a path, or a URL that fsspec knows.
        output: Folder of the answers; a path or a URL.
        reading: How the model answers.
        settings: Where things stand in a row, what is answered, and who does it.
    """
    from spanqa import console
    from spanqa.batch import answer_corpus

    totals = answer_corpus(
        model, input, output, settings, say=console.print_progress, **vars(reading)
    )
    if totals.rejected:
        console.complain(f"{totals.rejected:,} rows were rejected; {output}/rejected says why")
    console.print_paths([output])


def _read_text(file: str) -> str:
    """The text as it is: offsets count the characters of the file, line ends included."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text") from error
