"""Folders that would run code, read elsewhere or fill the memory: refused, and nothing happens."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import external_data_helper as external
from transformers import BertConfig

from spanqa.adapter import Adapter, Origin
from spanqa.choice import load as load_any
from spanqa.errors import ModelError, SpanQAError
from spanqa.folders import SEAL, seal, sha256
from spanqa.manifest import EXPORTS, MANIFEST, Manifest
from spanqa.model import SpanQAModel
from spanqa.onnx_backend import FILE
from spanqa.reader import Reader
from spanqa.tokenizer import load_tokenizer

CANARY = "canary"


class Pickled:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A path at which code that was run would leave a file."""
    path = tmp_path / CANARY
    yield path
    assert not path.exists(), "code was run"


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(load: Callable[[], object], folder: Path, said: str = ".") -> None:
    """Assert that loading ends in one sentence that names the folder."""
    with pytest.raises(SpanQAError, match=said) as caught:
        load()
    sentence = str(caught.value)
    assert sentence.startswith(str(folder))
    assert sentence.isprintable()
    assert len(sentence) < 1_000


# Pickles


def test_the_canary_sings(tmp_path: Path) -> None:
    path = tmp_path / "sung"
    pickle.loads(pickle.dumps(Pickled(path)))
    assert path.exists()


PICKLES = ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "x.ckpt")


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_in_place_of_the_weights_is_refused(name: str, folder: Path, canary: Path) -> None:
    (folder / name).write_bytes(pickle.dumps(Pickled(canary)))
    (folder / "model.safetensors").unlink()
    said = f"{name} is a pickle, which can run code when it is loaded, so it is refused"
    for load in (SpanQAModel.from_pretrained, Reader.from_pretrained):
        refused(lambda load=load: load(str(folder)), folder, said)  # type: ignore[misc]


