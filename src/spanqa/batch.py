"""Batch answering: a corpus of any size, answered by a pool of models that Ray Data schedules.

What goes through Ray is where a shard lies and how it ended: the worker that gets a shard reads its
rows itself and writes their answers, so neither the driver nor Ray's object store ever hold any.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from spanqa.cluster import connected, require_ray
from spanqa.errors import DataError
from spanqa.job import Job, Output, Report, model_sha256
from spanqa.lock import locked
from spanqa.records import from_json, parse
from spanqa.settings import BatchSettings
from spanqa.shards import Columns, Corpus, Limits, Shard, corpus_of
from spanqa.shipped import DEFAULT
from spanqa.storage import Place
from spanqa.worker import Worker, load, local_folder

BLOCKS = 10_000
"""Most portions that Ray hands out: it takes some kilobytes for each. More shards than these go
several to a portion, whose reports come together."""
STORE = 100 * 2**20
"""Bytes for Ray's object store on this machine; what passes through are lines of some bytes."""


@dataclass(frozen=True)
class Totals:
    """How far a job is."""

    shards: int
    done: int
    """Shards that are finished,"""
    answered: int
    """and their rows that were answered,"""
    rejected: int
    """or rejected."""

    def plus(self, report: Report) -> Totals:
        """The totals with one more shard."""
        return Totals(
            self.shards,
            self.done + 1,
            self.answered + report.answered,
            self.rejected + report.rejected,
        )


def answer_corpus(
    model: str,
    source: str,
    output: str,
    settings: BatchSettings | None = None,
    *,
    backend: str = "auto",
    batch_size: int = 8,
    min_precision: float | None = None,
    say: Callable[[Totals], None] = lambda totals: None,
) -> Totals:
    """Answer every row of an input into a folder, or go on where an earlier call was stopped.

    Args:
        model: as in `Reader.from_pretrained`.
        source: path or URL of a JSONL or Parquet file, of a folder of such, or a pattern; what a
            pattern finds below the output is left out.
        output: path or URL of the folder.
        settings: columns, limits and workers.
        backend: as in `Reader.from_pretrained`; every worker loads the model for itself.
        batch_size: likewise.
        min_precision: likewise.
        say: is told the totals at the beginning and after every shard.

    Raises:
        DataError: the input or the output cannot be used, or the output is that of another job.
        WriteError: another process works on the output, or it cannot be made.
        ModelError: the model cannot be used.
        MissingExtraError: the `ray` extra is not installed.
    """
    settings = settings or BatchSettings()
    require_ray("answering in batches")
    place = Place.of(output).started()
    job, corpus = _plan(
        Job(
            model=_everywhere(model),
            backend=backend,
            batch_size=batch_size,
            min_precision=min_precision,
            top_k=settings.top_k,
            shard_rows=settings.shard_rows,
            columns=Columns(
                settings.question_column,
                settings.context_column,
                settings.id_column,
                settings.keep,
            ),
            limits=Limits(settings.max_question_length, settings.max_text_length),
        ),
        source,
        place,
    )
    local = place.local
    with locked(local) if local else nullcontext():
        return _answer(job, corpus, Output(place, job.kind), settings, say)


def _answer(
    job: Job,
    corpus: Corpus,
    output: Output,
    settings: BatchSettings,
    say: Callable[[Totals], None],
) -> Totals:
    """Answer what is not answered yet.

    No other job works in a folder of this machine; at a URL there may be one, whose unfinished
    files are left alone.
    """
    alone = output.place.local is not None
    output.begin(job)
    output.tidy(alone=alone)
    totals = Totals(len(corpus.shards), 0, 0, 0)
    done = set()
    for report in output.finished():
        done.add(report.shard)
        totals = totals.plus(report)
    say(totals)
    missing = [shard for shard in corpus.shards if shard.number not in done]
    for report in _reports(job, output, missing, settings):
        totals = totals.plus(report)
        say(totals)
    output.tidy(alone=alone)
    return totals


def _plan(job: Job, source: str, output: Place) -> tuple[Job, Corpus]:
    """The job with its model and its input looked at: what is wrong with them is said at once."""
    _require_apart(source, output)
    load(job)
    corpus = corpus_of(source, job.columns, job.limits, job.shard_rows, without=output)
    planned = replace(
        job,
        model_sha256=model_sha256(local_folder(job.model)),
        input=Place.of(source).url,
        input_sha256=corpus.sha256,
        kind=corpus.kind,
        shards=len(corpus.shards),
    )
    return planned, corpus


def _everywhere(model: str) -> str:
    """A model's name that means the same in every process of this machine."""
    is_folder = model != DEFAULT and Path(model).is_dir()
    return str(Path(model).resolve()) if is_folder else model


def _require_apart(source: str, output: Place) -> None:
    top = Place.of(source).url.rstrip("/")
    if f"{output.url}/".startswith(f"{top}/"):
        raise DataError(f"{output}: lies in the input; name a folder outside of {source}")


def _reports(
    job: Job, output: Output, shards: Sequence[Shard], settings: BatchSettings
) -> Iterator[Report]:
    """The reports of shards, as they are finished.

    Raises:
        DataError: a worker says that the job cannot go on.
    """
    if not shards:
        return
    with connected(settings.address, num_cpus=settings.workers, object_store_memory=STORE) as ray:
        import ray.data

        workers = settings.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = ray.data.from_items(
            [asdict(shard) for shard in shards], override_num_blocks=min(len(shards), BLOCKS)
        )
        size = min(workers, len(shards))
        found = rows.map(
            Worker,
            fn_constructor_args=(job, output),
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=size, initial_size=size, max_tasks_in_flight_per_actor=2
            ),
            num_cpus=1,
        )
        for row in found.iter_rows():
            if row["error"]:
                raise DataError(row["error"])
            yield from_json(Report, parse(row["report"], "a worker's report"), "a worker's report")
