"""The chain against enumeration over tag paths, and against pytorch-crf."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import oracles
import pytest
import torch
import torchcrf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spanqa.crf import (
    MASKED,
    OUTSIDE,
    TAGS,
    chain_log_partition,
    span_log_partition,
    span_potentials,
)
from spanqa.decoding import best_spans

few = settings(max_examples=40, deadline=None)
T = len(TAGS)


@st.composite
def chains(draw: st.DrawFn, longest: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions (B, L, T), transitions (T, T) and a mask (B, L) with contexts of 0 to 5 tokens."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.0, 1.0, 10.0, 500.0]))
    lengths = draw(st.lists(st.integers(0, longest), min_size=1, max_size=3))
    before = [draw(st.integers(0, 3)) for _ in lengths]
    width = max(map(sum, zip(lengths, before, strict=True))) + draw(st.integers(0, 2))
    emissions, mask = random_chain(generator, max(1, width), before, lengths)
    transitions = torch.randn(T, T, dtype=torch.float64, generator=generator)
    return emissions * scale, transitions * draw(st.sampled_from([0.0, 1.0, 5.0])), mask


def random_chain(
    generator: torch.Generator, width: int, before: list[int], lengths: list[int]
) -> tuple[Tensor, Tensor]:
    emissions = torch.randn(len(lengths), width, T, dtype=torch.float64, generator=generator)
    position = torch.arange(width)
    begin, length = torch.tensor(before)[:, None], torch.tensor(lengths)[:, None]
    return emissions, (position >= begin) & (position < begin + length)


def span_log_z(emissions: Tensor, transitions: Tensor, mask: Tensor) -> Tensor:
    start, end, unit = span_potentials(emissions, transitions, mask)
    return span_log_partition(start, end, unit, torch.zeros_like(unit))


PARTITIONS: list[tuple[Callable[..., Tensor], Callable[..., Tensor]]] = [
    (chain_log_partition, oracles.chain_log_z),
    (span_log_z, oracles.single_span_log_z),
]
both = pytest.mark.parametrize(("partition", "oracle"), PARTITIONS, ids=["chain", "span"])


def gradients(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, inputs, materialize_grads=True)


def contexts(emissions: Tensor, mask: Tensor) -> list[Tensor]:
    return [row[kept] for row, kept in zip(emissions, mask, strict=True)]


@few
@given(chains())
def test_potentials_are_the_scores_of_single_span_paths(chain: tuple[Tensor, ...]) -> None:
    emissions, transitions, mask = chain
    start, end, unit = span_potentials(emissions, transitions, mask)
    for row, context in enumerate(contexts(emissions, mask)):
        found = [
            start[row, mask[row]][i] + end[row, mask[row]][j] + (i == j) * unit[row]
            for i, j in oracles.spans(len(context))
        ]
        expected = oracles.path_scores(context, transitions, oracles.span_paths(len(context)))
        torch.testing.assert_close(torch.tensor([0.0, *found], dtype=torch.float64), expected)
    assert bool((start[~mask] == MASKED).all()) and bool((end[~mask] == MASKED).all())


@both
@few
@given(chains())
def test_partition_and_gradients_are_those_of_the_enumeration(
    partition: Callable[..., Tensor], oracle: Callable[..., Tensor], chain: tuple[Tensor, ...]
) -> None:
    emissions, transitions, mask = chain
    emissions.requires_grad_()
    transitions.requires_grad_()
    found = partition(emissions, transitions, mask)
    each = [oracle(context, transitions) for context in contexts(emissions, mask)]
    expected = torch.stack(each)
    torch.testing.assert_close(found, expected)
    weights = torch.linspace(1.0, 2.0, len(found), dtype=torch.float64)
    inputs = (emissions, transitions)
    for ours, theirs in zip(
        gradients((found * weights).sum(), *inputs),
        gradients((expected * weights).sum(), *inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@both
def test_gradcheck(partition: Callable[..., Tensor], oracle: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(3)
    emissions, mask = random_chain(generator, 9, [2, 0, 4, 1], [5, 9, 1, 0])
    transitions = torch.randn(T, T, dtype=torch.float64, generator=generator)
    inputs = emissions.requires_grad_(), transitions.requires_grad_()
    assert torch.autograd.gradcheck(lambda e, t: partition(e, t, mask), inputs)


@few
@given(chains(), st.booleans())
def test_best_span_is_the_best_of_all(chain: tuple[Tensor, ...], infinite: bool) -> None:
    emissions, transitions, mask = chain
    start, end, unit = span_potentials(emissions, transitions, mask)
    if infinite:
        start, end = (x.masked_fill(~mask, -torch.inf) for x in (start, end))
    score, first, last = best_spans(start.numpy(), end.numpy(), unit.numpy())
    for row, context in enumerate(contexts(emissions, mask)):
        if not len(context):
            assert score[row] < 0.5 * MASKED
            continue
        offset = int(mask[row].int().argmax())
        i, j = int(first[row]) - offset, int(last[row]) - offset
        paths = oracles.span_paths(len(context))[1:]
        scores = oracles.path_scores(context, transitions, paths)
        torch.testing.assert_close(torch.tensor(score[row]), scores.max())
        torch.testing.assert_close(scores[oracles.spans(len(context)).index((i, j))], scores.max())


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_emissions(
    partition: Callable[..., Tensor], oracle: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(5)
    emissions, mask = random_chain(generator, 8, [1, 2], [6, 5])
    emissions = (emissions * 800).to(dtype).requires_grad_()
    transitions = (100 * torch.randn(T, T, generator=generator)).to(dtype).requires_grad_()
    found = partition(emissions, transitions, mask)
    expected = torch.stack([oracle(c, transitions) for c in contexts(emissions, mask)])
    torch.testing.assert_close(found, expected)
    assert bool(found.isfinite().all())
    for gradient in gradients(found.sum(), emissions, transitions):
        assert bool(gradient.isfinite().all())


def test_the_all_o_path_alone_is_left_without_a_context() -> None:
    emissions, transitions = torch.randn(2, 7, T), torch.randn(T, T)
    nothing = torch.zeros(2, 7, dtype=torch.bool)
    assert chain_log_partition(emissions, transitions, nothing).tolist() == [0.0, 0.0]
    assert span_log_z(emissions, transitions, nothing).tolist() == [0.0, 0.0]


@both
@pytest.mark.parametrize("filled", [True, False], ids=["all context", "no context"])
@pytest.mark.parametrize("length", [1, 2, 8, 384])
def test_full_and_empty_masks_have_finite_gradients(
    partition: Callable[..., Tensor], oracle: Callable[..., Tensor], filled: bool, length: int
) -> None:
    emissions = torch.randn(2, length, T, requires_grad=True)
    transitions = torch.randn(T, T, requires_grad=True)
    mask = torch.full((2, length), filled)
    value = partition(emissions, transitions, mask).sum()
    by_emission, by_transition = gradients(value, emissions, transitions)
    assert bool(by_emission.isfinite().all()) and bool(by_transition.isfinite().all())
    assert bool(by_emission.any()) == filled
    # Shifting all tags of a token alike changes no path's score relative to the all-O path.
    torch.testing.assert_close(by_emission.sum(-1), torch.zeros(2, length), rtol=0, atol=1e-5)


@both
@few
@given(chains(), st.integers(1, 9), st.integers(1, 9))
def test_what_surrounds_the_context_changes_nothing(
    partition: Callable[..., Tensor],
    oracle: Callable[..., Tensor],
    chain: tuple[Tensor, ...],
    left: int,
    right: int,
) -> None:
    emissions, transitions, mask = chain
    noise = torch.full((len(emissions), left + right, T), 1e4, dtype=torch.float64)
    wide = torch.cat((noise[:, :left], emissions, noise[:, left:]), dim=1).requires_grad_()
    wide_mask = torch.nn.functional.pad(mask, (left, right), value=False)
    padded = partition(wide, transitions, wide_mask)
    torch.testing.assert_close(padded, partition(emissions, transitions, mask))
    (gradient,) = gradients(padded.sum(), wide)
    assert not gradient[~wide_mask].any()


def foreign(transitions: Tensor) -> Any:
    """pytorch-crf's chain, which has scores of its own for the first and the last tag."""
    crf = torchcrf.CRF(T, batch_first=True).to(transitions.dtype)
    with torch.no_grad():
        crf.transitions.copy_(transitions)
        crf.start_transitions.copy_(transitions[OUTSIDE])
        crf.end_transitions.copy_(transitions[:, OUTSIDE])
    return crf


