"""Processes that train together, seen from one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spanqa import group
from spanqa.errors import DataError, RunError


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the second of two."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")


def test_a_process_alone_is_a_group_of_one() -> None:
    assert (group.size(), group.index(), group.leads()) == (1, 0, True)
    group.join()
    group.wait()
    assert group.gather({3: "c"}) == {3: "c"}
    assert group.from_leader(lambda: 5) == 5
    group.end_helpers()


def test_the_launchers_say_who_a_process_is(helper: None) -> None:
    assert (group.size(), group.index(), group.leads()) == (2, 1, False)


def _told(outcome: list[Any]) -> Callable[[list[Any]], list[Any]]:
    def broadcast(values: list[Any]) -> list[Any]:
        values[:] = outcome
        return values

    return broadcast


def test_a_helper_takes_what_the_leader_found(
    helper: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", _told(["theirs", True]))
    assert group.from_leader(lambda: pytest.fail("the leader alone does that")) == "theirs"


def test_a_helper_ends_without_a_word_where_the_leader_failed(
    helper: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", _told([None, False]))
    with pytest.raises(SystemExit) as stopped:
        group.from_leader(lambda: None)
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", "")


def test_the_leader_tells_the_others_before_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    told: list[list[Any]] = []
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", told.append)

    def fail() -> None:
        raise DataError("recipe.yaml is another recipe")

    with pytest.raises(DataError, match="another recipe"):
        group.from_leader(fail)
    assert told == [[None, False]]


def test_gathering_joins_the_shares(helper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: [{0: "a", 2: "c"}, *mine])
    assert group.gather({1: "b"}) == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize(
    "raised",
    [
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer",
        "Timed out waiting 1800000ms for recv operation to complete",
        "NCCL communicator was aborted on rank 1",
    ],
)
def test_a_lost_process_is_named_in_one_sentence(helper: None, raised: str) -> None:
    with pytest.raises(RunError, match="process 1 of 2 has lost the others"):
        _raise_within(raised)


def test_other_errors_stay_what_they_are(helper: None) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2") as kept:
        _raise_within("mat1 and mat2 shapes cannot be multiplied")
    assert not isinstance(kept.value, RunError)


def test_a_process_alone_loses_nobody() -> None:
    with pytest.raises(RuntimeError, match="Connection reset"):
        _raise_within("Connection reset by peer")


def _raise_within(text: str) -> None:
    with group.said_who_is_missing():
        raise RuntimeError(text)
