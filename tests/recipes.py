"""Recipes that train in seconds."""

from __future__ import annotations

from pathlib import Path

from spanqa.recipe import DataRecipe, EncoderRecipe, Recipe, TrainingRecipe, WindowRecipe


def eight_steps(encoder: Path, heads: tuple[str, ...] = ("crf",)) -> Recipe:
    """Eight steps in two epochs, with a checkpoint every second step, the loss every third."""
    return Recipe(
        name="tiny",
        heads=heads,
        seeds=(7,),
        data=DataRecipe(
            train="synthetic:train:40", eval="synthetic:eval:12", calibration_fraction=0.2
        ),
        windows=WindowRecipe(max_length=128, stride=16, max_question_length=32),
        encoder=EncoderRecipe(name=str(encoder)),
        training=TrainingRecipe(
            epochs=2, batch_size=16, learning_rate=1e-2, save_steps=2, logging_steps=3
        ),
    )
