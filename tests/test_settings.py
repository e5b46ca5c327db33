"""Settings of a server: ranges, and where the API key comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanqa.errors import DataError, RecipeError
from spanqa.settings import KEY_VARIABLE, ServerSettings


@pytest.mark.parametrize(
    "values, message",
    [
        ({"port": -1}, "port must be between 0 and 65535, got -1"),
        ({"host": " "}, "host must be a name"),
        ({"max_body": 0}, "max_body must be at least 1, got 0"),
        ({"queue_requests": 0}, "queue_requests must be at least 1"),
        ({"batch_questions": 0.5}, "batch_questions must be a whole number"),
        ({"grace": 0}, "grace must be more than 0"),
        ({"time_limit": float("nan")}, "time_limit must be a number"),
        ({"cors_origin": ("https://a.example/path",)}, "cors_origin must be origins"),
        ({"cors_origin": ("*",)}, "cors_origin must be origins"),
    ],
)
def test_values_out_of_range_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        ServerSettings(**values)  # type: ignore[arg-type]


def test_the_key_comes_from_the_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert ServerSettings().api_key() is None
    monkeypatch.setenv(KEY_VARIABLE, "from-environment")
    assert ServerSettings().api_key() == "from-environment"
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert ServerSettings(api_key_file=file).api_key() == "from-file"


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", "schlüssel".encode(), b"\xff"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(DataError, match="key: "):
        ServerSettings(api_key_file=file).api_key()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        ServerSettings(api_key_file=tmp_path / "missing").api_key()


@pytest.mark.parametrize("content", ["", "two words"])
def test_an_empty_variable_is_no_open_door(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, content)
    with pytest.raises(RecipeError, match="SPANQA_API_KEY must be printable ASCII"):
        ServerSettings().api_key()
