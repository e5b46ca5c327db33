"""Which backend answers for a checkpoint: torch, or an export that passed its gate.

`auto` takes what was the fastest on this very kind of CPU, by the speeds that `spanqa export`
measured in turn with torch; a speed from another CPU says nothing here. On a GPU torch answers.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from spanqa.backends import Backend, TorchBackend
from spanqa.environment import computes_vnni, cpu_name
from spanqa.errors import ModelError, RecipeError
from spanqa.loading import UNUSABLE, loading_error
from spanqa.manifest import (
    ANSWERING,
    EXPORTS,
    KINDS,
    REFERENCE,
    Manifest,
    checkpoint_sha256,
    exports_of,
    is_export,
)
from spanqa.model import SpanQAConfig
from spanqa.onnx_backend import FILE as ONNX_FILE
from spanqa.onnx_backend import OnnxBackend
from spanqa.openvino_backend import FILE as OPENVINO_FILE
from spanqa.openvino_backend import OpenVINOBackend
from spanqa.records import read_json
from spanqa.shipped import folder_of
from spanqa.shipped import load as load_model
from spanqa.tokenizer import load_tokenizer

BF16 = "torch-bf16"
BACKENDS = ("auto", "torch", BF16, *KINDS)
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


class Loaded(NamedTuple):
    """All that a `Reader` is made of."""

    backend: Backend
    tokenizer: Any
    config: SpanQAConfig


def load(
    name: str, revision: str | None = None, backend: str = "auto", device: str | None = None
) -> Loaded:
    """A checkpoint or an export, with what is to run it.

    Args:
        name: as `spanqa.shipped.load`, or a folder that `spanqa export` wrote.
        revision: branch, tag or commit on the hub.
        backend: one of `BACKENDS`.
        device: what torch runs on, such as `cpu`, `cuda:1` or `mps`; the first GPU, or else the
            CPU, if left out. Exports run on the CPU.

    Raises:
        RecipeError: there is no such backend or device, or an export cannot run on it.
        ModelError: the checkpoint has no such export, or an outdated or damaged one.
        MissingExtraError: what runs it is not installed.
    """
    if backend not in BACKENDS:
        raise RecipeError(f"backend {backend!r} is not known; give one of {', '.join(BACKENDS)}")
    place = _device(device)
    folder = folder_of(name)
    if device is not None and place.type != "cpu" and (backend in KINDS or is_export(folder)):
        raise RecipeError(f"device is {device!r}, but exports run on the CPU; leave device out")
    if is_export(folder):
        manifest = Manifest.load(folder)
        if backend not in ("auto", manifest.kind):
            raise ModelError(f"{name}: is an export for {manifest.kind}, not for {backend}")
        return load_export(folder, manifest)
    chosen = fastest(folder, place) if backend == "auto" else backend
    if chosen not in KINDS:
        return _load_torch(name, revision, place, bf16=chosen == BF16)
    found = exports_of(folder).get(chosen)
    command = f"spanqa export {name} --format {chosen.replace('-int8', ' --int8')} --data FILE"
    if found is None and not (Path(name) / "config.json").is_file():
        raise ModelError(
            f"{name}: has no {chosen} export, as it is not a folder of yours; run '{command} "
            "--output FOLDER' and give FOLDER as the model"
        )
    if found is None:
        raise ModelError(f"{name}: has no {chosen} export; run '{command}' first")
    if found.source_sha256 != checkpoint_sha256(folder):
        raise ModelError(f"{name}: has changed since its {chosen} export; run '{command}' again")
    loaded = load_export(folder / EXPORTS / chosen, found)
    _answer_as(folder, loaded.config)
    return loaded


def load_export(folder: Path, manifest: Manifest) -> Loaded:
    """What `spanqa export` wrote into a folder, which is checked to be unchanged.

    Raises:
        ModelError: a file is damaged, or it was quantised for other processors.
        MissingExtraError: what runs it is not installed.
    """
    manifest.verify(folder)
    if _needs_vnni(manifest) and not computes_vnni():
        raise ModelError(
            f"{folder}: was quantised for processors with VNNI, and may overflow on this one; "
            "export it here"
        )
    try:
        config = SpanQAConfig.from_pretrained(folder, local_files_only=True)
    except UNUSABLE as error:
        raise loading_error(str(folder), "config.json", error) from error
    return Loaded(open_export(folder, manifest), load_tokenizer(str(folder)), config)


def open_export(folder: Path, manifest: Manifest) -> Backend:
    """The backend of an export."""
    if manifest.kind.startswith("onnx"):
        return OnnxBackend(folder / ONNX_FILE, precision=manifest.precision)
    return OpenVINOBackend(folder / OPENVINO_FILE, precision=manifest.precision)


def _load_torch(name: str, revision: str | None, device: torch.device, *, bf16: bool) -> Loaded:
    model, tokenizer = load_model(name, revision)
    if not (bf16 and model.dtype == torch.bfloat16):
        torch.nn.Module.float(model)  # transformers keeps the numbers of the file, such as float16
    torch.nn.Module.to(model, device)
    return Loaded(TorchBackend(model, bf16=bf16), tokenizer, model.config)


def _device(name: str | None) -> torch.device:
    """A device that is there.

    Raises:
        RecipeError: it is not, or there is no such kind.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError, TypeError) as error:  # of torch; the last is no text
        raise _no_device(name) from error
    if device.type == "meta":  # which holds no numbers
        raise _no_device(name)
    return device


