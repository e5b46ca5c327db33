"""Eight-bit copies of exported models; the head stays in float32.

ONNX Runtime: dynamic. Weights of the encoder's matrix products are int8, one scale per output
channel; activations get their range anew in every batch, so a question's scores depend a little on
what is in its batch.

OpenVINO: static. NNCF reads the ranges of activations off a few hundred windows beforehand.

Both multiply uint8 by int8. Processors without VNNI add two such products in 16 bits, which can
overflow without a word; there weights keep 7 bits ("reduced range"), which runs right everywhere. A
model quantised with the full range is refused by processors without VNNI.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from spanqa.crf import TAGS
from spanqa.environment import computes_vnni
from spanqa.errors import MissingExtraError
from spanqa.windows import Windows

WINDOWS = 300
"""Windows that NNCF reads ranges off."""
WIDEST_HEAD = len(TAGS)
"""Output channels of a head at most; no layer of an encoder has so few."""


def quantize_onnx(source: Path, target: Path) -> dict[str, Any]:
    """Write an int8 copy of an ONNX file and return its settings.

    Raises:
        MissingExtraError: when the `onnx` extra is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingExtraError("quantising an ONNX model", "onnx") from error
    reduce_range = not computes_vnni()
    graph = onnx.load(str(source), load_external_data=False).graph
    narrow = {each.name for each in graph.initializer if each.dims and each.dims[-1] <= WIDEST_HEAD}
    head = [node.name for node in graph.node if narrow & set(node.input)]
    with _quiet(logging.getLogger()):  # advice that does not hold for graphs of torch's exporter
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=head,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=reduce_range,
        )
    return {
        "method": "dynamic",
        "weights": "int8 per channel",
        "activations": "uint8 per batch",
        "reduce_range": reduce_range,
    }


def quantize_openvino(model: Any, windows: Windows) -> tuple[Any, dict[str, Any]]:
    """An int8 copy of an `openvino.Model`, and its settings.

    Args:
        model: not changed.
        windows: to read the ranges of activations off, the first `WINDOWS` of them.

    Raises:
        MissingExtraError: when the `openvino` extra is not installed.
    """
    try:
        import nncf
        from nncf.quantization.advanced_parameters import (
            AdvancedQuantizationParameters,
            OverflowFix,
        )
    except ImportError as error:
        raise MissingExtraError("quantising an OpenVINO model", "openvino") from error
    reduce_range = not computes_vnni()
    rows = range(min(WINDOWS, len(windows)))
    fix = OverflowFix.ENABLE if reduce_range else OverflowFix.DISABLE
    with _quiet(logging.getLogger("nncf")), redirect_stdout(sys.stderr):  # its progress bars
        made = nncf.quantize(
            model.clone(),
            nncf.Dataset([_inputs(windows, row) for row in rows]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows),
            ignored_scope=nncf.IgnoredScope(names=_narrow(model.get_ordered_ops())),
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
        )
    return made, {
        "method": "static",
        "weights": "int8 per channel",
        "activations": "int8 per tensor",
        "reduce_range": reduce_range,
        "windows": len(rows),
    }


def _inputs(windows: Windows, row: int) -> dict[str, Any]:
    arrays = windows.batch([row])
    return {name: each for name, each in arrays.items() if not name.endswith("positions")}


def _narrow(operations: Sequence[Any]) -> list[str]:
    """Names of the matrix products with no more output channels than a head has."""
    products = [each for each in operations if each.get_type_name() == "MatMul"]
    last = {each.get_friendly_name(): each.output(0).partial_shape[-1] for each in products}
    return [
        name for name, size in last.items() if size.is_static and size.get_length() <= WIDEST_HEAD
    ]


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
