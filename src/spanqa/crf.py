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
    outside, begin, inside = emissions.unbind(-1)  # (B, L)
    steps = transitions - transitions[OUTSIDE, OUTSIDE]
    # Unbound at once: on short texts the time goes into the number of operations.
    _, o_b, _, b_o, _, b_i, i_o, _, i_i = steps.flatten().unbind()
    prefix = torch.where(mask, inside - outside + i_i, 0.0).cumsum(-1)  # (B, L)
    start = torch.where(mask, begin - outside - prefix + (o_b + b_i - i_i), MASKED)
    end = torch.where(mask, prefix + i_o, MASKED)
    unit = b_o - i_o - b_i + i_i
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
    single = start + end + unit[:, None]
    longer = best_start[:, :-1] + end[:, 1:]  # (B, L - 1): column j - 1 over i < j
    score, cell = torch.cat((single, longer), -1).max(-1)
    before = cell - start.shape[-1]  # last token but one; negative for a single token
    first = where.gather(-1, before.clamp(min=0)[:, None])[:, 0]
    short = before < 0
    return score, torch.where(short, cell, first), torch.where(short, cell, before + 1)


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
