"""Which backend answers: the fastest one measured here, and sentences where there is none."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CORPUS
from fakes import make_manifest
from safetensors.torch import load_file, save_file

from spanqa import choice, evaluation
from spanqa.backends import TorchBackend
from spanqa.choice import fastest
from spanqa.errors import DataError, MissingExtraError, ModelError, RecipeError
from spanqa.manifest import EXPORTS, MANIFEST, Manifest, Trial, checkpoint_sha256
from spanqa.reader import Reader

DATA = "synthetic:train:60"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has no GPU, no bfloat16 and no VNNI, and the name that fake exports have."""
    monkeypatch.setattr(choice, "cpu_name", lambda: "this CPU")
    monkeypatch.setattr(choice, "computes_vnni", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)


@pytest.fixture
def checkpoint(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


@pytest.fixture
def exported(tiny_exported_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint with a real export beside it."""
    return Path(shutil.copytree(tiny_exported_folder, tmp_path / "exported"))


def put(checkpoint: Path, kind: str = "onnx", **settings: Any) -> Path:
    """A fake export beside a checkpoint; current unless said otherwise."""
    folder = checkpoint / EXPORTS / kind
    folder.mkdir(parents=True)
    settings.setdefault("sha256", checkpoint_sha256(checkpoint))
    make_manifest(kind, **settings).save(folder)
    return folder


def change_a_weight(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, file, metadata={"format": "pt"})


# What `auto` takes


def test_torch_answers_where_nothing_was_exported(checkpoint: Path) -> None:
    assert fastest(checkpoint) == "torch"
    assert fastest(Path("some/model")) == "torch"
    assert Reader.from_pretrained(checkpoint).backend.name == "torch fp32"


def test_the_highest_ratio_to_torch_wins_and_not_the_highest_speed(checkpoint: Path) -> None:
    put(checkpoint, "onnx", speeds=(20.0, 40.0))
    assert fastest(checkpoint) == "onnx"
    put(checkpoint, "openvino", speeds=(5.0, 15.0))  # measured while the machine was busy
    put(checkpoint, "openvino-int8", speeds=(40.0, 60.0))
    assert fastest(checkpoint) == "openvino"


def test_what_is_slower_than_torch_is_not_used(checkpoint: Path) -> None:
    put(checkpoint, speeds=(10.0, 9.9))
    assert fastest(checkpoint) == "torch"


def test_figures_from_another_cpu_say_nothing(checkpoint: Path) -> None:
    put(checkpoint, "onnx", cpu="another CPU", speeds=(1.0, 100.0))
    assert fastest(checkpoint) == "torch"
    put(checkpoint, "openvino", speeds=(10.0, 11.0))
    assert fastest(checkpoint) == "openvino"


def test_an_outdated_export_is_left_out_with_a_warning(checkpoint: Path) -> None:
    put(checkpoint, "onnx", sha256="0" * 64, speeds=(1.0, 100.0))
    put(checkpoint, "openvino", speeds=(10.0, 11.0))
    with pytest.warns(UserWarning, match="has changed since its onnx export, which is not used"):
        assert fastest(checkpoint) == "openvino"


def test_the_warning_points_at_the_caller(checkpoint: Path) -> None:
    put(checkpoint, sha256="0" * 64)
    with pytest.warns(UserWarning, match="not used") as caught:
        reader = Reader.from_pretrained(checkpoint)
    assert caught[0].filename == __file__
    assert reader.backend.name == "torch fp32"


def test_what_is_not_installed_is_left_out(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(checkpoint, "onnx-int8", speeds=(1.0, 100.0))
    put(checkpoint, "openvino", speeds=(10.0, 11.0))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert fastest(checkpoint) == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert fastest(checkpoint) == "torch"


@pytest.mark.parametrize("worse", [{"agreement": 0.9}, {"exact": 69.6}])
def test_what_its_own_bounds_do_not_admit_is_left_out(
    checkpoint: Path, worse: dict[str, float]
) -> None:
    put(checkpoint, "onnx", **worse)
    assert fastest(checkpoint) == "torch"
    put(checkpoint, "openvino", agreement=0.97, exact=69.7)  # just as good as they ask
    assert fastest(checkpoint) == "openvino"


def test_what_may_overflow_here_is_left_out(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(checkpoint, "onnx-int8", reduce_range=False)
    assert fastest(checkpoint) == "torch"
    monkeypatch.setattr(choice, "computes_vnni", lambda: True)
    assert fastest(checkpoint) == "onnx-int8"


def test_bfloat16_is_used_where_the_processor_computes_it(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(checkpoint, "onnx", speeds=(10.0, 20.0), bf16=30.0)
    assert fastest(checkpoint) == "onnx"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert fastest(checkpoint) == "torch-bf16"
    assert Reader.from_pretrained(checkpoint).backend.name == "torch bf16"


def test_on_a_gpu_torch_answers(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(checkpoint, "onnx", speeds=(1.0, 100.0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert fastest(checkpoint) == "torch"


@pytest.mark.parametrize("damage", ["{", "{}", '{"kind": "onnx"}'])
def test_a_damaged_manifest_is_named(checkpoint: Path, damage: str) -> None:
    path = put(checkpoint) / MANIFEST
    path.write_text(damage)
    with pytest.raises(DataError) as caught:
        fastest(checkpoint)
    assert str(caught.value).startswith(f"{path} is damaged")


# What is named


def test_there_is_no_such_backend(checkpoint: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        Reader.from_pretrained(checkpoint, backend="onnx-int4")
    assert str(caught.value) == (
        "backend 'onnx-int4' is not known; give one of auto, torch, torch-bf16, onnx, onnx-int8, "
        "openvino, openvino-int8"
    )


@pytest.mark.parametrize("device", ["cuda:97", "gpu", "meta", "", 5j])
def test_there_is_no_such_device(checkpoint: Path, device: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        Reader.from_pretrained(checkpoint, device=device)
    assert str(caught.value) == (
        f"device {device!r} is not here or not known; give cpu, or cuda, cuda:1 or mps where "
        "there is one"
    )


def test_a_named_device_is_used(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(checkpoint, "onnx", speeds=(10.0, 20.0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    reader = Reader.from_pretrained(checkpoint, backend="torch", device="cpu")
    assert reader.backend.name == "torch fp32"
    assert fastest(checkpoint, torch.device("cpu")) == "onnx"
    assert fastest(checkpoint, torch.device("cuda")) == "torch"


def test_an_export_runs_on_the_cpu_alone(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Reader.from_pretrained(exported, backend="onnx", device="cpu").backend.name == (
        "ONNX Runtime fp32"
    )
    monkeypatch.setattr(choice, "_device", torch.device)
    for folder, backend in ((exported, "onnx"), (exported / EXPORTS / "onnx", "auto")):
        with pytest.raises(RecipeError) as caught:
            Reader.from_pretrained(folder, backend=backend, device="mps")
        assert str(caught.value) == (
            "device is 'mps', but exports run on the CPU; leave device out"
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_torch_computes_in_float32_whatever_the_file_holds(
    checkpoint: Path, dtype: torch.dtype
) -> None:
    file = checkpoint / "model.safetensors"
    halves = {name: each.to(dtype) for name, each in load_file(file).items()}
    save_file(halves, file, metadata={"format": "pt"})
    config = json.loads((checkpoint / "config.json").read_text())
    for part in (config, config["encoder_config"]):
        part["dtype"] = str(dtype).removeprefix("torch.")
    (checkpoint / "config.json").write_text(json.dumps(config))
    backend = Reader.from_pretrained(checkpoint).backend
    assert isinstance(backend, TorchBackend)
    assert backend.name == "torch fp32"
    assert {each.dtype for each in backend.model.parameters()} == {torch.float32}


def test_torch_answers_where_it_is_named(checkpoint: Path) -> None:
    put(checkpoint, speeds=(1.0, 100.0))
    assert Reader.from_pretrained(checkpoint, backend="torch").backend.name == "torch fp32"
    assert Reader.from_pretrained(checkpoint, backend="torch-bf16").backend.name == "torch bf16"


def test_a_missing_export_is_named_with_the_command_that_makes_it(checkpoint: Path) -> None:
    put(checkpoint, "onnx")
    with pytest.raises(ModelError) as caught:
        Reader.from_pretrained(checkpoint, backend="openvino-int8")
    assert str(caught.value) == (
        f"{checkpoint}: has no openvino-int8 export; "
        f"run 'spanqa export {checkpoint} --format openvino --int8 --data FILE' first"
    )
    with pytest.raises(ModelError) as caught:
        Reader.from_pretrained("some/model", backend="onnx")
    assert str(caught.value) == (
        "some/model: has no onnx export, as it is not a folder of yours; run 'spanqa export "
        "some/model --format onnx --data FILE --output FOLDER' and give FOLDER as the model"
    )


def test_an_outdated_export_is_refused(checkpoint: Path) -> None:
    put(checkpoint)
    change_a_weight(checkpoint)
    with pytest.raises(ModelError) as caught:
        Reader.from_pretrained(checkpoint, backend="onnx")
    assert str(caught.value) == (
        f"{checkpoint}: has changed since its onnx export; "
        f"run 'spanqa export {checkpoint} --format onnx --data FILE' again"
    )


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_what_is_not_installed_is_named(
    kind: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(checkpoint / "config.json", put(checkpoint, kind))
    monkeypatch.setitem(sys.modules, choice.RUNTIMES[kind], None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'spanqa\[{kind}\]'"):
        Reader.from_pretrained(checkpoint, backend=kind)


def test_an_export_is_for_one_backend(checkpoint: Path) -> None:
    folder = put(checkpoint, "onnx-int8", reduce_range=True)
    for other in ("torch", "onnx", "openvino-int8"):
        with pytest.raises(ModelError) as caught:
            Reader.from_pretrained(folder, backend=other)
        assert str(caught.value) == f"{folder}: is an export for onnx-int8, not for {other}"


@pytest.mark.parametrize("backend", ["auto", "onnx-int8"])
def test_what_may_overflow_here_is_refused(checkpoint: Path, backend: str) -> None:
    folder = put(checkpoint, "onnx-int8", reduce_range=False)
    with pytest.raises(ModelError) as caught:
        Reader.from_pretrained(folder, backend=backend)
    assert str(caught.value) == (
        f"{folder}: was quantised for processors with VNNI, and may overflow on this one; "
        "export it here"
    )


# A real export


def test_auto_answers_with_the_export_that_was_faster(exported: Path) -> None:
    folder = exported / EXPORTS / "onnx"
    manifest = Manifest.load(folder)
    trials = {"torch": Trial(1.0, 0.0, 10.0), "onnx": Trial(1.0, 0.0, 30.0)}
    replace(manifest, cpu="this CPU", trials=trials).save(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader = Reader.from_pretrained(exported)
    assert reader.backend.name == "ONNX Runtime fp32"
    theirs = Reader.from_pretrained(exported, backend="torch")
    ours, expected = (r.answer("Who?", list(CORPUS), top_k=3) for r in (reader, theirs))
    assert [(a.document, a.start, a.end) for a in ours] == [
        (a.document, a.start, a.end) for a in expected
    ]


def test_exports_follow_the_calibration_of_their_checkpoint(exported: Path, tmp_path: Path) -> None:
    before = checkpoint_sha256(exported)
    evaluation.calibrate(str(exported), DATA, min_precision=0.5)
    assert checkpoint_sha256(exported) == before
    torch_reader = Reader.from_pretrained(exported, backend="torch")
    assert torch_reader.calibration is not None
    alone = shutil.copytree(exported / EXPORTS / "onnx", tmp_path / "alone")
    for reader in (
        Reader.from_pretrained(exported, backend="onnx"),
        Reader.from_pretrained(alone),
    ):
        assert reader.backend.name == "ONNX Runtime fp32"
        assert reader.calibration == torch_reader.calibration
        assert reader.rule == torch_reader.rule
        assert reader.config.temperature == torch_reader.config.temperature
        assert reader.config.min_precision == 0.5
    change_a_weight(exported)
    assert checkpoint_sha256(exported) != before
    with pytest.raises(ModelError, match="has changed since its onnx export"):
        Reader.from_pretrained(exported, backend="onnx")


def test_an_export_answers_by_the_configuration_of_its_checkpoint(exported: Path) -> None:
    path = exported / "config.json"
    config = json.loads(path.read_text())
    config |= {"null_threshold": -3.5, "max_answer_length": 2}
    path.write_text(json.dumps(config))
    reader = Reader.from_pretrained(exported, backend="onnx")
    assert reader.rule.null_threshold == -3.5
    assert reader.config.max_answer_length == 2
    config["head"] = "crf"  # another model, though the weights are the same
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="has changed since its onnx export"):
        Reader.from_pretrained(exported, backend="onnx")
