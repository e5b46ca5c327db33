"""Training files beside the first: what is taken from them, and what is left to calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spanqa.data import load, write_squad
from spanqa.errors import DataError
from spanqa.preparation import Prepared, prepare
from spanqa.recipe import DataRecipe, EncoderRecipe, Recipe, WindowRecipe


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Training questions, and as many other ones on the same texts."""
    examples = load("synthetic:train:60").examples
    write_squad(examples, tmp_path / "train.json")
    others = [replace(e, id=f"other-{e.id}", question=f"{e.question} Say!") for e in examples]
    write_squad(others, tmp_path / "extra.json")
    return str(tmp_path / "train.json"), str(tmp_path / "extra.json")


def prepared(encoder: Path, *, said: list[str] | None = None, **data: object) -> Prepared:
    recipe = Recipe(
        data=DataRecipe(eval="synthetic:eval:5", calibration_fraction=0.2, **data),  # type: ignore[arg-type]
        windows=WindowRecipe(max_length=128, stride=16, max_question_length=32),
        encoder=EncoderRecipe(name=str(encoder)),
    )
    return prepare(recipe, (said if said is not None else []).append)


def test_extra_questions_are_added_but_for_the_texts_of_calibration(
    files: tuple[str, str], tiny_encoder_folder: Path
) -> None:
    train, extra = files
    alone = prepared(tiny_encoder_folder, train=train)
    said: list[str] = []
    both = prepared(tiny_encoder_folder, train=train, extra=[extra], said=said)
    assert both.calibration.examples == alone.calibration.examples
    assert not any(e.id.startswith("other-") for e in both.calibration.examples)
    trained = {e.id for e in alone.train.examples}
    assert {e.id for e in both.train.examples} == trained | {f"other-{id}" for id in trained}
    held = {e.context for e in both.calibration.examples}
    assert not held & {e.context for e in both.train.examples}
    assert f"{2 * len(trained)} training" in said[0]
    assert both.fingerprints == alone.fingerprints | {"extra 1": load(extra).fingerprint}


def test_extra_questions_are_drawn_apart_from_the_others(
    files: tuple[str, str], tiny_encoder_folder: Path
) -> None:
    train, extra = files
    both = prepared(tiny_encoder_folder, train=train, sample=20, extra=[extra], extra_sample=7)
    drawn = [e.id.startswith("other-") for e in both.train.examples]
    assert (len(drawn), sum(drawn)) == (27, 7)


def test_a_sample_of_more_than_there_is_takes_all_and_says_so(
    files: tuple[str, str], tiny_encoder_folder: Path
) -> None:
    train, extra = files
    sizes = {"sample": 6000, "extra": [extra], "extra_sample": 7000, "eval_sample": 6}
    said: list[str] = []
    found = prepared(tiny_encoder_folder, train=train, said=said, **sizes)
    everything = prepared(tiny_encoder_folder, train=train, extra=[extra])
    assert found.train.examples == everything.train.examples
    assert found.eval.examples == everything.eval.examples
    assert found.questions == everything.questions
    taken = found.questions
    assert (taken["train"], taken["eval"]) == (len(found.train.examples) // 2, 5)
    assert said[:3] == [
        f"  data.sample: 6000 wanted, {taken['train']} there, all taken",
        f"  data.extra_sample: 7000 wanted, {taken['extra']} there, all taken",
        "  data.eval_sample: 6 wanted, 5 there, all taken",
    ]


def test_an_id_of_two_files_is_refused(files: tuple[str, str], tiny_encoder_folder: Path) -> None:
    train, extra = files
    with pytest.raises(DataError, match=r"extra.json: question id '.*' is in .*extra.json too"):
        prepared(tiny_encoder_folder, train=train, extra=[extra, extra])
    with pytest.raises(DataError, match=r"train.json: question id '.*' is in .*train.json too"):
        prepared(tiny_encoder_folder, train=train, extra=[train])


def test_reported_questions_are_not_calibrated_on(
    files: tuple[str, str], tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    reported = load("synthetic:eval:5").examples
    write_squad(reported, tmp_path / "copy.json")
    with pytest.raises(DataError, match=r"calibration question .* is in synthetic:eval:5 too"):
        prepared(tiny_encoder_folder, train=files[0], calibration=str(tmp_path / "copy.json"))


def test_texts_that_are_calibrated_on_are_not_trained_on(
    files: tuple[str, str], tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    examples = load(files[0]).examples
    write_squad(examples[:7], tmp_path / "held.json")
    said: list[str] = []
    found = prepared(
        tiny_encoder_folder, train=files[0], calibration=str(tmp_path / "held.json"), said=said
    )
    held = {e.context for e in examples[:7]}
    assert {e.context for e in found.calibration.examples} == held
    assert [e for e in examples if e.context not in held] == list(found.train.examples)
    left_out = len(examples) - len(found.train.examples)
    assert f"  {files[0]}: {left_out} left out, whose texts are calibrated on" in said
    with pytest.raises(DataError, match=r"train.json: holds the text of every question in "):
        prepared(tiny_encoder_folder, train=files[0], calibration=files[0])
