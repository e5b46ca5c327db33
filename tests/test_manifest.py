"""What an export says of itself: read as written, and sealed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import make_manifest

from spanqa.errors import DataError, ModelError, RecipeError
from spanqa.folders import sha256
from spanqa.manifest import MANIFEST, Bounds, Manifest, Trial, checkpoint_sha256


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = make_manifest("openvino-int8", sha256="a" * 64, reduce_range=True, bf16=3.0)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("kind", "tflite", "there is no kind 'tflite'"),
        ("trials", {}, "the trial of torch is missing"),
        ("threads", "two", "a whole number is needed, found 'two'"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, key: str, value: Any, problem: str) -> None:
    make_manifest().save(tmp_path)
    path = tmp_path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DataError) as caught:
        Manifest.load(tmp_path)
    assert str(path) in str(caught.value) and str(caught.value).endswith(problem)


def test_files_are_those_that_passed(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    manifest = make_manifest()
    manifest.files[file.name] = sha256(file)
    manifest.verify(tmp_path)
    file.write_bytes(b"Weights")
    with pytest.raises(ModelError, match="is damaged or was changed"):
        manifest.verify(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match="is missing"):
        manifest.verify(tmp_path)


def test_the_hash_of_a_checkpoint_is_over_what_its_scores_depend_on(tmp_path: Path) -> None:
    config: dict[str, Any] = {"head": "crf", "temperature": 1.0, "encoder_config": {"size": 32}}

    def hashed(**changed: Any) -> str | None:
        (tmp_path / "config.json").write_text(json.dumps(config | changed))
        return checkpoint_sha256(tmp_path)

    assert checkpoint_sha256(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = hashed()
    assert first == hashed(temperature=2.0, null_threshold=1.0, calibration={"questions": 3})
    assert first == hashed(transformers_version="9")
    assert first == hashed(encoder_config={"size": 32, "_name_or_path": "a/folder"})
    assert first != hashed(head="softmax")
    assert first != hashed(encoder_config={"size": 64})
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert first == hashed()
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert first != hashed()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [((97, 0.3), "min_agreement must be between 0 and 1, got 97"), ((1, -1), "max_em_loss must")],
)
def test_bounds_are_checked(bounds: tuple[float, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Bounds(*bounds)


def test_bounds_admit_what_reaches_them() -> None:
    bounds, reference = Bounds(0.97, 0.3), Trial(1.0, 70.1, 1.0)
    assert bounds.admit(Trial(0.97, 69.8, 1.0), reference)  # 70.1 - 69.8 > 0.3 for a computer
    assert bounds.admit(Trial(0.97, 80.0, 1.0), reference)
    assert not bounds.admit(Trial(0.9699, 70.1, 1.0), reference)
    assert not bounds.admit(Trial(1.0, 69.79, 1.0), reference)
