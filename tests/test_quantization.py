"""Eight bits: what is rounded, in how many bits, and that the head is not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from spanqa import quantization as module
from spanqa.data import load
from spanqa.graph import openvino_model, trace, write_onnx
from spanqa.model import SpanQAModel
from spanqa.quantization import quantize_onnx, quantize_openvino
from spanqa.recipe import WindowRecipe
from spanqa.tokenizer import load_tokenizer
from spanqa.windows import Windows, cut

LAYERS, LINEAR = 2, 6
"""Layers of the tiny encoder, and matrices in each: query, key, value, output, and two more."""
HEADS = ("softmax", "span-crf")


@pytest.fixture(scope="module", params=HEADS)
def model(request: pytest.FixtureRequest, tiny_encoder_folder: Path) -> SpanQAModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = SpanQAModel.from_encoder(str(tiny_encoder_folder), request.param)
    nn.Module.eval(made)
    return made


@pytest.fixture(scope="module")
def program(model: SpanQAModel) -> torch.export.ExportedProgram:
    return trace(model, token_types=True)


@pytest.fixture(scope="module")
def whole_file(
    program: torch.export.ExportedProgram, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    file = tmp_path_factory.mktemp("whole") / "whole.onnx"
    write_onnx(program, file)
    return file


@pytest.fixture(scope="module")
def whole(program: torch.export.ExportedProgram) -> Any:
    return openvino_model(program)


@pytest.fixture(scope="module")
def windows(tiny_encoder_folder: Path) -> Windows:
    examples = load("synthetic:eval:8").examples
    return cut(examples, load_tokenizer(str(tiny_encoder_folder)), WindowRecipe())


@pytest.mark.parametrize("vnni", [False, True])
def test_the_head_stays_in_float32_for_onnx_runtime(
    vnni: bool,
    model: SpanQAModel,
    whole_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "computes_vnni", lambda: vnni)
    settings = quantize_onnx(whole_file, tmp_path / "int8.onnx")
    assert settings["reduce_range"] is not vnni
    graph = onnx.load(tmp_path / "int8.onnx").graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    counted = Counter(node.op_type for node in graph.node)
    assert counted["MatMulInteger"] == LAYERS * LINEAR
    in_float = [
        arrays[name]
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm")
        for name in node.input
        if name in arrays and arrays[name].ndim == 2
    ]
    (head,) = in_float
    assert head.dtype == np.float32
    np.testing.assert_array_equal(head, model.head.classifier.weight.detach().numpy().T)
    rounded = [arrays[node.input[1]] for node in graph.node if node.op_type == "MatMulInteger"]
    assert {each.dtype for each in rounded} == {np.dtype(np.int8)}
    largest = max(int(np.abs(each.astype(int)).max()) for each in rounded)
    assert (largest <= 64) is not vnni and largest <= 128


@pytest.mark.parametrize("vnni", [False, True])
def test_the_head_stays_in_float32_for_openvino(
    vnni: bool,
    whole: Any,
    windows: Windows,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "computes_vnni", lambda: vnni)
    before = _quantized(whole)
    made, settings = quantize_openvino(whole, windows)
    assert (settings["reduce_range"], settings["windows"]) == (not vnni, len(windows))
    assert before == _quantized(whole) == 0  # the model itself is left as it was
    assert _quantized(made) >= LAYERS * LINEAR
    (head,) = [each for each in _products(made) if _width(each) <= module.WIDEST_HEAD]
    sources = [head.input_value(i).get_node() for i in range(2)]
    assert "FakeQuantize" not in {each.get_type_name() for each in sources}
    constants = [each for each in sources if each.get_type_name() == "Constant"]
    assert [each.get_element_type().get_type_name() for each in constants] == ["f32"]
    assert capsys.readouterr().out == ""  # progress belongs on standard error


def _products(model: Any) -> list[Any]:
    return [each for each in model.get_ordered_ops() if each.get_type_name() == "MatMul"]


def _width(product: Any) -> int:
    last = product.output(0).partial_shape[-1]
    width: int = last.get_length() if last.is_static else 10**6
    return width


def _quantized(model: Any) -> int:
    """Matrix products whose activations are rounded."""
    sources = (each.input_value(0).get_node().get_type_name() for each in _products(model))
    return sum(name == "FakeQuantize" for name in sources)