def test_a_pickle_beside_the_weights_is_not_read(folder: Path, canary: Path) -> None:
    for name in (*PICKLES, "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(pickle.dumps(Pickled(canary)))
    Reader.from_pretrained(str(folder), backend="torch")


@pytest.mark.parametrize("name", ["model.safetensors", "adapter.safetensors"])
def test_a_pickle_under_the_name_of_safetensors_is_refused(
    name: str, folder: Path, canary: Path
) -> None:
    if name.startswith("adapter"):
        Adapter(Origin("offline", None, "0", 1.0), {}).save(folder)
    (folder / name).write_bytes(pickle.dumps(Pickled(canary)))
    refused(lambda: Reader.from_pretrained(str(folder), backend="torch"), folder, "cannot be load")


@pytest.mark.parametrize("load", [SpanQAModel.from_pretrained, SpanQAModel.from_encoder])
def test_pickles_of_the_hub_are_not_converted_by_others(
    load: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[str] = []
    config = BertConfig(architectures=["BertForQuestionAnswering"])
    monkeypatch.setattr(
        "spanqa.model.AutoConfig.from_pretrained",
        lambda *_, return_unused_kwargs=False, revision=None, trust_remote_code=None, **rest: (
            (config, rest) if return_unused_kwargs else config
        ),
    )
    monkeypatch.setattr("transformers.modeling_utils.cached_file", lambda *_, **__: None)
    monkeypatch.setattr("transformers.modeling_utils.is_offline_mode", lambda: False)

    def convert(name: str, **_: Any) -> tuple[None, str, bool]:
        converted.append(name)
        return None, "refs/pr/1", False

    monkeypatch.setattr("transformers.modeling_utils.auto_conversion", convert)
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    more = ("softmax",) if load == SpanQAModel.from_encoder else ()
    with pytest.raises(ModelError, match=r"it has no model\.safetensors, and pickles, which"):
        load("someone/pickles", *more)
    assert converted == []
    assert "DISABLE_SAFETENSORS_CONVERSION" not in os.environ


# Code of their own


def test_code_beside_a_model_is_not_run(folder: Path, canary: Path) -> None:
    code = f"from pathlib import Path\nPath({str(canary)!r}).touch()\nclass Evil: pass\n"
    for name in (
        "evil.py",
        "modeling_evil.py",
        "configuration_evil.py",
        "__init__.py",
        "conftest.py",
    ):
        (folder / name).write_text(code)
    names = ("AutoConfig", "AutoModel", "AutoModelForQuestionAnswering", "AutoTokenizer")
    auto = {name: "evil.Evil" for name in names}
    tokenizer = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    change(folder / "config.json", auto_map=auto)
    change(folder / "tokenizer_config.json", auto_map=tokenizer)
    Reader.from_pretrained(str(folder), backend="torch")  # of a known type, it is not needed
    change(folder / "config.json", model_type="evil")
    refused(lambda: SpanQAModel.from_pretrained(folder), folder, "contains custom code")
    refused(lambda: Reader.from_pretrained(str(folder)), folder, "custom code")


def test_code_of_an_encoder_is_not_run(folder: Path, canary: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    encoder = json.loads((folder / "config.json").read_text())["encoder_config"]
    auto = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}
    change(folder / "config.json", encoder_config=encoder | {"auto_map": auto})
    SpanQAModel.from_pretrained(folder)
    change(folder / "config.json", encoder_config={"model_type": "evil", "auto_map": auto})
    refused(lambda: SpanQAModel.from_pretrained(folder), folder)


@pytest.mark.parametrize(
    "values",
    [
        {"tokenizer_class": "EvilTokenizer"},
        {"tokenizer_class": "os.system"},
        {"tokenizer_class": 7},
        {"tokenizer_class": None, "auto_map": {"AutoTokenizer": "evil.Evil"}},
        {"added_tokens_decoder": {"x": "y"}},
        {"model_max_length": "long"},
    ],
)
def test_settings_of_a_tokenizer_that_are_none(
    values: dict[str, Any], folder: Path, canary: Path
) -> None:
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    change(folder / "tokenizer_config.json", **values)
    try:
        load_tokenizer(str(folder))
    except ModelError as error:
        assert str(error).startswith(str(folder))
        assert str(error).isprintable()


# Weights


def header(length: int, content: bytes) -> bytes:
    return struct.pack("<Q", length) + content


def entry(shape: list[int], begin: int, end: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def tensors(**entries: Any) -> bytes:
    content = json.dumps(entries).encode()
    return header(len(content), content) + bytes(64)


HEADERS = {
    "empty": b"",
    "of eight bytes": header(0, b""),
    "of all that there is": header(2**64 - 1, b"{}"),
    "of a gigabyte": header(2**30, b"{}"),
    "no JSON": header(5, b"nonse"),
    "deep": header(200_000, b"[" * 200_000),
    "overlapping": tensors(a=entry([8], 0, 32), b=entry([8], 16, 48)),
    "beyond the end": tensors(a=entry([2**40], 0, 2**42)),
    "backwards": tensors(a=entry([8], 32, 0)),
    "too many elements": tensors(a=entry([2**62, 2**62], 0, 64)),
    "negative": tensors(a=entry([-8], 0, 32)),
    "of no known type": tensors(a=entry([16], 0, 64, "PICKLE")),
    "with holes": tensors(a=entry([4], 48, 64)),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_hostile_header_is_refused(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    refused(lambda: SpanQAModel.from_pretrained(folder), folder, "cannot be loaded|weights lack")
    Adapter(Origin("offline", None, "0", 1.0), {}).save(folder)
    (folder / "adapter.safetensors").write_bytes(content)
    refused(lambda: Adapter.load(folder), folder, "its adapter cannot be loaded")


def test_an_index_cannot_name_weights_of_another_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    names = ("../elsewhere.safetensors", str(tmp_path / "elsewhere.safetensors"), "..", "", 7)
    index = folder / "model.safetensors.index.json"
    for name in names:
        index.write_text(json.dumps({"metadata": {}, "weight_map": {"encoder.x": name}}))
        refused(lambda: SpanQAModel.from_pretrained(folder), folder, "is no file in its folder")
        refused(lambda: SpanQAModel.from_encoder(str(folder), "crf"), folder, "is no file in its")


# Configurations of wrong types

JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 10**30, 10**400, 1e308, "x", "", [], [[]], {}, {"a": []}]
)


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_in_a_configuration(
    data: st.DataObject, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Either it does not matter, or one sentence says that the folder cannot be used."""
    folder = tmp_path_factory.mktemp("config") / "model"
    shutil.copytree(tiny_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    inside = data.draw(st.booleans())
    holder = config["encoder_config"] if inside else config
    # What sizes the weights would only ask for memory, which is not what this is about.
    sizes = {
        *("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"),
        *("max_position_embeddings", "type_vocab_size"),
    }
    key = data.draw(st.sampled_from(sorted(set(holder) - sizes)))
    holder[key] = data.draw(JUNK)
    (folder / "config.json").write_text(json.dumps(config))
    try:
        SpanQAModel.from_pretrained(folder)
    except ModelError as error:
        assert str(error).startswith(str(folder))
        assert str(error).isprintable()


def test_a_padding_token_outside_the_vocabulary(tiny_model_folder: Path, tmp_path: Path) -> None:
    """torch only asserts that it is inside."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["encoder_config"]["pad_token_id"] = 10**6
    (folder / "config.json").write_text(json.dumps(config))
    refused(lambda: SpanQAModel.from_pretrained(folder), folder, "Padding_idx must be within")


@pytest.mark.parametrize("name", ["adapter.json", "config.json"])
@settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(value=JUNK | st.dictionaries(st.sampled_from(["encoder", "scale", "head"]), JUNK))
def test_any_value_in_place_of_a_file(
    name: str, value: Any, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("adapter") / "model"
    shutil.copytree(tiny_model_folder, folder)
    Adapter(Origin("offline", None, "0", 1.0), {}).save(folder)
    (folder / name).write_text(json.dumps(value))
    with pytest.raises(SpanQAError) as caught:
        Reader.from_pretrained(str(folder), backend="torch")
    assert str(caught.value).isprintable()


# Exports


@pytest.fixture
def exported(tiny_exported_folder: Path, tmp_path: Path) -> Path:
    """The folder of an export whose graph is to be changed."""
    return Path(shutil.copytree(tiny_exported_folder / EXPORTS / "onnx", tmp_path / "a" / "export"))


def sign(folder: Path) -> None:
    """Make the hashes those of the files, as whoever changes them would."""
    path = folder / MANIFEST
    change(path, files={name: sha256(folder / name) for name in Manifest.load(folder).files})


@pytest.mark.parametrize("location", ["../../secret.bin", "{tmp}/secret.bin", "link.bin"])
def test_an_export_cannot_read_weights_elsewhere(
    location: str, exported: Path, tmp_path: Path
) -> None:
    model = onnx.load(exported / FILE)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (tmp_path / "secret.bin").write_bytes(np.zeros(len(weights.raw_data), np.uint8).tobytes())
    (exported / "link.bin").symlink_to(tmp_path / "secret.bin")
    external.set_external_data(weights, location.format(tmp=tmp_path))
    weights.ClearField("raw_data")
    (exported / FILE).write_bytes(model.SerializeToString())
    sign(exported)
    refused(lambda: load_any(str(exported)), exported, "model.onnx")


@pytest.mark.parametrize("content", [b"", b"\x08", b"\0" * 100, b"not a graph", bytes(range(256))])
def test_a_graph_that_is_none_is_refused(content: bytes, exported: Path) -> None:
    (exported / FILE).write_bytes(content)
    sign(exported)
    refused(lambda: load_any(str(exported)), exported, "ONNX Runtime cannot load it")


def test_a_graph_of_operators_of_its_own_is_refused(exported: Path) -> None:
    model = onnx.load(exported / FILE)
    model.graph.node[0].domain = "evil"
    model.opset_import.append(onnx.helper.make_opsetid("evil", 1))
    (exported / FILE).write_bytes(model.SerializeToString())
    sign(exported)
    refused(lambda: load_any(str(exported)), exported, "ONNX Runtime cannot load it")


ELSEWHERE = ("../x", "/etc/passwd", "", ".", "..", "a/../../x", "a\0b", "a" * 300)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_model_cannot_vouch_for_files_elsewhere(name: str, folder: Path) -> None:
    """Its sums would tell whoever sends it what lies there."""
    seal(folder)
    sums = json.loads((folder / SEAL).read_text())
    change(folder / SEAL, **{name: "0" * 64})
    refused(lambda: SpanQAModel.from_pretrained(folder), folder, "is no name of a file in its fol")
    (folder / SEAL).write_text(json.dumps({name: "0" * 64} | sums))
    refused(lambda: Reader.from_pretrained(str(folder)), folder, "is no name of a file in its fol")


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_export_cannot_vouch_for_files_elsewhere(name: str, exported: Path) -> None:
    files = Manifest.load(exported).files
    change(exported / MANIFEST, files=files | {name: "0" * 64})
    refused(lambda: load_any(str(exported)), exported, "is no name of a file in its folder")
