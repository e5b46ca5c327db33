"""Low-rank adapters (LoRA, Hu et al. 2021): trained through peft, merged and shipped without it.

An adapter folder holds

    adapter.safetensors   `<module>.lora_A` (rank, in), `<module>.lora_B` (out, rank) in float16,
                          and the head in float32
    adapter.json          the scale of the updates, the encoder's name and the hash of its weights
    config.json           head, windows, temperature and threshold, once the model is calibrated

A merged layer's weight is `W + scale * B @ A`: an ordinary checkpoint, as fast as any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spanqa.errors import MissingExtraError, ModelError
from spanqa.folders import verify
from spanqa.loading import UNUSABLE, loading_error
from spanqa.model import SpanQAModel
from spanqa.records import dump, from_json, read_json, write_atomic

WEIGHTS, SETTINGS = "adapter.safetensors", "adapter.json"
DOWN, UP, HEAD = ".lora_A", ".lora_B", "head."


@dataclass(frozen=True)
class Origin:
    """What `adapter.json` says: what the updates belong to."""

    encoder: str
    """Name of the encoder, as a recipe has it."""
    revision: str | None
    """Its branch, tag or commit on the hub."""
    sha256: str
    """`fingerprint` of its weights."""
    scale: float
    """Factor of `B @ A`: alpha / rank."""


@dataclass(frozen=True)
class Adapter:
    """Low-rank updates of an encoder's linear layers, and the head that was trained with them."""

    origin: Origin
    weights: Mapping[str, Tensor] = field(repr=False)

    @classmethod
    def of(cls, model: SpanQAModel, encoder: str, revision: str | None = None) -> Adapter:
        """The adapter of a model that `add_lora` was called on, rounded as it is stored."""
        weights: dict[str, Tensor] = {}
        scale = 1.0
        for name, module in model.encoder.named_modules():
            if hasattr(module, "lora_A"):
                scale = float(module.scaling["default"])
                weights[name + DOWN] = module.lora_A["default"].weight.half()
                weights[name + UP] = module.lora_B["default"].weight.half()
        weights |= {HEAD + name: each.float() for name, each in model.head.state_dict().items()}
        kept = {key: each.detach().cpu().clone() for key, each in weights.items()}
        return cls(Origin(encoder, revision, fingerprint(model.encoder), scale), kept)

    def merge_into(self, model: SpanQAModel) -> None:
        """Add the updates to the weights of the encoder, and set the head.

        Raises:
            ModelError: the encoder's weights are not those that the updates were trained on.
        """
        found = fingerprint(model.encoder)
        if found != self.origin.sha256:
            raise ModelError(
                f"the adapter belongs to the encoder {self.origin.encoder} with weights of SHA-256 "
                f"{self.origin.sha256[:12]}..., but those found have {found[:12]}...; "
                "install the encoder's version that it was trained on"
            )
        try:
            head = {k: each for k, each in self.weights.items() if k.startswith(HEAD)}
            model.head.load_state_dict({k.removeprefix(HEAD): each for k, each in head.items()})
            for key in self.weights.keys() - head.keys():
                if key.endswith(DOWN):
                    self._merge(model.encoder, key.removesuffix(DOWN))
        except UNUSABLE as error:
            raise loading_error(self.origin.encoder, "adapter", error) from error

    @torch.no_grad()
    def _merge(self, encoder: nn.Module, name: str) -> None:
        weight = encoder.get_submodule(name).get_parameter("weight")  # (out, in)
        up, down = self.weights[name + UP].float(), self.weights[name + DOWN].float()
        weight.add_((self.origin.scale * (up @ down)).to(weight))

    def save(self, folder: str | Path) -> None:
        """Write the two files into `folder`, which is made."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(dict(self.weights), Path(folder) / WEIGHTS)
        write_atomic(Path(folder) / SETTINGS, dump(asdict(self.origin), indent=1))

    @classmethod
    def load(cls, folder: str | Path) -> Adapter:
        """Read what `save` wrote.

        Raises:
            SpanQAError: a file is missing or damaged.
        """
        verify(Path(folder))
        path = Path(folder) / SETTINGS
        origin = from_json(Origin, read_json(path), str(path))
        try:
            return cls(origin, load_file(Path(folder) / WEIGHTS))
        except UNUSABLE as error:
            raise loading_error(str(folder), "adapter", error) from error


def add_lora(model: SpanQAModel, rank: int, alpha: float) -> None:
    """Freeze the encoder and put trainable low-rank updates on all its trainable linear layers.

    Args:
        model: whose encoder is changed in place.
        rank: of the updates.
        alpha: the updates are scaled by alpha / rank.

    Raises:
        MissingExtraError: when the `lora` extra is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("training with encoder.lora_rank", "lora") from error
    linear = [
        name
        for name, module in model.encoder.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    settings: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "target_modules": linear}
    config = LoraConfig(**settings)
    inject_adapter_in_model(config, model.encoder)


def fingerprint(encoder: nn.Module) -> str:
    """SHA-256 (hex) over names and values of an encoder's own weights, as float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        if "lora_" not in name:
            digest.update(name.replace(".base_layer", "").encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()
