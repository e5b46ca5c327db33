"""Exports: the same scores as torch, a gate that keeps nothing below its bounds, sealed files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CORPUS
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedTokenizerFast,
)

from spanqa import export as module
from spanqa.backends import Arrays, Backend, BatchScores, TorchBackend
from spanqa.data import Example, Reference, write_squad
from spanqa.errors import MissingExtraError, ModelError, RecipeError
from spanqa.export import export
from spanqa.graph import openvino_model, trace, write_onnx, write_openvino
from spanqa.manifest import MANIFEST, Manifest
from spanqa.model import SpanQAConfig, SpanQAModel
from spanqa.onnx_backend import OnnxBackend
from spanqa.openvino_backend import OpenVINOBackend
from spanqa.reader import Reader
from spanqa.recipe import HEADS
from spanqa.windows import Template

TOLERANCE = 1e-4
"""Between two programs that add float32 numbers in another order."""
SHAPES = ((1, 8), (2, 24), (5, 40), (3, 136))
"""One of them is the shape that graphs are traced with."""
ASKED = ("Who founded the observatory?", "Where does the railway end?", "Who drew the plans?")


def batch(size: int, length: int, vocabulary: int, *, types: bool) -> Arrays:
    """Windows whose lengths differ; the first is whole."""
    rng = np.random.default_rng([size, length])
    ends = np.linspace(length, max(6, length // 2), size).astype(int)
    place = np.arange(length)
    attention = (place < ends[:, None]).astype(np.int64)
    context = (place >= 4) & (place < ends[:, None] - 1)
    ids = rng.integers(5, vocabulary, (size, length)) * attention
    arrays = {"input_ids": ids, "attention_mask": attention, "context_mask": context}
    return arrays | ({"token_type_ids": context.astype(np.int64)} if types else {})


def backends(model: SpanQAModel, folder: Path, *, types: bool) -> tuple[Backend, ...]:
    """The same model behind both runtimes."""
    program = trace(model, token_types=types)
    write_onnx(program, folder / "model.onnx")
    write_openvino(openvino_model(program), folder / "model.xml")
    return OnnxBackend(folder / "model.onnx"), OpenVINOBackend(folder / "model.xml")


def check_scores(model: SpanQAModel, folder: Path, *, types: bool) -> None:
    torch.nn.Module.eval(model)
    vocabulary = model.encoder.config.vocab_size
    reference = TorchBackend(model)
    found = backends(model, folder, types=types)
    for size, length in SHAPES:
        arrays = batch(size, length, vocabulary, types=types)
        expected = reference.score(arrays)
        for backend in found:
            scores = backend.score(arrays)
            for name, ours, theirs in zip(BatchScores._fields, scores, expected, strict=True):
                assert ours.dtype == np.float32 and ours.shape == theirs.shape, name
                np.testing.assert_allclose(ours, theirs, TOLERANCE, TOLERANCE, err_msg=name)


@pytest.mark.parametrize("head", HEADS)
def test_both_score_as_torch(head: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    model = SpanQAModel(SpanQAConfig(encoder_config=config, head=head), BertModel(config))
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.copy_(torch.randn_like(parameter))
    check_scores(model, tmp_path, types=True)


def test_an_encoder_without_token_types(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = DistilBertConfig(vocab_size=200, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    encoder = DistilBertModel(config)
    model = SpanQAModel(SpanQAConfig(encoder_config=config, head="joint"), encoder)
    check_scores(model, tmp_path, types=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labelled questions, each over one text of the corpus."""
    texts = [text for text in CORPUS for _ in ASKED]
    examples = [
        Example(f"q{i}", ASKED[i % 3], text, (Reference(text.split()[1], text.index(" ") + 1),))
        for i, text in enumerate(texts)
    ]
    write_squad(examples, tmp_path / "asked.json")
    return tmp_path / "asked.json"


