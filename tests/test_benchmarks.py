"""What the benchmarks conclude from their figures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes import make_manifest

from benchmarks.answering import backends_of
from benchmarks.growth import Point, slopes
from benchmarks.parts import measured
from benchmarks.rows import Row, markdown


def test_less_time_is_better_and_more_a_second_is_better() -> None:
    assert Row("a", 2.0, "ms", 10.0).ratio == 5.0
    assert Row("a", 10.0, "questions/s", 2.0).ratio == 5.0
    assert Row("a", 10.0, "s").ratio is None


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        (Row("a", 2.0, "s", 10.0, target=5), False),
        (Row("a", 2.0, "s", 9.9, target=5), True),
        (Row("a", 9.9, "windows/s", 2.0, target=5), True),
        (Row("a", 300.0, "s", target=300), False),
        (Row("a", 301.0, "s", target=300), True),
        (Row("a", 1.0, "s", 1.0), False),
    ],
)
def test_a_target_is_a_ratio_to_the_peer_or_else_a_largest_figure(row: Row, missed: bool) -> None:
    assert row.missed == missed


def test_a_missed_target_stays_in_the_table() -> None:
    table = markdown([Row("best answer", 2.0, "ms", 3.0, "a package", 100)])
    assert table.splitlines()[2] == (
        "| best answer | 2 ms | 3 ms | 1.5 | 100: missed | a package |"
    )


def test_slopes_are_of_the_largest_sizes() -> None:
    found = [Point(10**k, max(0.5, 1e-4 * 10**k), 2.0 * 10**k / 1e3) for k in range(2, 7)]
    time, memory = slopes(found)
    assert time == pytest.approx(1.0, abs=1e-6) and memory == pytest.approx(1.0, abs=1e-6)
    quadratic = [Point(2**k, 4.0**k, 0.0) for k in range(5)]
    assert slopes(quadratic)[0] == pytest.approx(2.0)
    assert slopes(quadratic)[1] != slopes(quadratic)[1]  # too little memory to say anything


def test_what_was_exported_is_measured_beside_torch(tmp_path: Path) -> None:
    assert backends_of("some/model") == ("torch",)
    for kind in ("openvino-int8", "onnx"):
        folder = tmp_path / "exports" / kind
        folder.mkdir(parents=True)
        make_manifest(kind).save(folder)
    assert backends_of(str(tmp_path)) == ("torch", "onnx", "openvino-int8")


def own_process() -> list[Row]:
    """A part, which a new process has to find by its name."""
    return [Row("process", float(os.getpid()), "s")]


def test_each_part_has_a_process_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    found = measured({"a part": own_process, "another": own_process})
    assert len({row.ours for row in found} | {os.getpid()}) == 3
    said = capfd.readouterr().out
    assert said.index("a part") < said.index("process") < said.index(" s)") < said.index("another")
