"""What is done for speed changes no result: each fast path beside the plain one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from spanqa.backends import TorchBackend
from spanqa.data import load
from spanqa.decoding import WindowScores, decode_all
from spanqa.heads import HEADS
from spanqa.model import SpanQAModel
from spanqa.prediction import score_windows
from spanqa.recipe import TrainingRecipe, WindowRecipe
from spanqa.tokenizer import load_tokenizer
from spanqa.training import _optimizer
from spanqa.windows import Windows, cut

NOISE = 2e-5
"""Of a sum of float32 in another order; scores are of the size of 1."""
RECIPE = WindowRecipe(max_length=96, stride=24, max_question_length=16)


@pytest.fixture(scope="module")
def windows(tiny_encoder_folder: Path) -> Windows:
    found = cut(
        load("synthetic:eval:30").examples, load_tokenizer(str(tiny_encoder_folder)), RECIPE
    )
    assert len(found) > len(found.examples)  # some texts are several windows
    return found


@pytest.fixture(params=sorted(HEADS))
def model(request: pytest.FixtureRequest, tiny_encoder_folder: Path) -> SpanQAModel:
    torch.manual_seed(0)
    made = SpanQAModel.from_encoder(str(tiny_encoder_folder), request.param)
    for parameter in made.head.parameters():  # large enough for answers to differ
        torch.nn.init.normal_(parameter, std=0.5)
    torch.nn.Module.eval(made)
    return made


def padded(windows: Windows, row: int, length: int) -> dict[str, torch.Tensor]:
    """One window padded to `length` tokens, as if every batch were as long as the longest."""
    arrays = windows.batch([row])
    found = {}
    for name, array in arrays.items():
        grown = array
        if array.ndim == 2:
            grown = np.zeros((1, length), array.dtype)
            grown[:, : array.shape[1]] = array
        found[name] = torch.from_numpy(grown)
    return found


def plain_scores(model: SpanQAModel, windows: Windows) -> list[WindowScores]:
    """Each window by itself, padded to the full length, with the partition function."""
    found = []
    for row in range(len(windows)):
        with torch.no_grad():
            scores = model(**padded(windows, row, RECIPE.max_length)).scores
        window = windows[row]
        context = slice(window.offset, window.offset + window.end - window.begin)
        found.append(
            WindowScores(
                window.begin,
                scores.start[0, context].numpy(),
                scores.end[0, context].numpy(),
                float(scores.unit[0]),
                float(scores.null[0]),
            )
        )
    return found


def test_batches_by_length_score_as_single_padded_windows(
    model: SpanQAModel, windows: Windows
) -> None:
    fast = score_windows(TorchBackend(model), windows, batch_size=4).scores
    for ours, plain in zip(fast, plain_scores(model, windows), strict=True):
        np.testing.assert_allclose(ours.start, plain.start, atol=NOISE * len(plain.start))
        np.testing.assert_allclose(ours.end, plain.end, atol=NOISE * len(plain.end))
        assert ours.unit == pytest.approx(plain.unit, abs=NOISE)
        assert ours.null == pytest.approx(plain.null, abs=NOISE)


def test_answers_are_the_same(model: SpanQAModel, windows: Windows) -> None:
    fast = decode_all(windows, score_windows(TorchBackend(model), windows).scores, n_best=1)
    plain = decode_all(windows, plain_scores(model, windows), n_best=1)
    assert [p.spans[0].text for p in fast] == [p.spans[0].text for p in plain]


def test_the_loss_of_a_batch_is_the_mean_of_its_padded_windows(
    model: SpanQAModel, windows: Windows
) -> None:
    rows = list(range(6))
    batch = {name: torch.from_numpy(array) for name, array in windows.batch(rows).items()}
    single = [model(**padded(windows, row, RECIPE.max_length)).loss.item() for row in rows]
    assert model(**batch).loss.item() == pytest.approx(sum(single) / len(single), rel=1e-5)


def test_the_quick_search_finds_what_sorting_all_spans_finds(windows: Windows) -> None:
    random = np.random.default_rng(0)
    for e, example in enumerate(windows.examples):
        rows = range(windows.first[e], windows.first[e + 1])
        if len(rows) > 1:
            continue
        window, text = windows[rows[0]], windows.texts[e]
        size = window.end - window.begin
        # Few values, so that many spans have equal scores.
        start, end = random.integers(0, 4, (2, size)).astype(np.float32)
        scores = WindowScores(0, start, end, 0.5, 1.0)
        may_start, may_end = text.edges()
        spans = [
            (-float(start[i] + end[j] + (0.5 if i == j else 0.0) - 1.0), i, j)
            for i in range(size)
            for j in range(i, min(size, i + 30))
            if may_start[i] and may_end[j]
        ]
        wanted = [(-odds, text.starts[i], text.ends[j]) for odds, i, j in sorted(spans)[:20]]
        found = decode_all(_only(windows, e), [scores])[0]
        assert [(s.odds, s.start, s.end) for s in found.spans] == wanted
        total = math.log1p(sum(math.exp(-odds) for odds, _, _ in spans))
        assert found.null_probability == pytest.approx(math.exp(-total), rel=1e-5)
        assert example.context[found.spans[0].start : found.spans[0].end] == found.spans[0].text


def _only(windows: Windows, e: int) -> Windows:
    """The windows of one example."""
    rows = slice(windows.first[e], windows.first[e + 1])
    table = windows.table[rows].copy()
    table[:, 0] = 0
    return Windows(
        windows.examples[e : e + 1],
        windows.template,
        windows.questions[e : e + 1],
        windows.texts[e : e + 1],
        table,
        windows.labels[rows],
        np.array([0, len(table)]),
    )


def test_the_fused_optimiser_steps_as_the_plain_one(
    tiny_encoder_folder: Path, windows: Windows
) -> None:
    trained = []
    for fused in (True, False):
        torch.manual_seed(0)
        model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "crf")
        torch.nn.Module.eval(model)  # no dropout, which is drawn anew
        optimizer = _optimizer(model, TrainingRecipe(learning_rate=1e-3))
        if not fused:
            optimizer = torch.optim.AdamW(
                [{**group, "fused": False, "foreach": False} for group in optimizer.param_groups]
            )
        for begin in range(0, 12, 4):
            arrays = windows.batch(range(begin, begin + 4))
            loss = model(**{name: torch.from_numpy(array) for name, array in arrays.items()}).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        trained.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-4, atol=1e-5)  # a step is 1e-3
