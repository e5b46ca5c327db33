"""The public surface: sorted, documented, and every name there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import spanqa

API_PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


def test_all_is_sorted() -> None:
    assert spanqa.__all__ == sorted(spanqa.__all__)


def test_all_is_what_the_api_page_documents() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", API_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert documented == spanqa.__all__


@pytest.mark.parametrize("name", spanqa.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(spanqa, name) is not None
    assert name in dir(spanqa)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Raeder'"):
        _ = spanqa.Raeder
