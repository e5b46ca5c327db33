"""A checkpoint exported for another runtime, kept only where it answers as the checkpoint does.

The folder written holds `config.json`, the tokenizer, the exported file and `export.json`
(`spanqa.manifest`), and is all that `Reader.from_pretrained` needs.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

import spanqa
from spanqa.backends import Backend, TorchBackend
from spanqa.choice import BF16, open_export
from spanqa.data import Corpus, load, require_labels, sample
from spanqa.environment import cpu_name
from spanqa.errors import MissingExtraError, ModelError, RecipeError
from spanqa.example import Example
from spanqa.folders import sha256, write_folder
from spanqa.graph import openvino_model, trace, write_onnx, write_openvino
from spanqa.manifest import (
    EXPORTS,
    REFERENCE,
    Bounds,
    Gate,
    Manifest,
    checkpoint_sha256,
    is_export,
)
from spanqa.model import SpanQAModel
from spanqa.onnx_backend import FILE as ONNX_FILE
from spanqa.openvino_backend import FILE as OPENVINO_FILE
from spanqa.parity import BOUNDS, measure, require
from spanqa.quantization import WINDOWS, quantize_onnx, quantize_openvino
from spanqa.reader import BATCH_SIZE, Reader
from spanqa.shipped import folder_of
from spanqa.shipped import load as load_model
from spanqa.windows import Template
from spanqa.writing import is_free

Format = Literal["onnx", "openvino"]
QUESTIONS, SEED = 500, 0
"""Questions of the gate unless said otherwise, and the seed they are drawn with."""
PACKAGES = {
    "onnx": ("torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "transformers", "openvino", "nncf"),
}


def export(
    model: str,
    *,
    format: Format,
    int8: bool = False,
    data: str,
    questions: int = QUESTIONS,
    output: Path | None = None,
    min_agreement: float | None = None,
    max_em_loss: float | None = None,
    batch_size: int = BATCH_SIZE,
) -> tuple[Path, Manifest]:
    """Export a checkpoint, let it answer labelled questions, and keep it if it passes.

    Args:
        model: folder or hub id of a checkpoint.
        format: `onnx` or `openvino`.
        int8: quantise the encoder to eight bits.
        data: labelled questions; a source that `spanqa.data.load` takes.
        questions: drawn from `data` for the gate, with a fixed seed; all where there are fewer.
        output: folder to write; `exports/KIND` in the checkpoint's own if left out.
        min_agreement: in place of the bound in `spanqa.parity.BOUNDS`.
        max_em_loss: the same.
        batch_size: windows of the longest kind in a batch.

    Returns:
        The folder, and what its `export.json` says.

    Raises:
        MissingExtraError: the extra of that format is not installed.
        SpanQAError: model or data cannot be used, or the export did not pass, or cannot be written;
            nothing is kept.
    """
    _require_extra(format)
    if is_export(folder_of(model)):
        raise ModelError(f"{model}: is an export; export the checkpoint that it was made of")
    kind = f"{format}-int8" if int8 else format
    precision = _precision(format, int8)
    bounds = _bounds(precision, min_agreement, max_em_loss)
    folder = output or _beside(model, kind)
    _require_free(folder)
    corpus = load(data, misaligned="keep")
    require_labels(corpus)
    loaded, tokenizer = load_model(model)
    if loaded.dtype != torch.float32:
        torch.nn.Module.float(loaded)
    reference = Reader(TorchBackend(loaded), tokenizer, loaded.config, batch_size=batch_size)
    asked, others = _drawn(corpus, questions)
    with tempfile.TemporaryDirectory(prefix="spanqa-export-") as made:
        work = Path(made)
        settings = _write(reference, loaded, work, format, int8, others)
        manifest = Manifest(
            kind=kind,
            precision=precision,
            files={path.name: sha256(path) for path in sorted(work.iterdir())},
            source=model,
            source_sha256=checkpoint_sha256(folder_of(model)),
            quantization=settings,
            versions={"spanqa": spanqa.__version__}
            | {name: importlib.metadata.version(name) for name in PACKAGES[format]},
            cpu=cpu_name(),
            threads=torch.get_num_threads(),
            gate=Gate(corpus.source, corpus.fingerprint, len(asked), SEED, bounds),
        )
        manifest = _tried(manifest, work, reference, loaded, asked)
        loaded.config.save_pretrained(work)
        tokenizer.save_pretrained(work)
        manifest.save(work)
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(folder, lambda fresh: shutil.copytree(work, fresh))
    return folder, manifest


def _require_free(folder: Path) -> None:
    """An export takes the place of an older one, and of nothing else."""
    if not is_free(folder) and (folder.resolve() == Path.cwd() or not is_export(folder)):
        raise ModelError(
            f"{folder}: holds other things than an export; name a new folder with --output"
        )


def _require_extra(format: Format) -> None:
    """Refused before anything is computed."""
    if any(find_spec(package) is None for package in PACKAGES[format]):
        raise MissingExtraError(f"exporting to {format}", format)


def _precision(format: Format, int8: bool) -> str:
    if int8:
        return "int8"
    computes = format == "openvino" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if computes else "fp32"


def _bounds(precision: str, min_agreement: float | None, max_em_loss: float | None) -> Bounds:
    usual = BOUNDS[precision]
    return Bounds(
        usual.min_agreement if min_agreement is None else min_agreement,
        usual.max_em_loss if max_em_loss is None else max_em_loss,
    )


def _beside(model: str, kind: str) -> Path:
    if not (Path(model) / "config.json").is_file():
        raise RecipeError(f"{model}: is not a folder of yours; say where to write with --output")
    return Path(model) / EXPORTS / kind


def _drawn(corpus: Corpus, questions: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """Questions of the gate; and others, to quantise with, where there are enough of them."""
    asked = sample(corpus.examples, min(questions, len(corpus)), SEED)
    ids = {example.id for example in asked}
    others = [example for example in corpus.examples if example.id not in ids]
    if len(others) < min(WINDOWS, len(asked)):
        return asked, asked
    return asked, sample(others, min(WINDOWS, len(others)), SEED)


def _write(
    reference: Reader,
    model: SpanQAModel,
    folder: Path,
    format: Format,
    int8: bool,
    others: Sequence[Example],
) -> dict[str, Any]:
    """Write the exported files alone; the settings of int8, if any."""
    types = Template.of(reference.tokenizer).token_types is not None
    program = trace(model, token_types=types)
    if format == "onnx":
        if not int8:
            write_onnx(program, folder / ONNX_FILE)
            return {}
        with tempfile.TemporaryDirectory(prefix="spanqa-export-") as whole:
            write_onnx(program, Path(whole) / ONNX_FILE)
            return quantize_onnx(Path(whole) / ONNX_FILE, folder / ONNX_FILE)
    graph: Any = openvino_model(program)
    settings: dict[str, Any] = {}
    if int8:
        graph, settings = quantize_openvino(graph, reference.windows(others))
    write_openvino(graph, folder / OPENVINO_FILE)
    return settings


def _tried(
    manifest: Manifest,
    work: Path,
    reference: Reader,
    model: SpanQAModel,
    asked: Sequence[Example],
) -> Manifest:
    """The manifest with what the gate measured.

    Raises:
        ModelError: the export did not pass.
    """

    def reader(backend: Backend) -> Reader:
        config, size = reference.config, reference.batch_size
        return Reader(backend, reference.tokenizer, config, batch_size=size)

    readers = {REFERENCE: reference, manifest.kind: reader(open_export(work, manifest))}
    if torch.cpu._is_avx512_bf16_supported():
        readers[BF16] = reader(TorchBackend(model, bf16=True))
    trials = measure(readers, asked)
    require(manifest.kind, trials, manifest.gate.bounds, len(asked))
    return replace(manifest, trials=trials)
