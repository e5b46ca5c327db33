"""What runs a model over a batch of windows, behind one small interface.

Whoever reads the scores never asks what computed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray

from spanqa.model import SpanQAModel
from spanqa.windows import Floats

Arrays = Mapping[str, NDArray[Any]]
"""`input_ids`, `attention_mask`, `context_mask` and perhaps `token_type_ids`, each (B, L)."""


class BatchScores(NamedTuple):
    """`SpanScores` of a batch as float32 arrays, without the partition function."""

    start: Floats
    """(B, L)"""
    end: Floats
    """(B, L)"""
    unit: Floats
    """(B,)"""
    null: Floats
    """(B,)"""


class Backend(Protocol):
    """Something that scores windows."""

    @property
    def name(self) -> str:
        """What it is, such as `torch fp32`."""

    def score(self, arrays: Arrays) -> BatchScores:
        """Score all spans of a batch of windows."""


class TorchBackend:
    """The model itself, on the device it lies on; puts it into evaluation mode."""

    def __init__(self, model: SpanQAModel, *, bf16: bool = False) -> None:
        """Use a model.

        Args:
            model: on the device it is to run on.
            bf16: compute the encoder in bfloat16.
        """
        self.model, self.bf16 = model, bf16

    @property
    def name(self) -> str:
        """`torch fp32` or `torch bf16`, with the device where it is not the CPU."""
        device = self.model.device.type
        weights = "bf16" if self.bf16 or self.model.dtype == torch.bfloat16 else "fp32"
        return f"torch {weights}" + (f" on {device}" if device != "cpu" else "")

    def score(self, arrays: Arrays) -> BatchScores:
        """Score all spans of a batch of windows."""
        if self.model.training:
            self.model.train(False)
        device = self.model.device
        inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            scores = self.model.spans(**inputs)
        return BatchScores(*(part.float().cpu().numpy() for part in scores))
