"""What a server and a batch may be told: dataclasses, whose field docs are the commands' help."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from spanqa.errors import DataError, RecipeError
from spanqa.section import Section

KEY_VARIABLE = "SPANQA_API_KEY"
"""Environment variable with the API key, where no file is named."""


@dataclass(frozen=True)
class ServerSettings(Section):
    """Where a server listens, who may ask, how much, and for how long.

    Characters are Unicode code points. Characters to be read are those of all texts of a request,
    counted once for every question.
    """

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for all of this machine."""
    port: int = 8080
    """Port; 0 takes a free one."""
    api_key_file: Path | None = None
    """File with the key that clients have to send; without it the environment variable
    SPANQA_API_KEY, and without both anybody may ask."""
    cors_origin: tuple[str, ...] = ()
    """Origins of other sites whose pages may ask, such as `https://example.org`."""
    max_body: int = 8 * 2**20
    """Most bytes of a request's body."""
    max_texts: int = 100
    """Most texts in a request."""
    max_text_length: int = 1_000_000
    """Most characters of a text."""
    max_questions: int = 100
    """Most questions in a request."""
    max_question_length: int = 2_000
    """Most characters of a question."""
    max_reading: int = 4_000_000
    """Most characters to be read for a request: its texts, counted once for every question."""
    max_top_k: int = 20
    """Most answers to a question."""
    time_limit: float = 600
    """Seconds from a request's arrival to its answer."""
    grace: float = 30
    """Seconds that accepted requests may still take when the server is stopped."""
    queue_requests: int = 256
    """Most requests that wait,"""
    queue_characters: int = 16_000_000
    """and most characters to be read for them; one request may always wait."""
    batch_questions: int = 32
    """Most questions of several requests read together; 1 reads every request by itself."""
    batch_characters: int = 100_000
    """Most characters of several requests read together."""

    def check(self) -> None:
        """Ranges."""
        self.named("host")
        self.require("port", 0 <= self.port < 2**16, "between 0 and 65535")
        self.at_least(
            1,
            *("max_body", "max_texts", "max_text_length", "max_questions", "max_question_length"),
            *("max_reading", "max_top_k", "queue_requests", "queue_characters"),
            *("batch_questions", "batch_characters"),
        )
        self.positive("time_limit", "grace")
        origins = all(_is_origin(origin) for origin in self.cors_origin)
        self.require("cors_origin", origins, "origins such as https://example.org")

    def api_key(self) -> str | None:
        """The key that clients have to send, from its file or the environment.

        Raises:
            DataError: the file cannot be read, or holds no key of printable ASCII.
            RecipeError: the environment variable is no such key.
        """
        if self.api_key_file is None:
            key = os.environ.get(KEY_VARIABLE)
            if key is not None and not _is_key(key):
                raise RecipeError(f"{KEY_VARIABLE} must be printable ASCII without spaces")
            return key
        try:
            key = self.api_key_file.read_text("utf-8").strip()
        except OSError as error:
            raise DataError(f"{self.api_key_file}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.api_key_file}: is not UTF-8 text") from error
        if not _is_key(key):
            raise DataError(f"{self.api_key_file}: must hold one key, printable ASCII, no spaces")
        return key


@dataclass(frozen=True)
class BatchSettings(Section):
    """Where things stand in a row, what is answered, and who does it."""

    question_column: str = "question"
    """Column, or key of a line's object, of the question."""
    context_column: str = "context"
    """That of the text."""
    id_column: str | None = None
    """That of the id, which every row must have then; `id` where there is one if left out."""
    keep: tuple[str, ...] = ()
    """Columns that go into the answers as they are."""
    top_k: int = 1
    """Answers to a row; "no answer" counts as one where it ranks."""
    max_text_length: int = 5_000_000
    """Most characters of a text; a row with a longer one is rejected."""
    max_question_length: int = 2_000
    """Most characters of a question."""
    shard_rows: int = 1_000
    """Rows answered and written together; what a job that is stopped may lose of each worker."""
    workers: int | None = None
    """Models that answer at the same time, each on one core; as many as there are cores if left
    out."""
    address: str | None = None
    """Ray cluster to use, such as `auto` or `head:6379`; this machine alone if left out."""

    def check(self) -> None:
        """Ranges."""
        self.named("question_column", "context_column", "id_column")
        self.at_least(1, "top_k", "max_text_length", "max_question_length", "shard_rows", "workers")
        own = ("id", "file", "row", "answers")
        self.require("keep", not set(self.keep) & set(own), f"none of {', '.join(own)}")
        self.require("keep", len(set(self.keep)) == len(self.keep), "each column once")


def _is_key(key: str) -> bool:
    return bool(key) and all("!" <= character <= "~" for character in key)


def _is_origin(origin: str) -> bool:
    parts = urlsplit(origin)
    plain = f"{parts.scheme}://{parts.netloc}" == origin
    return parts.scheme in ("http", "https") and bool(parts.netloc) and plain
