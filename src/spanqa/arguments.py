"""What commands of the command line take: types with their names and help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, ArgumentCollection, Group, Parameter
from cyclopts.config import Dict
from cyclopts.types import PositiveInt

from spanqa.recipe import Recipe, find_recipe
from spanqa.settings import BatchSettings, ServerSettings

_VALUES = Group(
    "Values of the recipe",
    help="Each replaces the recipe's own. The defaults are for what a recipe leaves out; "
    "`none` empties a value.",
    sort_key=10,
)
_ONE_RUN = r"^(?!(heads|seeds)$)"  # fields of a recipe but those that --head and --seed replace
DEFAULTS = Recipe()

Values = Annotated[Recipe, Parameter(name="*", consume_multiple=True, group=_VALUES)]
RunValues = Annotated[
    Recipe,
    Parameter(name="*", consume_multiple=True, group=_VALUES, parse=_ONE_RUN),
]
DEFAULT_SETTINGS = ServerSettings()
Settings = Annotated[
    ServerSettings,
    Parameter(name="*", consume_multiple=True, group=Group("Settings of the server", sort_key=10)),
]

DEFAULT_BATCH = BatchSettings()
Batch = Annotated[
    BatchSettings,
    Parameter(name="*", consume_multiple=True, group=Group("Rows and workers", sort_key=10)),
]


@dataclass(frozen=True)
class ReadingOptions:
    """How a model answers: arguments of `Reader.from_pretrained`."""

    backend: str = "auto"
    """What runs the model: auto (the fastest that was measured on this CPU), torch, torch-bf16, or
    an export beside the model: onnx, onnx-int8, openvino, openvino-int8."""
    batch_size: PositiveInt = 8
    """Windows of the longest kind in a batch."""
    min_precision: float | None = None
    """Give only answers of which at least this share are right, as far as the calibration questions
    can show it."""


AS_TRAINED = ReadingOptions()
Reading = Annotated[ReadingOptions, Parameter(name="*")]
Output = Annotated[Path, Parameter(alias="-o")]
MaybeOutput = Annotated[Path | None, Parameter(alias="-o")]
AsJson = Annotated[bool, Parameter(name="--json")]


def fill_from_recipe(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give every value that the command line leaves out the one in the recipe's file.

    The file is checked by itself first, so that an error names the file.
    """
    named = [a for a in arguments if a.field_info.name == "recipe" and a.tokens]
    path = find_recipe(named[0].tokens[0].value if named else "demo")
    values = Recipe.from_yaml(path).to_dict()
    fill = Dict(values, source=str(path), use_commands_as_keys=False, allow_unknown=True)
    fill(app, commands, arguments)


def shown(default: object) -> str | None:
    """A default as one would type it; nothing for a flag or an empty value."""
    if default is None or default is False or default == ():
        return None
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