def _no_device(name: str) -> RecipeError:
    return RecipeError(
        f"device {name!r} is not here or not known; give cpu, or cuda, cuda:1 or mps where there "
        "is one"
    )


def fastest(folder: Path, device: torch.device | None = None) -> str:
    """The backend that was the fastest on this kind of CPU, of those that are usable."""
    best, ratio = "torch", 1.0
    if (device or _device(None)).type != "cpu":
        return best
    exports = {kind: each for kind, each in exports_of(folder).items() if _ratios(each)}
    now = checkpoint_sha256(folder) if exports else None
    for kind, manifest in exports.items():
        if manifest.source_sha256 != now:
            warnings.warn(
                f"{folder}: has changed since its {kind} export, which is not used; "
                "run 'spanqa export' again",
                stacklevel=4,
            )
            continue
        for name, speed in _ratios(manifest).items():
            if speed > ratio:
                best, ratio = name, speed
    return best


def _ratios(manifest: Manifest) -> dict[str, float]:
    """Speed over torch's of what `auto` may take.

    Nothing where the export was measured on another CPU, or cannot run here. Speeds of several
    exports were measured at different times, their ratios to torch can be compared.
    """
    runtime = RUNTIMES[manifest.kind.partition("-")[0]]
    if manifest.cpu != cpu_name() or find_spec(runtime) is None:
        return {}
    if _needs_vnni(manifest) and not computes_vnni():
        return {}
    reference = manifest.trials[REFERENCE]
    usable = {manifest.kind, *([BF16] if torch.cpu._is_avx512_bf16_supported() else [])}
    return {
        name: trial.questions_per_second / reference.questions_per_second
        for name, trial in manifest.trials.items()
        if name in usable and manifest.gate.bounds.admit(trial, reference)
    }


def _needs_vnni(manifest: Manifest) -> bool:
    return manifest.quantization.get("reduce_range") is False


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder's config.json is one of ours, which holds temperature and threshold."""
    path = folder / "config.json"
    return path.is_file() and read_json(path).get("model_type") == SpanQAConfig.model_type


def _answer_as(folder: Path, config: SpanQAConfig) -> None:
    """Take over what the checkpoint's own config.json says of answering, the calibration above all.

    A foreign checkpoint's says nothing of it.
    """
    if is_checkpoint(folder):
        own = SpanQAConfig.from_pretrained(folder, local_files_only=True)
        for name in ANSWERING:
            setattr(config, name, getattr(own, name))