def test_log_likelihood_and_gradient_equal_pytorch_crf() -> None:
    generator = torch.Generator().manual_seed(11)
    lengths = [50, 31, 2, 1]
    emissions, mask = random_chain(generator, 50, [0] * 4, lengths)
    emissions = (3 * emissions).requires_grad_()
    transitions = torch.randn(T, T, dtype=torch.float64, generator=generator).requires_grad_()
    spans = [(7, 19), (30, 30), (0, 1), (0, 0)]
    tags = torch.tensor([oracles.span_path(50, *span) for span in spans])
    crf = foreign(transitions)
    expected = crf(emissions, tags, mask, reduction="none")

    start, end, unit = span_potentials(emissions, transitions, mask)
    gold = [start[r, i] + end[r, j] + (i == j) * unit[r] for r, (i, j) in enumerate(spans)]
    found = torch.stack(gold) - chain_log_partition(emissions, transitions, mask)
    torch.testing.assert_close(found, expected)
    theirs, inner, first, last = gradients(
        expected.sum(), emissions, crf.transitions, crf.start_transitions, crf.end_transitions
    )
    ours, ours_transitions = gradients(found.sum(), emissions, transitions)
    torch.testing.assert_close(ours, theirs)
    # Ours ties the first and the last step to the row and the column of O, and counts relative
    # to the all-O path, whose gradient cancels between the gold path and the partition function.
    tied = inner.clone()
    tied[OUTSIDE] += first
    tied[:, OUTSIDE] += last
    torch.testing.assert_close(ours_transitions, tied)


