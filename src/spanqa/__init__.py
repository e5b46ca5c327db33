"""Extractive question answering: span heads on any encoder, compared honestly.

Names are loaded on first use, so that `import spanqa` stays quick and free of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spanqa.answer import Answer
    from spanqa.comparison import compare
    from spanqa.data import Example, Reference, load
    from spanqa.errors import (
        DataError,
        MissingExtraError,
        ModelError,
        RecipeError,
        RunError,
        SpanQAError,
        WriteError,
    )
    from spanqa.metrics import evaluate
    from spanqa.model import SpanQAConfig, SpanQAModel
    from spanqa.reader import Reader
    from spanqa.recipe import Recipe

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "DataError",
    "Example",
    "MissingExtraError",
    "ModelError",
    "Reader",
    "Recipe",
    "RecipeError",
    "Reference",
    "RunError",
    "SpanQAConfig",
    "SpanQAError",
    "SpanQAModel",
    "WriteError",
    "__version__",
    "compare",
    "evaluate",
    "load",
]

_MODULE_OF = {
    "Answer": "answer",
    "DataError": "errors",
    "Example": "data",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "Reader": "reader",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "Reference": "data",
    "RunError": "errors",
    "SpanQAConfig": "model",
    "SpanQAError": "errors",
    "SpanQAModel": "model",
    "WriteError": "errors",
    "compare": "comparison",
    "evaluate": "metrics",
    "load": "data",
}


def __getattr__(name: str) -> Any:
    """Import the module behind a public name on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'spanqa' has no attribute {name!r}")
    value = getattr(import_module(f"spanqa.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
