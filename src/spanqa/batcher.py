"""Batcher: questions of many requests, read together by one thread, answers back to each.

Whatever waits is taken at once, up to a budget, and what arrives meanwhile is the next batch. There
is no timer: an idle server answers without delay, a busy one makes its own batches.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from spanqa.answer import Answer

Answers = tuple[tuple[Answer, ...], ...]
"""Of every question of a job, best first."""


class Reading(Protocol):
    """What a batcher needs of a `Reader`."""

    def stream(
        self, asked: Iterable[tuple[str, Mapping[str, str]]], *, top_k: int
    ) -> Iterator[tuple[Answer, ...]]:
        """Answers to each question over its texts, in order; takes more of `asked` as needed."""


class Full(Exception):
    """No room for another job; `seconds` is when there may be."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full; try again in {seconds} s")
        self.seconds = seconds


class Closed(Exception):
    """The batcher takes no more jobs, or gave up this one."""


@dataclass(eq=False)
class Job:
    """What one request asks: every question over all texts."""

    questions: tuple[str, ...]
    texts: Mapping[str, str]
    top_k: int = 1
    future: Future[Answers] = field(default_factory=Future)
    dropped: bool = False
    """Nobody waits for the answers any more."""

    @cached_property
    def characters(self) -> int:
        """Characters to be read: the texts, once for every question."""
        return len(self.questions) * sum(map(len, self.texts.values()))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch held and took."""

    requests: int
    questions: int
    characters: int
    seconds: float


class Batcher:
    """A bounded queue of jobs and the thread that answers them.

    `submit`, `drop`, `waiting` and `close` may be called from any thread.
    """

    def __init__(
        self,
        reader: Reading,
        *,
        queue_requests: int,
        queue_characters: int,
        batch_questions: int,
        batch_characters: int,
        done: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        """Make a batcher; `start` starts its thread.

        Args:
            reader: answers the questions; only the batcher's thread calls it.
            queue_requests: jobs that may wait,
            queue_characters: and characters to be read for them.
            batch_questions: questions read together, except for one job that has more,
            batch_characters: and characters read together, likewise.
            done: called by the thread after every batch.
        """
        self.reader, self.done = reader, done
        self.queue_requests, self.queue_characters = queue_requests, queue_characters
        self.batch_questions, self.batch_characters = batch_questions, batch_characters
        self._queue: deque[Job] = deque()
        self._running: list[Job] = []
        self._closed = False
        self._changed = threading.Condition()
        self._characters_a_second = math.inf
        # Daemon: what is left when the time to stop is up must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="spanqa-batcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    def require_room(self, characters: int = 0) -> None:
        """Check that a job of so many characters could wait now.

        Raises:
            Full: it could not.
        """
        with self._changed:
            self._require_room(characters)

    def _require_room(self, characters: int) -> None:
        ahead = sum(job.characters for job in self._queue)
        room = ahead + characters <= self.queue_characters
        if self._queue and (len(self._queue) >= self.queue_requests or not room):
            seconds = ahead / self._characters_a_second
            raise Full(min(60, max(1, math.ceil(seconds))))

    def submit(self, job: Job) -> None:
        """Put a job into the queue; its future gets the answers or an error.

        Raises:
            Full: there is no room.
            Closed: `close` was called.
        """
        with self._changed:
            if self._closed:
                raise Closed
            self._require_room(job.characters)
            self._queue.append(job)
            self._changed.notify()

    def drop(self, job: Job) -> None:
        """Forget a job that nobody waits for; questions that were not begun are not read."""
        with self._changed:
            job.dropped = True
            job.future.cancel()
            if job in self._queue:
                self._queue.remove(job)

    def close(self) -> None:
        """Take no more jobs; the thread ends when the queue is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def give_up(self) -> None:
        """Close, and end every job that has no answer yet with `Closed`."""
        self.close()
        with self._changed:
            left = [*self._queue, *self._running]
            self._queue.clear()
        for job in left:
            job.dropped = True
            _end(job, Closed())

    def join(self, seconds: float | None = None) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    def _work(self) -> None:
        while batch := self._take():
            began = time.perf_counter()
            self._answer(batch)
            self._running = []
            self._report(batch, time.perf_counter() - began)

    def _take(self) -> list[Job]:
        """Wait for jobs and take what the budget allows; nothing when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            batch: list[Job] = []
            questions = characters = 0
            while self._queue:
                questions += len(self._queue[0].questions)
                characters += self._queue[0].characters
                over = questions > self.batch_questions or characters > self.batch_characters
                if batch and over:
                    break
                batch.append(self._queue.popleft())
            self._running = [job for job in batch if job.future.set_running_or_notify_cancel()]
            return batch

    def _answer(self, batch: list[Job]) -> None:
        try:
            self._read(self._running)
        except Exception as error:
            # One job's error must not be another's: each is read again, by itself.
            alone = len(self._running) == 1
            for job in self._running:
                if not job.future.done():
                    _end(job, error) if alone else self._answer_alone(job)

    def _answer_alone(self, job: Job) -> None:
        try:
            self._read([job])
        except Exception as error:
            _end(job, error)

    def _read(self, jobs: list[Job]) -> None:
        read: deque[Job] = deque()

        def asked() -> Iterator[tuple[str, Mapping[str, str]]]:
            for job in jobs:
                for question in job.questions:
                    if job.dropped:
                        break
                    read.append(job)
                    yield question, job.texts

        found: dict[Job, list[tuple[Answer, ...]]] = {job: [] for job in jobs}
        top_k = max((job.top_k for job in jobs), default=1)
        for answers in self.reader.stream(asked(), top_k=top_k):
            job = read.popleft()
            found[job].append(answers[: job.top_k])
            if len(found[job]) == len(job.questions):
                _end(job, tuple(found[job]))

    def _report(self, batch: list[Job], seconds: float) -> None:
        questions = sum(len(job.questions) for job in batch)
        characters = sum(job.characters for job in batch)
        self._characters_a_second = max(1, characters) / max(seconds, 1e-9)
        self.done(Batch(len(batch), questions, characters, seconds))


def _end(job: Job, outcome: Answers | Exception) -> None:
    try:
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
    except InvalidStateError:
        pass  # given up or cancelled in the meantime
