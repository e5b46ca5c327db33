"""A model as a graph that other programs run: traced once, written as ONNX or for OpenVINO.

Inputs are `input_ids`, `attention_mask`, `context_mask` and, where the tokenizer has them,
`token_type_ids`; outputs `start`, `end`, `unit` and `null` (`spanqa.heads.Potentials`). Batch and
length are free. The partition function is not part of it, as nothing that answers reads it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spanqa.backends import BatchScores
from spanqa.errors import MissingExtraError, ModelError
from spanqa.loading import UNUSABLE
from spanqa.model import SpanQAModel

OPSET = 18
"""Of ONNX; the exporter of torch is written for it."""


class Scorer(nn.Module):
    """A model's `spans` as a module of its own."""

    def __init__(self, model: SpanQAModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        context_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """As `SpanQAModel.spans`."""
        # Compared, not handed on: in int8, OpenVINO fails where a boolean input is multiplied.
        inside = context_mask.float() > 0.5
        return tuple(self.model.spans(input_ids, attention_mask, inside, token_type_ids))


def trace(model: SpanQAModel, *, token_types: bool) -> torch.export.ExportedProgram:
    """The graph of a model.

    Args:
        model: on the CPU, in float32.
        token_types: whether `token_type_ids` is one of the inputs.

    Raises:
        ModelError: its encoder does what cannot be put into a graph of free batch and length.
    """
    scorer = Scorer(model).eval()
    inputs = _example(token_types)
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(
                scorer, (), inputs, dynamic_shapes=dict.fromkeys(inputs, free), strict=False
            )
    except UNUSABLE as error:
        reason = " ".join(str(error).split())
        kind = model.encoder.config.model_type
        raise ModelError(f"a {kind} encoder cannot be exported ({reason:.200})") from error


def _example(token_types: bool) -> dict[str, Tensor]:
    """Two windows of 24 tokens, the second padded; nothing about them is kept."""
    ids = torch.ones(2, 24, dtype=torch.long)
    attention, context = torch.ones_like(ids), torch.zeros(2, 24, dtype=torch.bool)
    attention[1, 16:] = 0
    context[:, 8:15] = True
    inputs = {"input_ids": ids, "attention_mask": attention, "context_mask": context}
    return inputs | ({"token_type_ids": context.long()} if token_types else {})


def write_onnx(program: torch.export.ExportedProgram, file: Path) -> None:
    """Write an ONNX file; weights of more than 2 GB go into one beside it.

    Raises:
        MissingExtraError: when the `onnx` extra is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("exporting to ONNX", "onnx") from error
    with _quiet():
        written: Any = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(program.graph_signature.user_inputs),
            output_names=list(BatchScores._fields),
            verbose=False,
        )
        written.save(str(file))


def openvino_model(program: torch.export.ExportedProgram) -> Any:
    """The graph as an `openvino.Model`.

    Raises:
        MissingExtraError: when the `openvino` extra is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("exporting to OpenVINO", "openvino") from error
    with _quiet():
        model = openvino.convert_model(program)
    for port, name in zip(model.outputs, BatchScores._fields, strict=True):
        port.get_tensor().set_names({name})
    return model


def write_openvino(model: Any, file: Path) -> None:
    """Write the `.xml` and the `.bin` of an `openvino.Model`, weights as they are."""
    import openvino

    openvino.save_model(model, file, compress_to_fp16=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what the exporters say of themselves, and nothing else."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")  # no torchvision
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch's own code, when it copies a graph
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
