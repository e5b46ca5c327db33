"""The chain behind the CRF heads: potentials of spans and partition functions, without a loop.

A text of N tokens gets one tag per token: O (outside), B (first token of the answer), I (inside).
The path starts from an O and returns to an O, as the context lies between special tokens. Its
score is the sum of its emissions and transitions, counted relative to the path that is all O:

    score(y) = sum over t of emission[t, y_t] - emission[t, O]
             + sum over t of transition[y_t-1, y_t] - transition[O, O]

A path with the single span (i, j) then scores, with c the prefix sum of what one more I brings,

    start[i] + end[j]                       for i < j
    start[i] + end[j] + unit                for i = j (B goes to O directly)
    with start[i] holding all of the path that is the same for every j

so decoding a CRF costs what decoding a softmax costs.

Axes: B windows of a batch, L tokens, T = 3 tags (in the order of `TAGS`).
Lafferty et al. 2001 (the model); Rush 2020, "Torch-Struct" (the scan by pairs).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

TAGS = ("O", "B", "I")
OUTSIDE, BEGIN, INSIDE = range(3)
PIECES = torch.tensor(
    [
        # OO  OB OI BO BB BI  IO IB II
        [-1.0, 0, 0, 0, 0, 0, 0, 0, 1],  # more: one more I in place of one more O
        [-2.0, 1, 0, 0, 0, 1, 1, 0, -1],  # edges: O-B, B-I and I-O around a span, once
        [0.00, 0, 0, 1, 0, -1, -1, 0, 1],  # unit: B-O in place of B-I ... I-O
    ]
)
"""What the transitions bring to a span; one product, since on short texts operations cost time."""
MASKED = -1e30
"""Stands for minus infinity inside partition functions, where the real one makes gradients NaN."""


def span_potentials(
    emissions: Tensor, transitions: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Potentials of single-span paths relative to the all-O path.

    Args:
        emissions: (B, L, T).
        transitions: (T, T), from row to column.
        mask: (B, L), true on the context, which must be one unbroken run of tokens.

    Returns:
        start (B, L), end (B, L), unit (B,); `MASKED` outside the context.
    """
    outside, begin, inside = emissions.unbind(-1)  # (B, L)
    pieces = PIECES.to(transitions, non_blocking=True)  # on a GPU, without waiting for its work
    more, edges, unit = (pieces @ transitions.flatten()).unbind()
    # Added rather than filled in, which is slower; `MASKED` swallows any potential.
    context = mask.to(emissions.dtype)  # (B, L): 1 or 0
    closed = (context - 1) * -MASKED
    prefix = ((inside - outside + more) * context).cumsum(-1)  # (B, L)
    start = begin - outside - prefix + edges + closed
    end = prefix + closed
    return start, end, unit.expand(emissions.shape[0])


def span_log_partition(start: Tensor, end: Tensor, unit: Tensor, null: Tensor) -> Tensor:
    """Log of the sum over "no span" and every span (i, j), i <= j, of exp(score); O(L).

    Args:
        start: (B, L), `MASKED` outside the context.
        end: (B, L), the same.
        unit: (B,), added where i = j.
        null: (B,), score of no span.

    Returns:
        (B,).
    """
    log_z: Tensor = _SpanLogPartition.apply(start, end, unit, null)  # type: ignore[no-untyped-call]
    return log_z


class _SpanLogPartition(torch.autograd.Function):
    """With its gradient written out, the marginals: half the operations that autograd would take.

    d log_z / d start[i] is the probability that the span starts at i, and so on; the null's is the
    probability of no span.
    """

    @staticmethod
    def forward(ctx: Any, start: Tensor, end: Tensor, unit: Tensor, null: Tensor) -> Tensor:
        longer = end + _before(start)  # (B, L): spans that end at j
        single = start + end + unit[:, None]  # (B, L)
        log_z = torch.cat((longer, single, null[:, None]), -1).logsumexp(-1)
        ctx.save_for_backward(start, end, null, longer, single, log_z)
        return log_z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        start, end, null, longer, single, log_z = ctx.saved_tensors
        weight, log_z = gradient[:, None], log_z[:, None]
        at = (single - log_z).exp() * weight  # (B, L)
        ends = (longer - log_z).exp() * weight
        starts = (start + _before(end.flip(-1)).flip(-1) - log_z).exp() * weight
        none = (null - log_z[:, 0]).exp() * gradient
        return starts + at, ends + at, at.sum(-1), none


def _before(scores: Tensor) -> Tensor:
    """(B, L) -> (B, L): log of the sum of exp over all earlier columns."""
    return pad(scores.logcumsumexp(-1)[:, :-1], (1, 0), value=MASKED)


def chain_log_partition(emissions: Tensor, transitions: Tensor, mask: Tensor) -> Tensor:
    """Log of the sum over all tag paths of exp(score relative to the all-O path).

    The product of one T x T matrix per token, in the semiring (logaddexp, +), taken by pairs:
    log2(L) steps, each over all pairs at once.

    Args:
        emissions: (B, L, T).
        transitions: (T, T), from row to column.
        mask: (B, L), true on the context.

    Returns:
        (B,).
    """
    relative = (emissions - emissions[..., OUTSIDE : OUTSIDE + 1]).permute(2, 0, 1)  # (T, B, L)
    steps = transitions - transitions[OUTSIDE, OUTSIDE]
    identity = torch.full_like(steps, MASKED).fill_diagonal_(0.0)
    matrices = torch.where(
        mask, steps[:, :, None, None] + relative[None], identity[:, :, None, None]
    )  # (T, T, B, L)
    while matrices.shape[-1] > 1:
        if matrices.shape[-1] % 2:
            left_over = identity[:, :, None, None].expand(-1, -1, matrices.shape[2], 1)
            matrices = torch.cat((matrices, left_over), dim=-1)
        matrices = _product(matrices[..., 0::2], matrices[..., 1::2])
    from_outside = matrices[OUTSIDE, :, :, 0]  # (T, B)
    return (from_outside + steps[:, OUTSIDE, None]).logsumexp(0)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(T, T, ...) x (T, T, ...): matrix product in the log semiring over the first two axes."""
    terms = [left[:, k, None] + right[None, k] for k in range(len(TAGS))]
    return torch.logaddexp(torch.logaddexp(terms[0], terms[1]), terms[2])
