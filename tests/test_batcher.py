"""The batcher: what is read together, what waits, what is dropped, and whose error it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest
from fakes import ScriptedReader, random_reader, scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from spanqa.batcher import Batch, Batcher, Closed, Full, Job

TEXT = "The bridge of Vik was built in 1887."
LIMITS: dict[str, Any] = {
    "queue_requests": 100,
    "queue_characters": 10_000,
    "batch_questions": 8,
    "batch_characters": 1_000,
}
WAIT = 30


class Bench:
    """A started batcher, whose reader stops at every batch until it is let go."""

    def __init__(self, **limits: Any) -> None:
        self.reader = ScriptedReader()
        self.done: list[Batch] = []
        self.batcher = Batcher(self.reader, **(LIMITS | limits), done=self.done.append)
        self.batcher.start()

    def hold(self) -> Job:
        """Keep the thread busy with a job until `self.reader.go` is set."""
        self.reader.go.clear()
        job = self.submit("Who is first?")
        assert self.reader.begun.acquire(timeout=WAIT)
        return job

    def submit(self, *questions: str, text: str = TEXT, top_k: int = 1) -> Job:
        job = Job(questions, {"": text}, top_k)
        self.batcher.submit(job)
        return job


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.reader.go.set()
    bench.batcher.close()
    bench.batcher.join(WAIT)


def answers(job: Job) -> list[list[str]]:
    return [[answer.text for answer in each] for each in job.future.result(WAIT)]


def test_what_waits_is_read_together_and_goes_back_to_each(bench: Bench) -> None:
    bench.hold()
    jobs = [bench.submit(f"What of {word}?", top_k=k) for k, word in ((1, "Vik"), (3, "1887"))]
    both = bench.submit("Is it the bridge?", "Was it built?", top_k=2)
    assert bench.batcher.waiting == 3
    bench.reader.go.set()
    assert [answers(job) for job in jobs] == [[["Vik"]], [["1887", "", "The "]]]
    assert answers(both) == [["bridge", ""], ["built", ""]]
    assert [len(batch) for batch in bench.reader.batches] == [1, 4]


def test_an_idle_batcher_reads_at_once(bench: Bench) -> None:
    assert answers(bench.submit("Where is Vik?")) == [["Vik"]]
    assert bench.reader.batches == [["Where is Vik?"]]


@pytest.mark.parametrize(
    "limits, sizes",
    [
        ({"batch_questions": 2}, [1, 2, 2, 1]),
        ({"batch_questions": 1}, [1, 1, 1, 1, 1, 1]),
        ({"batch_characters": 3 * len(TEXT)}, [1, 3, 2]),
        ({"batch_characters": 1}, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_a_batch_keeps_to_its_budget(limits: dict[str, int], sizes: list[int]) -> None:
    bench = Bench(**limits)
    bench.hold()
    jobs = [bench.submit(f"{n}?") for n in range(5)]
    bench.reader.go.set()
    for job in jobs:
        job.future.result(WAIT)
    bench.batcher.close()
    bench.batcher.join(WAIT)
    assert [len(batch) for batch in bench.reader.batches] == sizes
    assert [batch.questions for batch in bench.done] == sizes
    assert [batch.requests for batch in bench.done] == sizes
    assert bench.done[1].characters == sizes[1] * len(TEXT)


def test_the_queue_is_bounded_by_requests_and_by_characters() -> None:
    bench = Bench(queue_requests=2, queue_characters=3 * len(TEXT))
    bench.hold()
    bench.submit("1?")
    bench.batcher.require_room()
    bench.submit("2?")
    for check in (bench.batcher.require_room, lambda: bench.submit("3?")):
        with pytest.raises(Full, match=r"the queue is full; try again in \d+ s") as full:
            check()
        assert 1 <= full.value.seconds <= 60
    bench.batcher.queue_requests = 5
    with pytest.raises(Full):
        bench.submit("3?", "and 4?")  # 4 x TEXT
    bench.submit("3?")
    bench.reader.go.set()
    bench.batcher.close()
    bench.batcher.join(WAIT)
    assert [len(batch) for batch in bench.reader.batches] == [1, 3]


def test_one_job_may_always_wait_and_be_read() -> None:
    bench = Bench(queue_characters=1, batch_characters=1, batch_questions=1)
    bench.hold()
    job = bench.submit("1?", "2?")
    bench.reader.go.set()
    assert len(answers(job)) == 2


def test_an_error_of_one_is_not_an_error_of_others(bench: Bench) -> None:
    bench.hold()
    jobs = [bench.submit(q) for q in ("Where is Vik?", "Where does it fail", "What of 1887?")]
    bench.reader.go.set()
    assert answers(jobs[0]) == [["Vik"]]
    assert answers(jobs[2]) == [["1887"]]
    with pytest.raises(RuntimeError, match="told to fail"):
        jobs[1].future.result(WAIT)
    assert answers(bench.submit("Where is Vik?")) == [["Vik"]]  # the thread lives


def test_a_dropped_job_is_not_read_and_leaves_its_place(bench: Bench) -> None:
    bench.hold()
    dropped, kept = bench.submit("Where is Oslo?"), bench.submit("Where is Vik?")
    bench.batcher.drop(dropped)
    assert bench.batcher.waiting == 1
    bench.reader.go.set()
    assert answers(kept) == [["Vik"]]
    assert bench.reader.batches[1] == ["Where is Vik?"]
    with pytest.raises(CancelledError):
        dropped.future.result(WAIT)


def test_questions_of_a_dropped_job_that_were_not_begun_are_not_read() -> None:
    class OneByOne(ScriptedReader):
        def stream(self, asked: Any, *, top_k: int) -> Iterator[Any]:
            for pair in asked:
                yield from super().stream([pair], top_k=top_k)

    bench = Bench()
    bench.batcher.reader = bench.reader = OneByOne()
    bench.reader.go.clear()
    job = bench.submit("1?", "2?", "3?")
    assert bench.reader.begun.acquire(timeout=WAIT)
    bench.batcher.drop(job)
    bench.reader.go.set()
    bench.batcher.close()
    bench.batcher.join(WAIT)
    assert bench.reader.batches == [["1?"]]


def test_closed_it_finishes_what_it_has_and_takes_no_more(bench: Bench) -> None:
    first, second = bench.hold(), bench.submit("Where is Vik?")
    bench.batcher.close()
    with pytest.raises(Closed):
        bench.submit("Where is Oslo?")
    bench.reader.go.set()
    bench.batcher.join(WAIT)
    assert len(answers(first)) == 1
    assert answers(second) == [["Vik"]]


def test_giving_up_ends_what_runs_and_what_waits(bench: Bench) -> None:
    running, waiting = bench.hold(), bench.submit("Where is Vik?")
    bench.batcher.give_up()
    for job in (running, waiting):
        with pytest.raises(Closed):
            job.future.result(WAIT)
    bench.reader.go.set()
    bench.batcher.join(WAIT)
    assert len(bench.reader.batches) == 1


@settings(deadline=None, max_examples=30)
@given(
    jobs=st.lists(
        st.tuples(
            st.lists(st.sampled_from(["Vik?", "1887?", "Oslo?", "bridge?"]), min_size=1),
            st.integers(1, 3),
        ),
        max_size=12,
    ),
    budget=st.integers(1, 9),
)
def test_every_job_gets_its_own_answers(jobs: list[tuple[list[str], int]], budget: int) -> None:
    bench = Bench(batch_questions=budget)
    bench.hold()
    made = [bench.submit(*questions, top_k=k) for questions, k in jobs]
    bench.reader.go.set()
    for job, (questions, k) in zip(made, jobs, strict=True):
        expected = tuple(scripted(each, {"": TEXT})[:k] for each in questions)
        assert job.future.result(WAIT) == expected
    bench.batcher.close()


def test_answers_of_a_reader_are_its_own_whatever_they_are_read_with(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    reader = random_reader(tiny_tokenizer)
    batcher = Batcher(reader, **LIMITS)
    texts = [f"{TEXT} It has {n} arches and stands near the mill." for n in range(6)]
    jobs = [Job((f"What is {n}?", "Who?"), {"": t}, 1 + n) for n, t in enumerate(texts)]
    for job in jobs:
        batcher.submit(job)
    batcher.start()
    for job, text in zip(jobs, texts, strict=True):
        assert job.future.result(WAIT) == reader.answer(job.questions, text, top_k=job.top_k)
    batcher.close()
    batcher.join(WAIT)
