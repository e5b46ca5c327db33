"""The reader that comes with spanqa, and loading whatever a model may be named by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from spanqa.adapter import SETTINGS, Adapter
from spanqa.loading import UNUSABLE, loading_error
from spanqa.manifest import ANSWERING
from spanqa.model import SpanQAConfig, SpanQAModel, resolve_encoder
from spanqa.tokenizer import load_tokenizer

DEFAULT = "default"
"""Name of the reader that comes with spanqa; a folder of that name is `./default`."""
SHIPPED = Path(__file__).parent / "readers" / "minilm"
"""Its adapter, for the encoder of the `offline` extra."""


def folder_of(name: str) -> Path:
    """Where a model of that name lies, if it is no hub id."""
    return SHIPPED if name == DEFAULT else Path(name)


def load(name: str, revision: str | None = None) -> tuple[SpanQAModel, Any]:
    """A model and its tokenizer.

    Args:
        name: `default`; a folder with a model or an adapter, as `spanqa train` writes them; or the
            folder or hub id of any `*ForQuestionAnswering` model.
        revision: branch, tag or commit on the hub.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        MissingExtraError: it needs the encoder of the `offline` extra, which is not installed.
    """
    folder = folder_of(name)
    if (folder / SETTINGS).is_file():
        return load_adapted(folder)
    return SpanQAModel.from_pretrained(name, revision=revision), load_tokenizer(name, revision)


def load_adapted(folder: Path) -> tuple[SpanQAModel, Any]:
    """An encoder with the adapter in `folder` merged into it, and the encoder's tokenizer.

    Raises:
        SpanQAError: as `load`.
    """
    adapter = Adapter.load(folder)
    origin = adapter.origin
    try:
        config = SpanQAConfig.from_pretrained(folder, local_files_only=True)
    except UNUSABLE as error:
        raise loading_error(str(folder), "config.json", error) from error
    model = SpanQAModel.from_encoder(
        origin.encoder,
        config.head,
        revision=origin.revision,
        **{name: getattr(config, name) for name in ANSWERING},
    )
    adapter.merge_into(model)
    nn.Module.eval(model)
    return model, load_tokenizer(resolve_encoder(origin.encoder), origin.revision)
