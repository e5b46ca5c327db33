"""Low-rank adapters: merged as peft merges them, stored, and refused where they do not belong."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from spanqa.adapter import SETTINGS, WEIGHTS, Adapter, add_lora, fingerprint
from spanqa.errors import MissingExtraError, SpanQAError
from spanqa.model import SpanQAModel

RANK, ALPHA = 4, 6.0
LAYER = "encoder.layer.{}.{}"
LINEAR = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)


@pytest.fixture
def adapted(tiny_encoder_folder: Path) -> SpanQAModel:
    """A model with low-rank updates that are not zero, rounded as an adapter is stored."""
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax")
    add_lora(model, RANK, ALPHA)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in model.encoder.named_parameters():
            if "lora_" in name:
                parameter.copy_((torch.randn_like(parameter) / 10).half())
    return model


@pytest.fixture
def adapter(adapted: SpanQAModel, tiny_encoder_folder: Path) -> Adapter:
    return Adapter.of(adapted, str(tiny_encoder_folder))


def merged_by_peft(model: SpanQAModel) -> dict[str, Tensor]:
    """Weights of the encoder after peft's own merge."""
    ours = copy.deepcopy(model)
    for name, module in list(ours.encoder.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            ours.encoder.set_submodule(name, module.get_base_layer())
    return dict(ours.encoder.state_dict())


def test_the_merge_is_that_of_peft(
    adapted: SpanQAModel, adapter: Adapter, tiny_encoder_folder: Path
) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax")
    before = fingerprint(model.encoder)
    adapter.merge_into(model)
    theirs = merged_by_peft(adapted)
    assert model.encoder.state_dict().keys() == theirs.keys()
    for name, weight in model.encoder.state_dict().items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-6, atol=1e-7)
    assert fingerprint(model.encoder) != before == adapter.origin.sha256
    assert torch.equal(model.head.classifier.weight, adapted.head.classifier.weight)


def test_a_merged_model_scores_as_the_one_that_was_trained(
    adapted: SpanQAModel, adapter: Adapter, tiny_encoder_folder: Path
) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax")
    adapter.merge_into(model)
    ids = torch.arange(5, 35).reshape(2, 15)
    ones = torch.ones_like(ids)
    with torch.no_grad():
        scores = [
            nn.Module.eval(each)(ids, ones, ones.bool()).scores.start for each in (model, adapted)
        ]
    torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-5)


def test_every_linear_layer_is_adapted_and_nothing_else_of_the_encoder_trained(
    adapted: SpanQAModel, adapter: Adapter
) -> None:
    layers = {LAYER.format(i, linear) for i in range(2) for linear in LINEAR}
    assert {key.rpartition(".lora_")[0] for key in adapter.weights if "lora_" in key} == layers
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith("head.") for name in trained)
    assert {"head.classifier.weight", "head.classifier.bias"} <= trained
    assert adapter.origin.scale == ALPHA / RANK


def test_frozen_layers_are_not_adapted(tiny_encoder_folder: Path) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax")
    model.freeze_lowest(1)
    add_lora(model, RANK, ALPHA)
    keys = Adapter.of(model, "tiny").weights
    assert not any(key.startswith("encoder.layer.0.") for key in keys)
    assert sum(key.startswith("encoder.layer.1.") for key in keys) == 2 * len(LINEAR)


def test_an_adapter_on_disk_is_small_and_comes_back(adapter: Adapter, tmp_path: Path) -> None:
    adapter.save(tmp_path / "adapter")
    assert sorted(p.name for p in (tmp_path / "adapter").iterdir()) == [SETTINGS, WEIGHTS]
    back = Adapter.load(tmp_path / "adapter")
    assert back.origin == adapter.origin
    assert back.weights.keys() == adapter.weights.keys()
    assert all(torch.equal(back.weights[name], adapter.weights[name]) for name in back.weights)
    assert {t.dtype for name, t in back.weights.items() if "lora_" in name} == {torch.float16}


def test_another_encoder_is_refused(adapter: Adapter, tiny_encoder_folder: Path) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax")
    with torch.no_grad():
        next(model.encoder.parameters()).view(-1)[0] += 1e-3
    before = fingerprint(model.encoder)
    with pytest.raises(SpanQAError, match=r"belongs to the encoder .* but those found have"):
        adapter.merge_into(model)
    assert fingerprint(model.encoder) == before


def test_another_head_is_refused(adapter: Adapter, tiny_encoder_folder: Path) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "crf")
    with pytest.raises(SpanQAError, match="its adapter cannot be loaded"):
        adapter.merge_into(model)


@pytest.mark.parametrize("file", [SETTINGS, WEIGHTS])
def test_a_damaged_adapter_is_named(adapter: Adapter, tmp_path: Path, file: str) -> None:
    adapter.save(tmp_path)
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(SpanQAError, match=str(tmp_path)):
        Adapter.load(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(SpanQAError, match=str(tmp_path)):
        Adapter.load(tmp_path)


def test_without_peft_the_extra_is_named(
    tiny_encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"spanqa\[lora\]"):
        add_lora(model, RANK, ALPHA)
