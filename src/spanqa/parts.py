"""What the models of transformers are made of: encoder, sometimes one more layer, linear output."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from torch import nn
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    PreTrainedConfig,
    PreTrainedModel,
)

from spanqa.errors import ModelError, RecipeError

MORE_THAN_PARTS = ("longformer",)
"""Their question-answering class does something else too: global attention on the question."""


HIDDEN = ("hidden_dropout_prob", "hidden_dropout", "dropout", "embedding_dropout", "mlp_dropout")
ATTENTION = ("attention_probs_dropout_prob", "attention_dropout")
"""What configurations call the dropouts of an encoder; a few have several."""


def set_dropouts(config: Any, hidden: float | None, attention: float | None) -> None:
    """Set the dropouts of an encoder's configuration; None leaves its own.

    Raises:
        RecipeError: it has no such dropout.
    """
    for option, value, names in (
        ("hidden_dropout", hidden, HIDDEN),
        ("attention_dropout", attention, ATTENTION),
    ):
        if value is None:
            continue
        found = [name for name in names if hasattr(config, name)]
        if not found:
            raise RecipeError(
                f"encoder.{option} is {value}, but {config.model_type} encoders have no such "
                "dropout; leave it out"
            )
        for name in found:
            setattr(config, name, value)


def without_pooling(config: PreTrainedConfig) -> dict[str, bool]:
    """Leaves out the pooling layer, which no span head reads, where an encoder has the choice."""
    found: Any = AutoModel._model_mapping[type(config)]
    model_class = found[0] if isinstance(found, tuple) else found
    optional = "add_pooling_layer" in inspect.signature(model_class).parameters
    return {"add_pooling_layer": False} if optional else {}


def empty_encoder(config: Any) -> PreTrainedModel:
    """An encoder without weights."""
    encoder: PreTrainedModel = AutoModel.from_config(
        config, trust_remote_code=False, **without_pooling(config)
    )
    return encoder


def empty_neck(config: Any, name: str | None) -> nn.Module | None:
    """The layer `name` behind an encoder in its `*ForQuestionAnswering` class, without weights."""
    if name is None:
        return None
    theirs: PreTrainedModel = AutoModelForQuestionAnswering.from_config(
        config, trust_remote_code=False
    )
    return theirs.get_submodule(name)


class Parts(NamedTuple):
    """What a `*ForQuestionAnswering` model is made of, besides dropout."""

    encoder: PreTrainedModel
    neck: str | None
    classifier: nn.Linear


def parts_of(theirs: PreTrainedModel) -> Parts:
    """Encoder, name of the layer behind it if there is one, and linear output.

    Raises:
        ModelError: when it is made of anything else.
    """
    encoder = getattr(theirs, theirs.base_model_prefix, None)
    others = {
        name: child
        for name, child in theirs.named_children()
        if child is not encoder and not isinstance(child, nn.Dropout)
    }
    linear = [child for child in others.values() if isinstance(child, nn.Linear)]
    necks = [name for name, child in others.items() if not isinstance(child, nn.Linear)]
    plain = theirs.config.model_type not in MORE_THAN_PARTS and len(necks) <= 1
    if plain and isinstance(encoder, PreTrainedModel) and len(linear) == 1:
        classifier = linear[0]
        if (classifier.in_features, classifier.out_features) == (encoder.config.hidden_size, 2):
            return Parts(encoder, necks[0] if necks else None, classifier)
    raise ModelError(
        f"{type(theirs).__name__} is not an encoder with one linear output for start and end, "
        "so it cannot be used"
    )
