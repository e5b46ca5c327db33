"""What can be wrong with a folder or hub id that a model or a tokenizer is loaded from."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import HFValidationError, StrictDataclassError
from safetensors import SafetensorError

from spanqa.errors import ModelError
from spanqa.records import read_json

UNUSABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers and torch raise over damaged or foreign files."""
_NO_CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"
PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


def loading_error(name: str, what: str, error: Exception) -> ModelError:
    """What is wrong with `what` of a folder or hub id, in one sentence."""
    if isinstance(error, ModelError):
        return error if name in str(error) else ModelError(f"{name}: {error}")
    if isinstance(error, HFValidationError) or isinstance(error.__cause__, HFValidationError):
        return ModelError(f"{name}: there is no such folder, and it is not an id on the model hub")
    reason = " ".join(str(error).split())
    if "ignore_mismatched_sizes" in reason:
        reason = "its weights have other shapes than config.json says"
    elif isinstance(error, LookupError | TypeError | AttributeError | AssertionError):
        reason = f"{type(error).__name__}: {reason}"
    first_sentence = re.split(r"(?<=\w)\.\s", reason)[0].rstrip(".")
    return ModelError(f"{name}: its {what} cannot be loaded ({first_sentence})")


def weights_error(name: str, error: Exception) -> ModelError:
    """The same of a model; says how to convert pickled weights."""
    folder = Path(name)
    pickled = [path.name for pattern in PICKLED for path in sorted(folder.glob(pattern))]
    if pickled and not any(folder.glob("*.safetensors")):
        what = f"{pickled[0]} is a pickle, which can run code when it is loaded, so it is refused;"
    elif "cannot be loaded with `safetensors`" in str(error):  # on the hub
        what = (
            "it has no model.safetensors, and pickles, which can run code, are refused; name a "
            "revision that has one, or"
        )
    else:
        return loading_error(name, "model", error)
    return ModelError(
        f"{name}: {what} convert it once where you trust it: torch.load(FILE, weights_only=True), "
        "then safetensors.torch.save_file(weights, 'model.safetensors')"
    )


def require_own_weights(folder: Path) -> None:
    """Refuses a folder whose index of weights names files of other folders.

    Raises:
        SpanQAError: it does, or its index is damaged.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    content = read_json(index)
    weights = content.get("weight_map") if isinstance(content, dict) else None
    for name in weights.values() if isinstance(weights, dict) else [None]:
        if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
            raise ModelError(
                f"{index}: {name!r} is no file in its folder; load a model that is whole"
            )


def require_weights(name: str, missing: Iterable[str]) -> None:
    """Refuses a checkpoint that would be filled up with random weights.

    Raises:
        ModelError: weights are missing, other than those of a pooling layer, which nobody reads.
    """
    needed = sorted(key for key in missing if "pooler" not in key)
    if needed:
        raise ModelError(
            f"{name}: its weights lack {needed[0]} ({len(needed)} missing in all); "
            "load a checkpoint that is whole"
        )


@contextmanager
def as_published() -> Iterator[None]:
    """Loads weights of the revision that was named, and no others.

    Where a hub id has pickles alone, transformers asks a service to convert them, and loads what it
    finds in an open pull request.
    """
    before = os.environ.get(_NO_CONVERSION)
    os.environ[_NO_CONVERSION] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NO_CONVERSION]
        else:
            os.environ[_NO_CONVERSION] = before


@contextmanager
def without_report() -> Iterator[None]:
    """Leaves out transformers' table of unread weights; `require_weights` sees to missing ones."""

    def no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(no_report)  # a level would do too, but transformers has checks that go by it
    try:
        yield
    finally:
        logger.removeFilter(no_report)
