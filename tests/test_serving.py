"""The server as a process: how it starts, what stops it, what it says when it cannot start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bounded
import pytest
from conftest import CORPUS

from spanqa.cli import main
from spanqa.reader import Reader
from spanqa.serving import bind

WAIT = 60
LONG = " ".join(CORPUS[:6]) * 6


@contextmanager
def served(model: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves a model, and its host with port, once it answers questions."""
    words = ("serve", str(model), "--port", "0", *words)
    with bounded.started(
        [sys.executable, "-m", "spanqa.cli", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "SPANQA_API_KEY": "correct-horse"},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith(f"{model} answers at http://127.0.0.1:"), process.stderr.read()
        yield process, urlsplit(line.split()[-1]).netloc


def asked(host: str, question: str, context: str) -> HTTPConnection:
    """A connection of its own over which one request has been sent."""
    connection = HTTPConnection(host, timeout=WAIT)
    body = json.dumps({"question": question, "context": context})
    headers = {"Content-Type": "application/json", "Authorization": "Bearer correct-horse"}
    try:
        connection.request("POST", "/answer", body, headers)
    except BaseException:
        connection.close()
        raise
    return connection


def test_told_to_stop_in_mid_load_it_answers_what_it_accepted(tiny_model_folder: Path) -> None:
    expected = Reader.from_pretrained(tiny_model_folder).answer("Who is 3?", LONG)[0]
    before: list[tuple[int, dict[str, Any]] | None] = []  # sent before the signal; None: lost
    after: list[int] = []
    stop = threading.Event()
    enough = threading.Semaphore(0)

    def client() -> None:
        while True:
            try:
                connection = asked(host, "Who is 3?", LONG)
            except OSError:
                return  # nobody listens any more
            late = stop.is_set()
            with closing(connection):
                try:
                    response = connection.getresponse()
                    found = response.status, json.loads(response.read())
                except (OSError, HTTPException):
                    if not late:
                        before.append(None)
                    return
            if late:
                after.append(found[0])
            else:
                before.append(found)
            enough.release()

    with served(tiny_model_folder) as (process, host):
        clients = [threading.Thread(target=client) for _ in range(8)]
        for thread in clients:
            thread.start()
        for _ in range(24):
            assert enough.acquire(timeout=WAIT)
        stop.set()
        process.send_signal(signal.SIGTERM)
        for thread in clients:
            thread.join(WAIT)
        assert process.wait(WAIT) == 0
        assert process.stderr is not None and process.stderr.read() == ""
    assert None not in before
    answered = [found for found in before if found is not None and found[0] == 200]
    assert len(answered) >= 24
    assert {found[0] for found in before if found is not None} <= {200, 503}
    assert set(after) <= {200, 503}
    for _, body in answered:
        answer = body["results"][0]["answers"][0]
        assert (answer["text"], answer["start"]) == (expected.text, expected.start)
        assert answer["probability"] == pytest.approx(expected.probability, abs=1e-4)


def test_interrupted_it_ends_in_peace(tiny_model_folder: Path) -> None:
    with served(tiny_model_folder) as (process, host):
        connection = HTTPConnection(host, timeout=WAIT)
        connection.request("GET", "/ready")
        assert connection.getresponse().status == 200  # and stays connected
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 0
        connection.close()


def test_a_port_in_use_is_said_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(tmp_path / "no-model"), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"spanqa: cannot listen on 127.0.0.1, port {port}: address already in use; "
        "--host and --port choose another\n"
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (["no-such-model", "--port", "0"], "no-such-model"),
        (["--port", "70000"], "port must be between 0 and 65535, got 70000"),
        (["--max-texts", "0"], "max_texts must be at least 1, got 0"),
        (["--time-limit", "0"], "time_limit must be more than 0"),
        (["--cors-origin", "example.org"], "cors_origin must be origins such as"),
        (["--host", "256.256.256.256"], "cannot listen on 256.256.256.256"),
        (["--api-key-file", "no-such-file"], "no-such-file: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys\n"
        "sys.modules['fastapi'] = None\n"
        "from spanqa.cli import main\n"
        "sys.exit(main(['serve']))\n"
    )
    done = bounded.run([sys.executable, "-c", code])
    assert done.returncode == 2
    assert done.stderr == (
        "spanqa: the server needs an optional dependency: pip install 'spanqa[serve]'\n"
    )
