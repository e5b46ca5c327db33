"""The four heads against enumeration, and the contract that they share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spanqa.errors import ModelError
from spanqa.heads import HEADS, CRFHead, SpanHead, SpanScores, make_head
from spanqa.recipe import HEADS as RECIPE_HEADS

HIDDEN = 4
few = settings(max_examples=25, deadline=None)
every_head = pytest.mark.parametrize("name", HEADS)


@dataclass(frozen=True)
class Case:
    """A batch of hidden states with their contexts and gold spans."""

    head: SpanHead
    hidden: Tensor
    """(B, L, H)"""
    mask: Tensor
    """(B, L)"""
    first: Tensor
    """(B,)"""
    last: Tensor
    """(B,)"""

    def windows(self) -> list[oracles.Window]:
        """What the oracle reads: the logits of each row, its context and the transitions."""
        logits = self.head.classifier(self.hidden)
        head = self.head
        transitions = head.transitions if isinstance(head, CRFHead) else logits.new_zeros(3, 3)
        sizes = self.mask.sum(1).tolist()
        begins = self.mask.int().argmax(1).tolist()
        return [
            oracles.Window(row, begin, size, transitions)
            for row, begin, size in zip(logits, begins, sizes, strict=True)
        ]

    def gold(self) -> Iterator[tuple[int, int]]:
        return zip(self.first.tolist(), self.last.tolist(), strict=True)

    def inputs(self) -> list[Tensor]:
        return [self.hidden, *self.head.parameters()]


def new_head(name: str, seed: int, scale: float = 1.0) -> SpanHead:
    """A float64 head whose parameters, transitions too, are all drawn at random."""
    head = make_head(name, HIDDEN).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return head


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, float, list[tuple[int, int, int, int]]]:
    """Seed, scale, and for each row (begin, context tokens, gold first, gold last)."""
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        begin, size = draw(st.integers(1, 3)), draw(st.integers(0, 4))
        gold = draw(st.sampled_from([None, *oracles.spans(size)]))
        rows.append((begin, size, *((begin + gold[0], begin + gold[1]) if gold else (0, 0))))
    return draw(st.integers(0, 2**31)), draw(st.sampled_from([0.3, 2.0, 20.0])), rows


def make_case(name: str, batch: tuple[int, float, list[tuple[int, int, int, int]]]) -> Case:
    seed, scale, rows = batch
    table = torch.tensor(rows)
    width = int((table[:, 0] + table[:, 1]).max()) + 1  # a [SEP] at least behind each context
    begin, size, first, last = table.T
    position = torch.arange(width)
    mask = (position >= begin[:, None]) & (position < (begin + size)[:, None])
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(len(rows), width, HIDDEN, dtype=torch.float64, generator=generator)
    return Case(new_head(name, seed, scale), hidden.requires_grad_(), mask, first, last)


def long_case(name: str, dtype: torch.dtype = torch.float32, length: int = 384) -> Case:
    generator = torch.Generator().manual_seed(1)
    hidden = (3 * torch.randn(4, length, HIDDEN, generator=generator)).to(dtype)
    mask = torch.zeros(4, length, dtype=torch.bool)
    mask[0, 20:-1] = mask[1, 5:100] = mask[2, 7] = True  # the last row has no context
    first, last = torch.tensor([40, 0, 7, 0]), torch.tensor([44, 0, 7, 0])
    head = new_head(name, 2).float()
    return Case(head, hidden.requires_grad_(), mask, first, last)


def test_the_recipe_knows_the_same_heads() -> None:
    assert tuple(HEADS) == RECIPE_HEADS


@every_head
@few
@given(batches())
def test_log_z_and_span_scores_are_those_of_the_enumeration(
    name: str, batch: tuple[int, float, list[tuple[int, int, int, int]]]
) -> None:
    case = make_case(name, batch)
    case.hidden.requires_grad_(False)
    case.head.requires_grad_(False)
    scores = case.head(case.hidden, case.mask)
    windows = case.windows()
    expected = torch.stack([oracles.log_z(name, window) for window in windows])
    torch.testing.assert_close(scores.log_z, expected)
    null = torch.stack([oracles.score(name, window, 0, 0) for window in windows])
    torch.testing.assert_close(scores.null, null)
    for row, window in enumerate(windows):
        inside = {(window.begin + i, window.begin + j) for i, j in oracles.spans(window.length)}
        for span, value in oracles.all_spans(scores, row).items():
            theirs = float(oracles.score(name, window, *span)) if span in inside else -math.inf
            assert value == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@every_head
@few
@given(batches())
def test_loss_and_gradients_are_those_of_the_enumeration(
    name: str, batch: tuple[int, float, list[tuple[int, int, int, int]]]
) -> None:
    case = make_case(name, batch)
    scores = case.head(case.hidden, case.mask)
    found = case.head.loss(scores, case.first, case.last)
    windows = case.windows()
    gold = list(case.gold())
    each = [oracles.loss(name, w, *span) for w, span in zip(windows, gold, strict=True)]
    expected = torch.stack(each).mean()
    torch.testing.assert_close(found, expected)
    of = [oracles.score(name, w, *span) for w, span in zip(windows, gold, strict=True)]
    torch.testing.assert_close(scores.of(case.first, case.last), torch.stack(of))
    for ours, theirs in zip(
        torch.autograd.grad(found, case.inputs(), materialize_grads=True),
        torch.autograd.grad(expected, case.inputs(), materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@every_head
@few
@given(batches())
def test_probabilities_sum_to_what_the_head_gives_to_valid_answers(
    name: str, batch: tuple[int, float, list[tuple[int, int, int, int]]]
) -> None:
    seed, _, rows = batch
    case = make_case(name, (seed, 0.3, rows))
    case.hidden.requires_grad_(False)
    case.head.requires_grad_(False)
    scores = case.head(case.hidden, case.mask)
    for row, window in enumerate(case.windows()):
        values = [float(scores.null[row]), *oracles.all_spans(scores, row).values()]
        total = math.fsum(math.exp(value - float(scores.log_z[row])) for value in values)
        # softmax: an end before its start, or [CLS] with a token; crf: an I after an O, two spans.
        if name in ("softmax", "crf") and window.length:
            assert total < 1 - 1e-6
        else:
            assert total == pytest.approx(1)


@every_head
def test_scores_are_minus_infinity_outside_the_context_and_finite_inside(name: str) -> None:
    case = long_case(name)
    scores = case.head(case.hidden, case.mask)
    for potentials in (scores.start, scores.end):
        assert bool((potentials[~case.mask] == -torch.inf).all())
        assert bool(potentials[case.mask].isfinite().all())
    for each in (scores.unit, scores.null, scores.log_z):
        assert bool(each.isfinite().all())


@every_head
def test_one_contract(name: str) -> None:
    case = long_case(name)
    scores = case.head(case.hidden, case.mask)
    shapes = {field.name: tuple(getattr(scores, field.name).shape) for field in fields(SpanScores)}
    assert shapes == {"start": (4, 384), "end": (4, 384), "unit": (4,), "null": (4,), "log_z": (4,)}
    assert scores.of(case.first, case.last).shape == (4,)
    assert case.head.loss(scores, case.first, case.last).shape == ()
    assert bool((scores.of(case.first, case.last) <= scores.log_z).all())


@every_head
def test_float32_inside_under_autocast(name: str) -> None:
    case = long_case(name, torch.bfloat16)
    plain = case.head(case.hidden.float(), case.mask)
    with torch.autocast("cpu", torch.bfloat16):
        scores = case.head(case.hidden, case.mask)
        loss = case.head.loss(scores, case.first, case.last)
    assert loss.dtype == torch.float32
    for field in fields(SpanScores):
        under_autocast = getattr(scores, field.name)
        assert under_autocast.dtype == torch.float32
        torch.testing.assert_close(under_autocast, getattr(plain, field.name), rtol=0, atol=0)


@every_head
def test_a_head_in_bfloat16_sums_in_float32(name: str) -> None:
    case = long_case(name, torch.bfloat16)
    scores = case.head.bfloat16()(case.hidden, case.mask)
    assert {getattr(scores, field.name).dtype for field in fields(SpanScores)} == {torch.float32}


@every_head
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("amplify", [1.0, 100.0])
def test_loss_and_gradients_are_finite_at_384_tokens(
    name: str, dtype: torch.dtype, amplify: float
) -> None:
    case = long_case(name, dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        scores = case.head(case.hidden * amplify, case.mask)
        loss = case.head.loss(scores, case.first, case.last)
    assert bool(loss.isfinite() & (loss > 0))
    for gradient in torch.autograd.grad(loss, case.inputs()):
        assert bool(gradient.isfinite().all()) and bool(gradient.any())


@every_head
def test_the_loss_does_not_depend_on_the_padding(name: str) -> None:
    case = long_case(name)
    padding = torch.full((4, 40, HIDDEN), 50.0)
    hidden = torch.cat((case.hidden, padding), dim=1)
    mask = torch.nn.functional.pad(case.mask, (0, 40), value=False)
    padded = case.head.loss(case.head(hidden, mask), case.first, case.last)
    alone = case.head.loss(case.head(case.hidden, case.mask), case.first, case.last)
    torch.testing.assert_close(padded, alone)


def test_softmax_and_joint_have_the_same_parameters() -> None:
    softmax, joint = (make_head(name, HIDDEN).state_dict() for name in ("softmax", "joint"))
    shapes = {key: value.shape for key, value in softmax.items()}
    assert shapes == {key: value.shape for key, value in joint.items()}


def test_unknown_head() -> None:
    with pytest.raises(ModelError, match="'crff' is not known; the heads are softmax, joint, crf"):
        make_head("crff", HIDDEN)


def test_the_base_class_is_no_head() -> None:
    with pytest.raises(ModelError, match="not a head by itself"):
        SpanHead.potentials(make_head("joint", HIDDEN), torch.zeros(1, 2, 2), torch.ones(1, 2))
