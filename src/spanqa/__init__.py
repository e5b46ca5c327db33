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
    from spanqa.errors import SpanQAError
    from spanqa.metrics import evaluate
    from spanqa.model import SpanQAConfig, SpanQAModel
    from spanqa.reader import Reader
    from spanqa.recipe import Recipe

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Example",
    "Reader",
    "Recipe",
    "Reference",
    "SpanQAConfig",
    "SpanQAError",
    "SpanQAModel",
    "__version__",
    "compare",
    "evaluate",
    "load",
]

_MODULE_OF = {
    "Answer": "answer",
    "Example": "data",
    "Reader": "reader",
    "Recipe": "recipe",
    "Reference": "data",
    "SpanQAConfig": "model",
    "SpanQAError": "errors",
    "SpanQAModel": "model",
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
