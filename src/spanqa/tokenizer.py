"""Loading a tokenizer, and the lower-casing trap.

A hub folder that names no tokenizer options gets the defaults of its class, and BERT's default
lower-cases. Over a cased vocabulary (SpanBERT's) that silently turns every name into other tokens.
"""

from __future__ import annotations

import warnings
from typing import Any

from transformers import AutoTokenizer

from spanqa.errors import ModelError
from spanqa.loading import UNUSABLE, loading_error

CASED_SHARE = 0.05
"""A vocabulary with a larger share of entries that hold a capital letter is taken to be cased."""


def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """The fast tokenizer of a hub id or folder, with lower-casing set right.

    Raises:
        ModelError: when there is none, or only a slow one (which knows no offsets).
    """
    settings = {"revision": revision, "use_fast": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **settings)
    except UNUSABLE as error:
        raise loading_error(name, "tokenizer", error) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"{name}: its tokenizer has no fast version, so it gives no character offsets"
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{name}: it has no vocabulary; give a folder or hub id with a tokenizer")
    if lowers_cased_vocabulary(tokenizer):
        warnings.warn(
            f"{name}: its tokenizer lower-cases over a cased vocabulary; this is switched off",
            stacklevel=2,
        )
        tokenizer = AutoTokenizer.from_pretrained(name, **settings, do_lower_case=False)
        if lowers_cased_vocabulary(tokenizer):
            raise ModelError(
                f"{name}: its tokenizer lower-cases a cased vocabulary; set do_lower_case to false"
            )
    return tokenizer


def lowers_cased_vocabulary(tokenizer: Any) -> bool:
    """Whether text is lower-cased before it is looked up in a vocabulary with capital letters."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is None or normalizer.normalize_str("Az") != "az":
        return False
    special = set(tokenizer.all_special_tokens)
    entries = [
        entry for entry in tokenizer.get_vocab() if entry not in special and "unused" not in entry
    ]
    cased = sum(entry != entry.lower() for entry in entries)
    return bool(cased > CASED_SHARE * len(entries))
