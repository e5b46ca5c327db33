"""Any bytes, mutated files and any structure: used, or refused in one line; see `fuzz.targets`."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedReader
from fuzz.targets import DICTIONARY, SEEDS, STEERING, TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from test_bad_files import dump, nested

from spanqa import comparison
from spanqa.cli import main
from spanqa.recipe import Recipe
from spanqa.section import keys_of
from spanqa.server import create_app
from spanqa.settings import ServerSettings

few = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
WORDS = [word.encode() for word in DICTIONARY]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid file with parts cut out, doubled, overwritten and put in."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.integers(0, 12)))
        part = bytes(content[begin:end])
        content[begin:end] = draw(
            st.one_of(
                st.just(b""), st.just(part * 2), st.sampled_from(WORDS), st.binary(max_size=4)
            )
        )
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
@few
@given(data=st.data())
def test_mutated_files(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(mutated(SEEDS[name])))


@pytest.mark.parametrize("name", TARGETS)
@few
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode()))
def test_any_bytes(name: str, content: bytes) -> None:
    TARGETS[name](content)


KEYS = st.sampled_from(
    [
        *("data", "title", "paragraphs", "context", "qas", "id", "question", "answers", "text"),
        *("answer_start", "is_impossible", "version", "top_k"),
    ]
)
TEXTS = st.text(st.characters(), max_size=12)  # lone surrogates, too
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.integers(-(2**70), 2**70)
    | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXTS, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container within a value, with each of its keys."""
    if not isinstance(value, dict | list):
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        yield from places(inner)


@st.composite
def grafted(draw: st.DrawFn, document: Any) -> bytes:
    """JSON of a valid document in which some values are others."""
    made = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(places(made))))
        holder[key] = draw(VALUES)
    return dump(made)


ASKED = {"question": ["Who?"], "context": {"a": "Ada Mbeki."}, "top_k": 2}


@pytest.mark.parametrize(
    "name, document",
    [
        ("json", nested()),
        ("jsonl", {"id": "q", "title": "t", "question": "?", "context": "Ada", "answers": []}),
        ("predictions", {"q1": "1887", "q2": ""}),
        ("na-probs", {"q1": 0.5, "q2": 1}),
        ("request", ASKED),
        ("recipe", Recipe().to_dict()),  # JSON is YAML
    ],
)
@few
@given(data=st.data())
def test_any_value_in_any_place(name: str, document: Any, data: st.DataObject) -> None:
    TARGETS[name](data.draw(grafted(document)))


@few
@given(rows=st.lists(st.dictionaries(KEYS | TEXTS, VALUES, max_size=5), max_size=3))
def test_any_rows(rows: list[Any]) -> None:
    TARGETS["jsonl"](b"\n".join(map(dump, rows)))
    TARGETS["json"](dump(rows))


# The command line


class _Taken(Exception):
    """The command line was understood."""


def _take(recipe: Recipe, output: Path, **_: object) -> None:
    raise _Taken


@settings(few, max_examples=20)
@given(
    pairs=st.lists(
        st.tuples(st.sampled_from(keys_of(Recipe)) | TEXTS, TEXTS | VALUES.map(str)), max_size=3
    )
)
def test_any_value_on_the_command_line(
    pairs: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "compare", _take)
    words = [word for key, value in pairs for word in (f"--{key.replace('_', '-')}", value)]
    said, printed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        status = main(["compare", "demo", "--output", "x", *words])
    line = said.getvalue()
    if status == 0:  # help or version was asked for
        assert printed.getvalue()
    elif status == 1:
        assert "unexpected _Taken" in line, line
    else:
        assert status == 2
        assert line.startswith("spanqa: ")
    assert line.count("\n") <= 1
    assert not STEERING.search(line.removesuffix("\n")), repr(line)


# The server


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(ScriptedReader(), ServerSettings(max_body=2_000, max_texts=5))
    with TestClient(app, raise_server_exceptions=True) as client:
        yield client


HEADERS = st.dictionaries(
    st.sampled_from(("content-type", "content-length", "authorization", "origin", "accept", "x")),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)
    | st.sampled_from(("application/json", "9" * 5_000, "-1", "²", "Bearer")),
    max_size=4,
)


@few
@given(
    body=mutated(SEEDS["request"]) | grafted(ASKED) | st.binary(max_size=100),
    headers=HEADERS,
    method=st.sampled_from(("POST", "GET", "PUT", "OPTIONS")),
    path=st.sampled_from(("/answer", "/", "/page.js", "/../settings.py", "/metrics", "/%00")),
)
def test_no_request_fails_the_server(
    client: TestClient, body: bytes, headers: dict[str, str], method: str, path: str
) -> None:
    given = {"content-type": "application/json"} | headers
    sent = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    response = client.request(method, path, content=body, headers=sent)
    assert response.status_code < 500
    if response.status_code >= 400 and method != "OPTIONS":
        said = response.json()
        assert list(said) == ["error"]
        assert said["error"].isprintable()


# A model's folder: its weights


@few
@given(header=st.binary(max_size=60), length=st.none() | st.integers(0, 2**64 - 1))
def test_any_safetensors(
    header: bytes, length: int | None, tiny_model_folder: Path, tmp_path_factory: Any
) -> None:
    from spanqa.adapter import Adapter
    from spanqa.errors import ModelError

    folder = tmp_path_factory.mktemp("adapter")
    origin = {"encoder": "offline", "revision": None, "sha256": "0", "scale": 1.0}
    (folder / "adapter.json").write_bytes(dump(origin))
    size = len(header) if length is None else length
    (folder / "adapter.safetensors").write_bytes(struct.pack("<Q", size) + header)
    try:
        Adapter.load(folder)
    except ModelError as error:
        assert str(error).startswith(str(folder))
        assert str(error).isprintable()
