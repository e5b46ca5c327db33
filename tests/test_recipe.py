"""Recipes: what they refuse and in which words, YAML there and back, overrides, shipped ones."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.errors import RecipeError
from spanqa.recipe import (
    HEADS,
    SHIPPED,
    DataRecipe,
    DecodingRecipe,
    EncoderRecipe,
    Recipe,
    TrainingRecipe,
    WindowRecipe,
    find_recipe,
)
from spanqa.section import keys_of

REFUSED: dict[str, tuple[object, str]] = {
    "not a mapping": ([1], "a recipe must be keys with values, got [1]"),
    "nothing": (None, "a recipe must be keys with values, got nothing"),
    "empty section": ({"data": None}, "data must be keys with values, got nothing"),
    "misspelt key": (
        {"training": {"bach_size": 8}},
        "unknown key training.bach_size; did you mean training.batch_size?",
    ),
    "misspelt section": ({"trainin": {}}, "unknown key trainin; did you mean training?"),
    "key without its section": (
        {"learning_rate": 1e-4},
        "unknown key learning_rate; did you mean training.learning_rate?",
    ),
    "key like no other": (
        {1: 2},
        "unknown key 1; a recipe's parts are name, heads, seeds, data, windows, encoder, "
        "training, decoding",
    ),
    "number for text": ({"name": 2024}, "name must be text, got 2024"),
    "blank name": ({"encoder": {"name": " "}}, "encoder.name must be a name or a path, got ' '"),
    "word for a list": ({"heads": "crf"}, "heads must be a list, got 'crf'"),
    "no head": ({"heads": []}, "heads must be a list of at least one, got []"),
    "unknown head": (
        {"heads": ["crf", "crff"]},
        "heads must be one or more of softmax, joint, crf, span-crf, got ['crf', 'crff']",
    ),
    "head twice": (
        {"heads": ["crf", "crf"]},
        "heads must be without repetitions, got ['crf', 'crf']",
    ),
    "no seed": ({"seeds": []}, "seeds must be a list of at least one, got []"),
    "seed twice": ({"seeds": [1, 2, 1]}, "seeds must be without repetitions, got [1, 2, 1]"),
    "half a seed": ({"seeds": [1.5]}, "seeds must be a whole number, got 1.5"),
    "negative seed": ({"seeds": [-1]}, "seeds must be at least 0 and less than 2**32, got [-1]"),
    "batch of none": (
        {"training": {"batch_size": 0}},
        "training.batch_size must be at least 1, got 0",
    ),
    "truth for a number": (
        {"training": {"batch_size": True}},
        "training.batch_size must be a whole number, got True",
    ),
    "nothing for a number": (
        {"training": {"batch_size": None}},
        "training.batch_size must be a whole number, got nothing",
    ),
    "words for a number": (
        {"training": {"learning_rate": "2e-5x"}},
        "training.learning_rate must be a number, got '2e-5x'",
    ),
    "not a number": (
        {"training": {"learning_rate": float("nan")}},
        "training.learning_rate must be a number, got nan",
    ),
    "infinity": (
        {"training": {"weight_decay": float("inf")}},
        "training.weight_decay must be a number, got inf",
    ),
    "no epochs": ({"training": {"epochs": 0}}, "training.epochs must be more than 0, got 0.0"),
    "all warm-up": (
        {"training": {"warmup_ratio": 1}},
        "training.warmup_ratio must be at least 0 and less than 1, got 1.0",
    ),
    "unknown schedule": (
        {"training": {"schedule": "step"}},
        "training.schedule must be one of linear, cosine, constant, got 'step'",
    ),
    "list for a choice": (
        {"training": {"schedule": ["linear"]}},
        "training.schedule must be one of linear, cosine, constant, got ['linear']",
    ),
    "dropout of all": (
        {"encoder": {"hidden_dropout": 1}},
        "encoder.hidden_dropout must be at least 0 and less than 1, got 1.0",
    ),
    "calibration on everything": (
        {"data": {"calibration_fraction": 1}},
        "data.calibration_fraction must be between 0 and 1, got 1.0",
    ),
    "calibration on the reported questions": (
        {"data": {"eval": "dev.json", "calibration": "dev.json"}},
        "data.calibration must be other questions than data.eval, got 'dev.json'",
    ),
    "sample of none": ({"data": {"sample": 0}}, "data.sample must be at least 1, got 0"),
    "window without context": (
        {"windows": {"max_length": 67}},
        "windows.max_length must be more than windows.max_question_length + 3 = 67, got 67",
    ),
    "window that stands still": (
        {"windows": {"stride": 317}},
        "windows.stride must be less than windows.max_length - windows.max_question_length - 3 "
        "= 317, got 317",
    ),
    "updates of no rank": (
        {"encoder": {"lora_rank": 0}},
        "encoder.lora_rank must be at least 1, got 0",
    ),
    "updates scaled by nothing": (
        {"encoder": {"lora_alpha": 0}},
        "encoder.lora_alpha must be more than 0, got 0.0",
    ),
    "one more file that is no list": (
        {"data": {"extra": "more.json"}},
        "data.extra must be a list, got 'more.json'",
    ),
    "one more file without a name": (
        {"data": {"extra": [""]}},
        "data.extra must be names or paths, got ['']",
    ),
    "no answers kept": (
        {"decoding": {"n_best": 0}},
        "decoding.n_best must be at least 1, got 0",
    ),
}


@pytest.mark.parametrize("values, sentence", REFUSED.values(), ids=REFUSED.keys())
def test_refused_values(values: Any, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(values)
    assert str(caught.value) == sentence


def test_python_is_checked_as_yaml_is() -> None:
    with pytest.raises(RecipeError, match=r"^training\.epochs must be more than 0, got -1\.0$"):
        TrainingRecipe(epochs=-1)
    with pytest.raises(RecipeError, match=r"^data must be a DataRecipe, got 'dev.json'$"):
        Recipe(data="dev.json")  # type: ignore[arg-type]


def test_equal_values_make_equal_recipes() -> None:
    made = Recipe(heads=["crf"], training=TrainingRecipe(epochs=6))  # type: ignore[arg-type]
    read = Recipe.from_dict({"heads": ["crf"], "training": {"epochs": "6.0"}})
    assert made == read
    assert made.signature() == read.signature()
    assert made.heads == ("crf",)


def test_signature_changes_with_every_key() -> None:
    changes: dict[str, Any] = {
        "name": "other",
        "heads": ["joint"],
        "seeds": [7],
        "data.train": "a",
        "data.eval": "b",
        "data.calibration": "c",
        "data.extra": ["f"],
        "data.misaligned": "drop",
        "windows.max_length": 400,
        "encoder.name": "d",
        "encoder.revision": "e",
        "training.schedule": "cosine",
        "training.precision": "fp32",
        "training.validate_on": "eval",
        "training.report_to": ["tensorboard"],
        "training.learning_rate": 3e-5,
        "training.warmup_ratio": 0.25,
        "data.calibration_fraction": 0.25,
        "encoder.hidden_dropout": 0.25,
        "encoder.attention_dropout": 0.25,
    }
    signatures = {Recipe().signature()}
    for key in keys_of(Recipe):
        signatures.add(Recipe().override({key: changes.get(key, 100)}).signature())
    assert len(signatures) == len(keys_of(Recipe)) + 1


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
fractions = st.floats(0, 1, exclude_min=True, exclude_max=True)
counts = st.integers(1, 10**6)
recipes = st.builds(
    Recipe,
    name=names,
    heads=st.lists(st.sampled_from(HEADS), min_size=1, unique=True).map(tuple),
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, unique=True).map(tuple),
    data=st.builds(
        DataRecipe,
        train=names,
        eval=names,
        calibration_fraction=fractions,
        sample=st.none() | counts,
    ),
    windows=st.builds(WindowRecipe, stride=st.integers(0, 316)),
    encoder=st.builds(EncoderRecipe, revision=st.none() | names, hidden_dropout=fractions),
    training=st.builds(
        TrainingRecipe,
        learning_rate=fractions,
        batch_size=counts,
        report_to=st.lists(names).map(tuple),
    ),
    decoding=st.builds(DecodingRecipe, n_best=counts),
)


@given(recipes)
@settings(deadline=None, max_examples=50)
def test_yaml_there_and_back(recipe: Recipe) -> None:
    assert Recipe.from_dict(yaml.safe_load(recipe.to_yaml())) == recipe


def test_a_file_there_and_back(tmp_path: Path) -> None:
    recipe = Recipe(name="Zoë’s 比較", data=DataRecipe(train="squad_v2:train[:1000]"))
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(path) == recipe
    path.write_text("\ufeff" + recipe.to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(path) == recipe


def test_keys_left_out_keep_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("training:\n  learning_rate: 3e-5\n", encoding="utf-8")  # text in YAML 1.1
    assert Recipe.from_yaml(path) == Recipe(training=TrainingRecipe(learning_rate=3e-5))


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "a recipe must be keys with values, got nothing"),
        (b"heads: [crf\nseeds: 1", "is not YAML: expected ',' or ']', but got ':' in line 2"),
        (b"training:\n  epoch: 2", "unknown key training.epoch; did you mean training.epochs?"),
        (b"name: \xff", "is not UTF-8 text"),
        (b"name: \x00", "is not YAML: unacceptable character #x0000"),
        (b"name: !!python/name:os.system x", "is not YAML: could not determine a constructor"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(path)
    assert str(caught.value).startswith(f"{path}: {sentence}")
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none.yaml: cannot be read: No such file or directory$"):
        Recipe.from_yaml(tmp_path / "none.yaml")


def test_overrides_take_text_for_numbers() -> None:
    changed = Recipe().override(
        {"training.epochs": "2", "training.batch_size": "16", "seeds": ["1", 2], "data.sample": 9}
    )
    assert changed.training == TrainingRecipe(epochs=2.0, batch_size=16)
    assert changed.seeds == (1, 2)
    assert changed.override({"data.sample": None}).data == DataRecipe()


@pytest.mark.parametrize("key", ["training.epoch", "training", "epochs.training.x", ""])
def test_overrides_refuse_unknown_keys(key: str) -> None:
    with pytest.raises(RecipeError, match=r"^unknown key"):
        Recipe().override({key: 1})


def test_overrides_are_checked_together() -> None:
    small = {"windows.max_length": 64, "windows.max_question_length": 16, "windows.stride": 16}
    assert Recipe().override(small).windows == WindowRecipe(64, 16, 16)


@pytest.mark.parametrize("name", ["demo", "minilm-squad2", "reader", "spanbert-squad2"])
def test_shipped_recipes(name: str) -> None:
    path = find_recipe(name)
    assert path.parent == SHIPPED
    assert Recipe.from_yaml(path).name == name


def test_the_published_recipe() -> None:
    recipe = Recipe.from_yaml(find_recipe("spanbert-squad2"))
    assert recipe.encoder.name == "SpanBERT/spanbert-base-cased"
    assert (recipe.heads, recipe.data.sample) == (("softmax", "crf"), 15000)
    assert recipe.windows == WindowRecipe(max_length=384, stride=128)
    expected = TrainingRecipe(
        epochs=6, batch_size=8, learning_rate=2e-5, schedule="linear", validate_on="eval"
    )
    assert recipe.training == expected


def test_a_recipe_by_path_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine", encoding="utf-8")
    assert find_recipe(path) == find_recipe(str(path)) == path
    with pytest.raises(RecipeError, match=r"^mine is neither .* recipes: demo, minilm-squad2, "):
        find_recipe("mine")


@pytest.mark.parametrize(
    "section", [DataRecipe, WindowRecipe, EncoderRecipe, TrainingRecipe, DecodingRecipe]
)
def test_every_section_names_its_keys(section: type[DataRecipe]) -> None:
    keys = [f"{section.prefix}{field.name}" for field in fields(section)]
    assert set(keys) <= set(keys_of(Recipe))


def test_a_rare_line_break_survives_yaml() -> None:
    recipe = Recipe(name="one\x85two\u2028three")
    assert Recipe.from_dict(yaml.safe_load(recipe.to_yaml())) == recipe
