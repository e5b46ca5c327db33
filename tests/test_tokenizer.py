"""Loading a tokenizer: the lower-casing trap, and folders that hold none that can be used."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, BertConfig, CanineConfig, CanineTokenizer

from spanqa.errors import ModelError
from spanqa.tokenizer import load_tokenizer, lowers_cased_vocabulary

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNCASED = ("the", "river", "len", "##na", "rises", "in", "paris", "##s", "a", "z")
CASED = ("The", "the", "river", "Len", "##na", "rises", "in", "Paris", "##S", "A", "a", "Z", "z")


def bert_folder(folder: Path, vocabulary: tuple[str, ...]) -> Path:
    """A folder as SpanBERT's on the hub: a vocabulary, and a configuration of the model alone."""
    folder.mkdir()
    entries = "\n".join(SPECIAL + vocabulary) + "\n"
    (folder / "vocab.txt").write_text(entries, encoding="utf-8")
    BertConfig(vocab_size=len(SPECIAL + vocabulary)).save_pretrained(folder)
    return folder


@pytest.fixture
def cased(tmp_path: Path) -> Path:
    return bert_folder(tmp_path / "cased", CASED)


def tokens(tokenizer: Any, text: str = "The Lenna rises in Paris") -> list[str]:
    found: list[str] = tokenizer.tokenize(text)
    return found


def test_the_trap_is_there(cased: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(cased)
    assert tokens(tokenizer) == ["the", "[UNK]", "rises", "in", "[UNK]"]
    assert lowers_cased_vocabulary(tokenizer)


def test_lower_casing_over_a_cased_vocabulary_is_switched_off(cased: Path) -> None:
    with pytest.warns(UserWarning, match=r"cased: its tokenizer lower-cases over a cased vocab"):
        tokenizer = load_tokenizer(str(cased))
    assert tokens(tokenizer) == ["The", "Len", "##na", "rises", "in", "Paris"]
    assert not lowers_cased_vocabulary(tokenizer)


def test_it_stays_off_in_a_checkpoint(cased: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="lower-cases"):
        load_tokenizer(str(cased)).save_pretrained(tmp_path / "checkpoint")
    BertConfig().save_pretrained(tmp_path / "checkpoint")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_tokenizer(str(tmp_path / "checkpoint"))
    expected = ["The", "Len", "##na", "rises", "in", "Paris"]
    assert tokens(again) == expected
    assert tokens(AutoTokenizer.from_pretrained(tmp_path / "checkpoint")) == expected


def test_a_cased_folder_that_says_so_is_left_alone(cased: Path) -> None:
    (cased / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert tokens(load_tokenizer(str(cased)))[0] == "The"


def test_an_uncased_vocabulary_is_left_alone(tmp_path: Path) -> None:
    # Special tokens and unused places are in capitals everywhere.
    unused = tuple(f"[unused{i}]" for i in range(50))
    tokenizer = load_tokenizer(str(bert_folder(tmp_path / "uncased", UNCASED + unused)))
    assert tokens(tokenizer) == ["the", "len", "##na", "rises", "in", "paris"]


@pytest.mark.parametrize(
    "fixture", ["tiny_tokenizer", "tiny_bpe_tokenizer", "tiny_unigram_tokenizer"]
)
def test_other_tokenizers_are_left_alone(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made = request.getfixturevalue(fixture)
    assert not lowers_cased_vocabulary(made)
    made.save_pretrained(tmp_path)
    BertConfig().save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    text = "Zoë Brånd drew the plans."
    assert loaded(text)["input_ids"] == made(text)["input_ids"]


def test_a_lower_casing_that_cannot_be_switched_off_is_refused(
    cased: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowering = AutoTokenizer.from_pretrained(cased)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: lowering)
    with (
        pytest.warns(UserWarning, match="lower-cases"),
        pytest.raises(ModelError, match=r"cased: .*set do_lower_case to false"),
    ):
        load_tokenizer(str(cased))


def test_a_slow_tokenizer_is_refused(tmp_path: Path) -> None:
    CanineConfig().save_pretrained(tmp_path)
    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its tokenizer has no fast version, so it gives no char"):
        load_tokenizer(str(tmp_path))


def nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def no_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").unlink()


def broken_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def foreign_code(folder: Path) -> None:
    settings = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text('{"model_type": "evil"}')
    (folder / "evil.py").write_text("raise SystemExit('custom code was run')")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "there is no such folder"),
        (nothing, "cannot be loaded"),
        (no_vocabulary, "it has no vocabulary"),
        (broken_json, "cannot be loaded"),
        (foreign_code, "contains custom code"),
    ],
)
def test_a_folder_that_cannot_be_used_ends_in_one_sentence(
    cased: Path, damage: Any, said: str
) -> None:
    damage(cased)
    with pytest.raises(ModelError) as raised:
        load_tokenizer(str(cased))
    message = str(raised.value)
    assert message.startswith(f"{cased}: ")
    assert said in message
    assert "\n" not in message
    assert ". " not in message.removeprefix(str(cased))


def test_a_hub_id_out_of_reach_ends_in_one_sentence() -> None:
    with pytest.raises(ModelError, match=r"^no-such/tokenizer: its tokenizer cannot be loaded"):
        load_tokenizer("no-such/tokenizer")
