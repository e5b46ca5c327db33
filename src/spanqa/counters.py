"""What a server counts of itself, in Prometheus' format; nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from spanqa.batcher import Batch

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
QUESTIONS = (1, 2, 4, 8, 16, 32, 64, 128)


class Counters:
    """One server's metrics, in a registry of their own."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        """Make all metrics.

        Args:
            waiting: how many requests wait now.
        """
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "spanqa_requests",
            "Requests by route and status; 499 = the client went away.",
            ["route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "spanqa_request_seconds",
            "Seconds from a request's arrival to the end of its response.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._rejected = Counter(
            "spanqa_rejected",
            "Questions' requests that got no answer: full, late, gone, stopping.",
            ["reason"],
            registry=self.registry,
        )
        self._answered = Counter(
            "spanqa_questions_answered", "Questions answered.", registry=self.registry
        )
        depth = Gauge("spanqa_queue_requests", "Requests that wait.", registry=self.registry)
        depth.set_function(waiting)
        self._batch_questions = Histogram(
            "spanqa_batch_questions",
            "Questions read together.",
            buckets=QUESTIONS,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "spanqa_batch_seconds",
            "Seconds that a batch took.",
            buckets=SECONDS,
            registry=self.registry,
        )
        for reason in ("full", "late", "gone", "stopping"):
            self._rejected.labels(reason)
        ProcessCollector(registry=self.registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request is over."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, batch: Batch) -> None:
        """A batch is done."""
        self._batch_questions.observe(batch.questions)
        self._batch_seconds.observe(batch.seconds)

    def answered(self, questions: int) -> None:
        """Questions were answered."""
        self._answered.inc(questions)

    def rejected(self, reason: str) -> None:
        """A request was not answered."""
        self._rejected.labels(reason).inc()

    def text(self) -> bytes:
        """All metrics, as `/metrics` shows them."""
        return generate_latest(self.registry)