@pytest.fixture
def checkpoint(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


@pytest.fixture
def written_already(tiny_exported_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file for ONNX Runtime is one that was made of the same model before."""
    file = tiny_exported_folder / "exports" / "onnx" / "model.onnx"

    def write(_: Reader, __: SpanQAModel, folder: Path, *___: Any) -> dict[str, Any]:
        shutil.copy(file, folder)
        return {}

    monkeypatch.setattr(module, "_write", write)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_an_export_is_all_that_answering_needs(
    format: Any, checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    folder, manifest = export(str(checkpoint), format=format, data=str(data), questions=20)
    assert folder == checkpoint / "exports" / format
    assert manifest == Manifest.load(folder)
    assert (manifest.gate.questions, manifest.trials[format].agreement) == (20, 1.0)
    alone = Path(shutil.move(folder, tmp_path / "alone"))
    expected = Reader.from_pretrained(checkpoint, backend="torch")
    shutil.rmtree(checkpoint)
    reader = Reader.from_pretrained(alone)
    assert reader.backend.name != expected.backend.name
    for question in ASKED:
        ours, theirs = (r.answer(question, list(CORPUS), top_k=5) for r in (reader, expected))
        assert [(a.text, a.start, a.document) for a in ours] == [
            (a.text, a.start, a.document) for a in theirs
        ]
    with pytest.raises(ModelError, match="is an export; save the checkpoint"):
        reader.save_pretrained(tmp_path / "copy")
    with pytest.raises(ModelError, match=f"is an export for {format}, not for torch"):
        Reader.from_pretrained(alone, backend="torch")
    file = next(alone / name for name in manifest.files)
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(ModelError, match="is damaged or was changed"):
        Reader.from_pretrained(alone)
    file.unlink()
    with pytest.raises(ModelError, match="is missing"):
        Reader.from_pretrained(alone)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_int8_is_kept_only_through_the_gate(format: Any, checkpoint: Path, data: Path) -> None:
    asked: dict[str, Any] = {"format": format, "int8": True, "data": str(data), "questions": 20}
    folder, manifest = export(str(checkpoint), **asked, min_agreement=0, max_em_loss=100)
    assert manifest.precision == "int8" and "reduce_range" in manifest.quantization
    assert manifest.gate.bounds.min_agreement == 0
    reader = Reader.from_pretrained(checkpoint, backend=f"{format}-int8")
    assert reader.backend.name.endswith("int8")
    assert reader.answer(ASKED[0], CORPUS[1])
    assert json.loads((folder / MANIFEST).read_text())["kind"] == f"{format}-int8"


def test_what_fails_the_gate_leaves_nothing(
    checkpoint: Path, data: Path, written_already: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(OnnxBackend):
        def score(self, arrays: Arrays) -> BatchScores:
            scores = super().score(arrays)
            return scores._replace(start=-scores.start)

    monkeypatch.setattr(module, "open_export", lambda f, _: Wrong(f / "model.onnx"))
    before = sorted(path.name for path in checkpoint.rglob("*"))
    with pytest.raises(ModelError, match="the onnx export was not kept: of 20 questions"):
        export(str(checkpoint), format="onnx", data=str(data), questions=20)
    assert sorted(path.name for path in checkpoint.rglob("*")) == before


def test_a_folder_with_other_things_is_left_alone(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("not an export")
    with pytest.raises(ModelError, match=r"holds other things than an export.*--output"):
        export(str(checkpoint), format="onnx", data=str(data), output=tmp_path)
    assert mine.read_text() == "not an export"


def test_a_failed_export_leaves_an_older_one(
    tiny_exported_folder: Path,
    data: Path,
    written_already: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = Path(shutil.copytree(tiny_exported_folder, tmp_path / "model"))
    folder = checkpoint / "exports" / "onnx"

    # A file that is written anew may have the same bytes, but not the same time.
    def found() -> dict[str, tuple[bytes, int, int]]:
        stats = {path: path.stat() for path in folder.iterdir()}
        return {p.name: (p.read_bytes(), s.st_ino, s.st_mtime_ns) for p, s in stats.items()}

    before = found()
    monkeypatch.setattr(module, "require", require_nothing_passes)
    with pytest.raises(ModelError, match="nothing passes"):
        export(str(checkpoint), format="onnx", data=str(data), questions=5)
    assert found() == before


def require_nothing_passes(*_: object) -> None:
    raise ModelError("nothing passes")


def test_an_export_says_nothing_of_the_folders_it_came_from(
    tiny_exported_folder: Path, tiny_encoder_folder: Path
) -> None:
    folder = tiny_exported_folder / "exports" / "onnx"
    config = json.loads((folder / "config.json").read_text())
    assert "_name_or_path" not in config | config["encoder_config"]
    for path in folder.glob("*.json"):
        assert path.name == MANIFEST or str(tiny_encoder_folder.parent) not in path.read_text()


@pytest.mark.parametrize("output", [True, False])
def test_an_export_is_not_exported_again(
    output: bool, tiny_exported_folder: Path, data: Path, tmp_path: Path
) -> None:
    folder = tiny_exported_folder / "exports" / "onnx"
    where = tmp_path / "again" if output else None
    with pytest.raises(ModelError) as caught:
        export(str(folder), format="onnx", data=str(data), output=where)
    assert str(caught.value) == (
        f"{folder}: is an export; export the checkpoint that it was made of"
    )
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("backend", [OnnxBackend, OpenVINOBackend])
def test_a_file_that_is_no_model_is_named(
    backend: type[OnnxBackend | OpenVINOBackend], tmp_path: Path
) -> None:
    file = tmp_path / "model.xml"
    file.write_text("no model")
    with pytest.raises(ModelError, match=r"model\.xml: .* cannot load it"):
        backend(file)


def test_what_cannot_be_exported(
    checkpoint: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match="--output"):
        export("some/model", format="onnx", data=str(data))
    with pytest.raises(RecipeError, match="between 0 and 1"):
        export(str(checkpoint), format="onnx", data=str(data), min_agreement=97)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'spanqa\[onnx\]'"):
        export(str(checkpoint), format="onnx", data=str(data))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'spanqa\[openvino\]'"):
        export(str(checkpoint), format="openvino", data=str(data))


def test_the_tokenizer_decides_about_token_types(
    tiny_tokenizer: PreTrainedTokenizerFast, tiny_bpe_tokenizer: PreTrainedTokenizerFast
) -> None:
    assert Template.of(tiny_tokenizer).token_types is not None
    assert Template.of(tiny_bpe_tokenizer).token_types is None
