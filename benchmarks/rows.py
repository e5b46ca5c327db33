"""One measured thing beside its peer, and tables of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COLUMNS = ("what", "spanqa", "peer", "ratio", "target", "beside, and conditions")


@dataclass(frozen=True)
class Row:
    """A figure of ours, that of a peer, and how far apart they should be."""

    what: str
    ours: float
    unit: str
    """A time where less is better (`s`, `ms`), something a second where more is; or, without a
    peer, the name of a figure that should stay small."""
    peer: float | None = None
    beside: str = ""
    """Which peer, and what else has to be known."""
    target: float | None = None
    """Least ratio to the peer; largest figure of ours where there is no peer."""

    @property
    def ratio(self) -> float | None:
        """How many times as good as the peer."""
        if self.peer is None:
            return None
        return self.ours / self.peer if self.unit.endswith("/s") else self.peer / self.ours

    @property
    def missed(self) -> bool:
        """Whether there is a target that this is not."""
        if self.target is None:
            return False
        return self.ours > self.target if self.ratio is None else self.ratio < self.target

    def cells(self) -> tuple[str, ...]:
        """As `COLUMNS`."""
        ratio = "" if self.ratio is None else f"{self.ratio:.3g}"
        peer = "" if self.peer is None else f"{self.peer:.3g} {self.unit}"
        target = ""
        if self.target is not None:
            bound = "at most " if self.ratio is None else ""
            target = f"{bound}{self.target:g}" + (": missed" if self.missed else "")
        return (self.what, f"{self.ours:.3g} {self.unit}", peer, ratio, target, self.beside)


def show(row: Row) -> Row:
    """Print one row as soon as it is known."""
    what, ours, peer, ratio, target, beside = row.cells()
    times = f"{ratio}x" if ratio else ""
    goal = f"target {target}" if target else ""
    print(f"{what:<46}{ours:>15}{peer:>15}{times:>8}  {goal:<20} {beside}".rstrip(), flush=True)
    return row


def markdown(rows: Sequence[Row]) -> str:
    """A table of all rows."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
