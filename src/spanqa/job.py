"""Job: what a batch was told, and the folder that its answers go to.

job.json              model, input and settings; a job goes on only under the same ones
answers/000042.jsonl  the answers of a shard, in the order of its rows (`.parquet` for Parquet)
rejected/000042.jsonl the rows of a shard that could not be answered, with reasons; if any
done/000042.json      counts of a shard, written last: a shard counts only with it
tries/<start>/000042  how often a shard was begun, while a job runs
.lock, .lock.json     whose folder it is, while a job runs, where it is on a disk (`spanqa.lock`)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from spanqa import __version__
from spanqa.errors import DataError
from spanqa.folders import sha256
from spanqa.lock import TRACES
from spanqa.records import dump, from_json, parse
from spanqa.shards import Columns, Limits
from spanqa.storage import Place

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """All that the answers depend on."""

    model: str
    backend: str
    batch_size: int
    min_precision: float | None
    top_k: int
    shard_rows: int
    columns: Columns
    limits: Limits
    model_sha256: str = ""
    """`model_sha256` of its folder."""
    input: str = ""
    input_sha256: str = ""
    """`Corpus.sha256`."""
    kind: str = ""
    """jsonl or parquet; of the answers too."""
    shards: int = 0
    spanqa: str = __version__

    def require_same(self, other: Job, folder: Place) -> None:
        """Refuse to go on with answers that were begun under other settings.

        Raises:
            DataError: names the first setting that differs.
        """
        # Where the same model or input lies, and which version writes, makes no other answers.
        free = ("model", "input", "shards", "spanqa")
        now = dict(_flat(asdict(self)))
        for name, value in _flat(asdict(other)):
            if name in free or value == now[name]:
                continue
            what = _FILES.get(name, f"{name} {_shown(value)}, not {_shown(now[name])}")
            raise DataError(
                f"{folder}: was begun with {what}; give what it was begun with, or name another "
                "folder"
            )


_FILES = {"model_sha256": "another model", "input_sha256": "another input"}
"""What is not shown by its value."""


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield prefix + name, value


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "nothing"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Report:
    """One finished shard."""

    shard: int
    answered: int
    rejected: int
    seconds: float
    backend: str
    """What ran the model there."""


@dataclass(frozen=True)
class Output:
    """The folder of a job."""

    place: Place
    """Its `start` tells what this job has not finished from what another one has not."""
    kind: str

    def answers(self, shard: int) -> Place:
        """Where a shard's answers are."""
        return self.place / "answers" / f"{shard:06}.{self.kind}"

    def rejected(self, shard: int) -> Place:
        """Where its rejected rows are."""
        return self.place / "rejected" / f"{shard:06}.jsonl"

    def done(self, shard: int) -> Place:
        """What says that it is finished."""
        return self.place / "done" / f"{shard:06}.json"

    def tries(self, shard: int) -> Place:
        """Where it is counted how often it was begun."""
        return self._tries / f"{shard:06}"

    def begin(self, job: Job) -> None:
        """Make the folder, or check that it belongs to the very same job.

        Raises:
            DataError: it holds something else, or cannot be written.
        """
        settings = self.place / "job.json"
        if settings.exists():
            job.require_same(_load(Job, settings), self.place)
            return
        if any(not file.is_unfinished and file.name not in TRACES for file in self.place.files()):
            raise DataError(f"{self.place}: holds other files; name an empty folder or a new one")
        for name in ("answers", "rejected", "done"):
            (self.place / name).make_folder()
        settings.write(dump(asdict(job), indent=1))

    def finished(self) -> Iterator[Report]:
        """The shards that are finished, in order."""
        for place in (self.place / "done").files():
            if place.suffix == ".json":
                yield _load(Report, place)

    def report(self, shard: int) -> Report | None:
        """That of a shard, if it is finished."""
        place = self.done(shard)
        return _load(Report, place) if place.exists() else None

    def tried(self, shard: int) -> int:
        """Count that a shard is begun; returns how often it was, this time included.

        Ray begins again what was lost with a worker, for ever: somebody has to count. Each start
        of a job counts for itself.
        """
        self._tries.make_folder()
        place = self.tries(shard)
        count = int(place.read()) + 1 if place.exists() else 1
        place.write(str(count).encode())
        return count

    @property
    def _tries(self) -> Place:
        return self.place / "tries" / (self.place.start or "0")

    def tidy(self, *, alone: bool) -> None:
        """Remove half-written files and counts of tries of this start.

        Args:
            alone: no other job works here; those of all earlier ones are removed too. A worker that
                outlived its job may still be writing: it fails, or writes what is there.
        """
        self.place.remove_unfinished(everybodys=alone)
        (self.place / "tries" if alone else self._tries).remove_folder()

    def finish(self, report: Report) -> None:
        """Count a shard as finished."""
        self.done(report.shard).write(dump(asdict(report)))


def _load(kind: type[T], place: Place) -> T:
    return from_json(kind, parse(place.read().decode("utf-8", "replace"), str(place)), str(place))


def model_sha256(folder: Path) -> str:
    """SHA-256 over all files of a model's folder, exports included."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()
