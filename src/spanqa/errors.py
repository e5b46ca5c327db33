"""What spanqa raises: one sentence that names the file, the question id or the argument.

    SpanQAError
      DataError        a data or prediction file cannot be used
      RecipeError      a recipe or an argument cannot be used
      ModelError       a checkpoint or an encoder cannot be used
      RunError         a training run failed, or lost what it needs
      WriteError       a file or folder cannot be written
      MissingExtraError  an optional dependency is not installed

Every message is shown to the user as it stands, so it says what is wrong, where, and what to do.
"""

from __future__ import annotations


class SpanQAError(ValueError):
    """Base of every error that spanqa raises on purpose."""


class DataError(SpanQAError):
    """A data or prediction file that cannot be used; names the file and the question id."""


class RecipeError(SpanQAError):
    """A recipe or an argument that cannot be used; names the key."""


class ModelError(SpanQAError):
    """A checkpoint, encoder or tokenizer that cannot be used; names the folder or the hub id."""


class RunError(SpanQAError):
    """A training run that failed, or lost a process or a machine; says how to go on."""


class WriteError(SpanQAError):
    """A file or folder that cannot be written, or that another process works on; names it."""


class MissingExtraError(SpanQAError):
    """An optional dependency is missing; says how to install it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'spanqa[{extra}]'")
