"""YAML without what a recipe has no need of: aliases, keys given twice, tags that make objects.

Aliases let a text of a few lines stand for billions of values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from spanqa.errors import DataError, RecipeError
from spanqa.limits import MAX_RECIPE, read_whole
from spanqa.rows import printable


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses aliases and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="an alias, which recipes do not have, stands", problem_mark=mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {printable(key.value)} stands a second time",
                        problem_mark=key.start_mark,
                    )
                keys.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The plain values in a YAML file.

    Raises:
        RecipeError: it cannot be read; the message does not name the file.
    """
    try:
        content = read_whole(path, MAX_RECIPE)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}") from error
    except DataError as error:
        raise RecipeError(str(error).removeprefix(f"{path}: ")) from error
    try:
        return yaml.load(content.decode("utf-8-sig"), _Loader)
    except UnicodeDecodeError as error:
        raise RecipeError("is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise RecipeError(f"is not YAML: {error.problem} in line {line}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise RecipeError("is not a recipe: it is nested too deeply") from error
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # PyYAML's own, over values that their tags do not fit, such as the date 2001-99-99
        raise RecipeError(f"is not YAML: a value does not fit its type ({error})") from error
