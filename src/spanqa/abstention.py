"""When an answer is given and when it is withheld; NumPy and SciPy only.

The usual rule compares the null log-odds with a fitted threshold. `rule_for` gives another one: an
answer is given where its probability reaches a level at which answers are right often enough, as
far as the calibration questions can show it:

    With probability of at least 1 - DELTA over the draw of the calibration questions, at least the
    wanted share of the answers given to further questions from the same source match a reference.

For each level, the right ones among the answers given to n calibration questions are binomial, so
Clopper and Pearson's (1934) bound holds; DELTA is shared out among the levels, so that it holds for
all at once and the lowest one that passes may be taken (Geifman and El-Yaniv 2017; Angelopoulos et
al. 2021, "Learn then test"). It says nothing of questions from another source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from spanqa.decoding import Prediction, Span
from spanqa.errors import RecipeError

DELTA = 0.05
LEVELS = (*(i / 20 for i in range(1, 20)), 0.99)
"""Probabilities an answer may have to reach; set before any data is seen, as the bound demands."""


@dataclass(frozen=True)
class Level:
    """What the calibration questions show at one level."""

    probability: float
    given: int
    """Calibration questions whose best span has at least this probability."""
    right: int
    """Those of them for which it matches a reference exactly."""

    @property
    def precision(self) -> float:
        """Lower bound on the share of right answers; all bounds hold with 1 - DELTA."""
        if not self.right:
            return 0.0
        share = DELTA / len(LEVELS)
        return float(beta.ppf(share, self.right, self.given - self.right + 1))


@dataclass(frozen=True)
class Rule:
    """Which spans are given as answers."""

    null_threshold: float = 0.0
    """Null log-odds above which there is no answer."""
    min_probability: float = 0.0
    """Least probability of an answer; above 1 there is none at all."""

    def gives(self, span: Span) -> bool:
        """Whether a span is given where it is the best one."""
        return -span.odds <= self.null_threshold and span.probability >= self.min_probability

    def text(self, prediction: Prediction) -> str:
        """The best span's text, or "" where it is withheld."""
        best = prediction.spans[0] if prediction.spans else None
        return best.text if best is not None and self.gives(best) else ""


AT_ZERO = Rule()
"""Gives whatever beats "no answer"."""
ALWAYS = Rule(null_threshold=math.inf)
NEVER = Rule(min_probability=math.inf)


def count_levels(probabilities: ArrayLike, right: ArrayLike) -> tuple[Level, ...]:
    """Count answers and right answers at every level.

    Args:
        probabilities: (Q,) of the best span of each calibration question; 0 where there is none.
        right: (Q,) whether it matches a reference.
    """
    chance, good = np.asarray(probabilities, float), np.asarray(right, bool)
    return tuple(
        Level(level, int((chance >= level).sum()), int((good & (chance >= level)).sum()))
        for level in LEVELS
    )


def rule_for(min_precision: float, levels: Sequence[Level]) -> Rule:
    """The rule that answers most among those that the calibration questions support.

    Args:
        min_precision: wanted share of right answers among those given, between 0 and 1.
        levels: counts at `LEVELS`.

    Returns:
        `NEVER` where no level has enough right answers to support it.

    Raises:
        RecipeError: `min_precision` is not between 0 and 1.
    """
    if not 0 < min_precision < 1:
        raise RecipeError(f"min_precision must be between 0 and 1, got {min_precision}")
    passing = [level.probability for level in levels if level.precision >= min_precision]
    return Rule(math.inf, min(passing)) if passing else NEVER
