"""The chain behind the CRF heads: potentials of spans and partition functions, without a loop.

A text of N tokens gets one tag per token: O (outside), B (first token of the answer), I (inside).
The path starts from an O and returns to an O, as the context lies between special tokens. Its
score is the sum of its emissions and transitions, counted relative to the path that is all O:

    score(y) = sum over t of emission[t, y_t] - emission[t, O]
             + sum over t of transition[y_t-1, y_t] - transition[O, O]

A path with the single span (i, j) then scores, with c the prefix sum of what one more I brings,

    start[i] + end[j]                       for i < j
    start[i] + end[j] + unit                for i = j (B goes to O directly)

so decoding a CRF costs what decoding a softmax costs.

Axes: B windows of a batch, L tokens, T = 3 tags (in the order of `TAGS`).
Lafferty et al. 2001 (the model); Rush 2020, "Torch-Struct" (the scan by pairs).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

TAGS = ("O", "B", "I")
OUTSIDE, BEGIN, INSIDE = range(3)
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
    relative = emissions - emissions[..., OUTSIDE : OUTSIDE + 1]  # (B, L, T)
    steps = transitions - transitions[OUTSIDE, OUTSIDE]  # (T, T)
    one_more = (relative[..., INSIDE] + steps[INSIDE, INSIDE]).masked_fill(~mask, 0.0)
    prefix = one_more.cumsum(-1)  # (B, L)
    enter = steps[OUTSIDE, BEGIN] + steps[BEGIN, INSIDE] - steps[INSIDE, INSIDE]
    start = (relative[..., BEGIN] - prefix + enter).masked_fill(~mask, MASKED)
    end = (prefix + steps[INSIDE, OUTSIDE]).masked_fill(~mask, MASKED)
    unit = (
        steps[BEGIN, OUTSIDE]
        - steps[INSIDE, OUTSIDE]
        - steps[BEGIN, INSIDE]
        + steps[INSIDE, INSIDE]
    )
    return start, end, unit.expand(len(emissions))


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
    earlier = pad(start.logcumsumexp(-1)[:, :-1], (1, 0), value=MASKED)  # (B, L): over i < j
    longer = (end + earlier).logsumexp(-1)
    single = (start + end + unit[:, None]).logsumexp(-1)
    return torch.stack((null, longer, single)).logsumexp(0)


def best_span(start: Tensor, end: Tensor, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Highest-scoring span (i, j), i <= j, of each window; O(L).

    Args:
        start: (B, L), `MASKED` or -inf outside the context.
        end: (B, L), the same.
        unit: (B,), added where i = j.

    Returns:
        score (B,), first token (B,), last token (B,).
    """
    best_start, where = start.cummax(-1)  # (B, L): over i <= j
    earlier, earlier_at = pad(best_start[:, :-1], (1, 0), value=MASKED), pad(where[:, :-1], (1, 0))
    longer, last = (end + earlier).max(-1)
    single, token = (start + end + unit[:, None]).max(-1)
    first = earlier_at.gather(-1, last[:, None])[:, 0]
    short = single >= longer
    return (
        torch.where(short, single, longer),
        torch.where(short, token, first),
        torch.where(short, token, last),
    )


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
