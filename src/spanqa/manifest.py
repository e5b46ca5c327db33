"""What a folder with an exported model says of itself: `export.json`.

Beside it lie `config.json`, the tokenizer and the exported file, so the folder is all that
answering needs. Written by `spanqa export` once the gate was passed, read by whoever loads it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spanqa.adapter import SETTINGS
from spanqa.errors import DataError, ModelError, RecipeError
from spanqa.folders import fault, require_inside, sha256
from spanqa.records import dump, from_json, read_json, write_atomic

MANIFEST = "export.json"
REFERENCE = "torch"
"""Name of torch in float32 among the trials."""
EXPORTS = "exports"
"""Folder of a checkpoint's exports, in the checkpoint's own."""
KINDS = ("onnx", "onnx-int8", "openvino", "openvino-int8")
ANSWERING = (
    "max_length",
    "stride",
    "max_question_length",
    "max_answer_length",
    "temperature",
    "null_threshold",
    "min_precision",
    "calibration",
)
"""Fields of `SpanQAConfig` that decide how scores become answers; the model does not read them."""
_OF_THE_FILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")
"""Fields of a config.json that say where it comes from."""


@dataclass(frozen=True)
class Trial:
    """What one backend did with the questions of the gate."""

    agreement: float
    """Share of questions whose answer, text and offsets, is that of torch in float32."""
    exact: float
    """Official exact match, in percent."""
    questions_per_second: float
    """End to end, in turn with the others."""


@dataclass(frozen=True)
class Bounds:
    """What an export must reach to be kept."""

    min_agreement: float
    """Least share of questions with the reference's answer, between 0 and 1."""
    max_em_loss: float
    """Most points of exact match that may be lost against the reference."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_agreement <= 1:
            raise RecipeError(f"min_agreement must be between 0 and 1, got {self.min_agreement:g}")
        if not self.max_em_loss >= 0:
            raise RecipeError(f"max_em_loss must not be negative, got {self.max_em_loss:g}")

    def admit(self, trial: Trial, reference: Trial) -> bool:
        """Whether a backend may stand in for the reference."""
        lost = round(reference.exact - trial.exact, 6)  # figures are sums of floats
        return trial.agreement >= self.min_agreement and lost <= self.max_em_loss


@dataclass(frozen=True)
class Gate:
    """What an export was measured on, and what was asked of it."""

    data: str
    fingerprint: str
    """Of the questions, as `spanqa.data.fingerprint`."""
    questions: int
    seed: int
    """They were drawn with."""
    bounds: Bounds


@dataclass(frozen=True)
class Manifest:
    """One export."""

    kind: str
    """One of `KINDS`."""
    precision: str
    """fp32, bf16 or int8."""
    files: dict[str, str]
    """SHA-256 of each exported file."""
    source: str
    """The checkpoint, as it was named."""
    source_sha256: str | None
    """`checkpoint_sha256` of its folder; null for one from the hub."""
    quantization: dict[str, Any]
    """Settings of int8; empty otherwise."""
    versions: dict[str, str]
    cpu: str
    threads: int
    gate: Gate
    trials: dict[str, Trial] = field(default_factory=dict)
    """By name of the backend: `torch`, this one, and `torch-bf16` where the CPU computes it."""

    def save(self, folder: Path) -> None:
        """Write `export.json`."""
        write_atomic(folder / MANIFEST, dump(asdict(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read `export.json`.

        Raises:
            DataError: it is missing or damaged.
        """
        path = folder / MANIFEST
        found = from_json(cls, read_json(path), str(path))
        if found.kind not in KINDS:
            raise DataError(f"{path} is damaged: there is no kind {found.kind!r}")
        for name in (REFERENCE, found.kind):
            if name not in found.trials:
                raise DataError(f"{path} is damaged: the trial of {name} is missing")
        require_inside(found.files, path)
        return found

    def verify(self, folder: Path) -> None:
        """Refuse exported files that are not those that passed the gate.

        Raises:
            ModelError: a file is missing, or has another SHA-256.
        """
        problem = fault(folder, self.files, MANIFEST)
        if problem:
            raise ModelError(f"{problem}; run 'spanqa export' again")


def is_export(folder: Path) -> bool:
    """Whether a folder holds an exported model."""
    return (folder / MANIFEST).is_file()


def exports_of(folder: Path) -> dict[str, Manifest]:
    """Exports that lie beside a checkpoint, by kind."""
    found = {kind: folder / EXPORTS / kind for kind in KINDS}
    return {kind: Manifest.load(path) for kind, path in found.items() if is_export(path)}


def checkpoint_sha256(folder: Path) -> str | None:
    """SHA-256 over what the scores of a checkpoint depend on; None where there is no such folder.

    That is its safetensors, and its configuration without `ANSWERING`: calibrating a checkpoint
    leaves it as it is.
    """
    if not (folder / "config.json").is_file():
        return None
    digest = hashlib.sha256(_settings(read_json(folder / "config.json")))
    for path in (*sorted(folder.glob("*.safetensors")), folder / SETTINGS):
        if path.is_file():
            digest.update(f"{path.name} {sha256(path)}".encode())
    return digest.hexdigest()


def _settings(config: dict[str, Any]) -> bytes:
    left_out = {*ANSWERING, *_OF_THE_FILE}

    def kept(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: kept(each) for key, each in sorted(value.items()) if key not in left_out}

    return json.dumps(kept(config)).encode()