@pytest.mark.parametrize("length", [384, 2048])
def test_float32_is_close_to_float64(length: int) -> None:
    """Scores, partition functions and gradients: absolute error below 4 units in the last place of
    the largest prefix sum, 0.001 at 384 tokens and 0.004 at 2,048.
    """
    generator = torch.Generator().manual_seed(length)
    emissions, mask = random_chain(generator, length, [20] * 4, [length - 21] * 4)
    emissions = 3 * emissions
    emissions[..., OUTSIDE] += 8  # a trained chain: hardly any token is part of an answer
    # As many inputs as float32 holds, so that only the arithmetic is compared.
    emissions = emissions.float().double()
    transitions = torch.randn(T, T, generator=generator).double()
    wide = span_potentials(emissions, transitions, mask)
    narrow = span_potentials(emissions.float(), transitions.float(), mask)
    largest = float(wide[1][mask].abs().max())
    bound = 4 * 2.0 ** (math.floor(math.log2(largest)) - 23)
    first, last = torch.triu_indices(length, length)
    near = (last - first < 30) & mask[0, first] & mask[0, last]
    first, last = first[near], last[near]
    error = (narrow[0][:, first].double() + narrow[1][:, last].double()) - (
        wide[0][:, first] + wide[1][:, last]
    )
    assert float(error.abs().max()) <= bound

    for partition in (chain_log_partition, span_log_z):
        exact = emissions.clone().requires_grad_()
        rounded = emissions.float().requires_grad_()
        value = partition(exact, transitions, mask)
        value32 = partition(rounded, transitions.float(), mask)
        assert float((value - value32).detach().abs().max()) <= bound
        (gradient,) = gradients(value.sum(), exact)
        (gradient32,) = gradients(value32.sum(), rounded)
        assert float((gradient - gradient32).abs().max()) <= bound
