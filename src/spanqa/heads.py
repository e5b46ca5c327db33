"""The span heads: hidden states of a window -> `SpanScores`, one contract for all.

    softmax    start and end are two independent softmaxes (Devlin et al. 2019)
    joint      one softmax over all spans and "no answer" (Fajcik et al. 2021, compound objective)
    crf        a linear chain over the tags O, B, I, normalised over all tag paths
    span-crf   the same chain, normalised over the paths with at most one span

What follows a head (decoding, calibration, export, serving) sees only the scores.

Axes: B windows, L tokens, H hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from spanqa.crf import MASKED, TAGS, chain_log_partition, span_log_partition, span_potentials
from spanqa.errors import ModelError

CLS = 0
"""Position whose logits score "no answer" in the heads that have no chain."""


class Potentials(NamedTuple):
    """`SpanScores` without the partition function: all that answering needs."""

    start: Tensor
    """(B, L)"""
    end: Tensor
    """(B, L)"""
    unit: Tensor
    """(B,)"""
    null: Tensor
    """(B,)"""


@dataclass
class SpanScores:
    """Scores of all spans of each window: score(i, j) = start[i] + end[j] + (i == j) * unit."""

    start: Tensor
    """(B, L) potential of a span's first token; -inf outside the context."""
    end: Tensor
    """(B, L) potential of its last token; -inf outside the context."""
    unit: Tensor
    """(B,) added where the first token is the last."""
    null: Tensor
    """(B,) score of "no answer in this window"."""
    log_z: Tensor
    """(B,) log of the head's own partition function."""

    def of(self, first: Tensor, last: Tensor) -> Tensor:
        """(B,) score of one span per window; (0, 0) stands for no answer."""
        start = self.start.gather(1, first[:, None])[:, 0]
        end = self.end.gather(1, last[:, None])[:, 0]
        span = start + end + self.unit * (first == last)
        return torch.where(last > 0, span, self.null)


class SpanHead(nn.Module):
    """One linear map to logits and what becomes of them, in float32 under any autocast."""

    outputs: ClassVar[int]
    """Logits per token."""
    loss_scale: ClassVar[float] = 1.0

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(hidden_size, self.outputs)

    def forward(self, hidden: Tensor, context_mask: Tensor) -> SpanScores:
        """Score all spans.

        Args:
            hidden: (B, L, H) last hidden states.
            context_mask: (B, L) true on context tokens, an unbroken run in each row.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            logits = self._logits(hidden)
            found = self.potentials(logits, context_mask)
            log_z = self.log_partition(logits, context_mask, found)
        return SpanScores(*_closed(found, context_mask), log_z)

    def spans(self, hidden: Tensor, context_mask: Tensor) -> Potentials:
        """The same without the partition function, which only training asks for."""
        with torch.autocast(hidden.device.type, enabled=False):
            return _closed(self.potentials(self._logits(hidden), context_mask), context_mask)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.classifier(hidden.to(self.classifier.weight.dtype))
        return logits if logits.dtype == torch.float64 else logits.float()

    def potentials(self, logits: Tensor, mask: Tensor) -> Potentials:
        """(B, L, outputs) -> what answering needs, masked with `crf.MASKED`."""
        raise ModelError(
            f"{type(self).__name__} is not a head by itself; take one of {sorted(HEADS)}"
        )

    def log_partition(self, logits: Tensor, mask: Tensor, found: Potentials) -> Tensor:
        """(B,) over all spans and "no answer"."""
        return span_log_partition(*found)

    def loss(self, scores: SpanScores, first: Tensor, last: Tensor) -> Tensor:
        """Mean negative log-likelihood of the gold spans; (0, 0) = no answer in this window."""
        return self.loss_scale * (scores.log_z - scores.of(first, last)).mean()


class SoftmaxHead(SpanHead):
    """Independent softmaxes over start and end; the loss is the mean of two cross-entropies."""

    outputs = 2
    loss_scale = 0.5

    def potentials(self, logits: Tensor, mask: Tensor) -> Potentials:
        """Logits as they are; "no answer" is both at [CLS]."""
        null = logits[:, CLS].sum(-1)
        start, end = logits.masked_fill(~mask[..., None], MASKED).unbind(-1)
        return Potentials(start, end, torch.zeros_like(null), null)

    def log_partition(self, logits: Tensor, mask: Tensor, found: Potentials) -> Tensor:
        """(B,) of both softmaxes together."""
        with_cls = mask.clone()
        with_cls[:, CLS] = True  # an index would be copied to the device, which waits for it
        return logits.masked_fill(~with_cls[..., None], MASKED).logsumexp(1).sum(-1)


class JointHead(SpanHead):
    """One softmax over all spans and "no answer"; parameters as in the softmax head."""

    outputs = 2
    potentials = SoftmaxHead.potentials


class CRFHead(SpanHead):
    """Linear chain over O, B, I, normalised over all tag paths."""

    outputs = len(TAGS)

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.transitions = nn.Parameter(torch.zeros(len(TAGS), len(TAGS)))

    def potentials(self, logits: Tensor, mask: Tensor) -> Potentials:
        """Emissions as single-span paths; "no answer" is the all-O path, 0."""
        start, end, unit = span_potentials(logits, self.transitions.to(logits.dtype), mask)
        return Potentials(start, end, unit, torch.zeros_like(unit))

    def log_partition(self, logits: Tensor, mask: Tensor, found: Potentials) -> Tensor:
        """(B,) over all tag paths, relative to the all-O path."""
        return chain_log_partition(logits, self.transitions.to(logits.dtype), mask)


class SpanCRFHead(CRFHead):
    """The same chain, normalised over the paths that hold one span or none."""

    log_partition = SpanHead.log_partition


HEADS: dict[str, type[SpanHead]] = {
    "softmax": SoftmaxHead,
    "joint": JointHead,
    "crf": CRFHead,
    "span-crf": SpanCRFHead,
}


def make_head(name: str, hidden_size: int) -> SpanHead:
    """A new head by its name.

    Raises:
        ModelError: for a name that is not in `HEADS`.
    """
    if name not in list(HEADS):  # whatever a damaged config.json holds
        raise ModelError(f"head {name!r} is not known; the heads are {', '.join(HEADS)}")
    return HEADS[name](hidden_size)


def _closed(found: Potentials, mask: Tensor) -> Potentials:
    """With minus infinity outside the context."""
    closed = torch.where(mask, 0.0, -torch.inf)
    return found._replace(start=found.start + closed, end=found.end + closed)
