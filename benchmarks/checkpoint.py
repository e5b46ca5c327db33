"""A checkpoint as transformers 4 loads it, and questions as its pipeline reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanqa.example import Example
from spanqa.shipped import load as load_model


def as_theirs(checkpoint: str, folder: Path) -> Path:
    """Write a `*ForQuestionAnswering` checkpoint of the same weights; both sides read it.

    Args:
        checkpoint: what `Reader.from_pretrained` takes, with a softmax or joint head.
        folder: to write into.

    Raises:
        ModelError: the checkpoint cannot be used, or has a head that transformers has not.
    """
    model, tokenizer = load_model(checkpoint)
    model.to_question_answering().save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer so that both versions read it."""
    tokenizer.save_pretrained(folder)
    # Version 5 names a class that version 4 does not have.
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["model_input_names"] = list(tokenizer.model_input_names)
    path.write_text(json.dumps(settings))


def pairs(examples: Sequence[Example]) -> list[dict[str, str]]:
    """Questions with their texts."""
    return [{"question": e.question, "context": e.context} for e in examples]
