"""Fixtures of the fault suite: a recipe of seconds, a process that forks, and the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from recipes import eight_steps

from faults.commands import Commands

HEAD, SEED = "crf", 7


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(name, outcome): row of the table of trials")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            for mark in item.iter_markers("fault"):
                item.user_properties.append(("fault", list(mark.args)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of `docs/reliability.md`."""
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for kind in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(kind, []):
            # A module that was skipped as a whole is reported without its tests.
            for name, value in getattr(report, "user_properties", ()):
                if name == "fault" and (kind != "passed" or report.when == "call"):
                    counts[value[0], value[1]][kind] += 1
    if not counts:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line("| fault | trials | as promised | what is promised |")
    terminalreporter.write_line("|---|---|---|---|")
    for (fault, outcome), found in sorted(counts.items()):
        trials, skipped = sum(found.values()), found["skipped"]
        held = "skipped" if skipped == trials else str(found["passed"])
        terminalreporter.write_line(f"| {fault} | {trials} | {held} | {outcome} |")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    started = Commands(tmp_path_factory.mktemp("commands"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def recipe_file(tiny_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = replace(eight_steps(tiny_encoder_folder, (HEAD, "joint")), seeds=(SEED,))
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(recipe.to_yaml())
    return path


@pytest.fixture(scope="session")
def training(recipe_file: Path) -> tuple[object, ...]:
    """The words of a training, but for the folder."""
    return ("train", recipe_file, "--head", HEAD, "--seed", SEED, "--output")


@pytest.fixture(scope="session")
def comparing(recipe_file: Path) -> tuple[object, ...]:
    """The words of a comparison, but for the folder."""
    return ("compare", recipe_file, "--output")


@pytest.fixture(scope="module")
def undisturbed(
    commands: Commands, training: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a training that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    ended = commands.run(*training, folder, root=folder)
    assert ended.status == 0, ended.said
    return folder


@pytest.fixture(scope="module")
def killed_at_7(
    commands: Commands, training: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a training killed at step 7 of 8, with checkpoints of the steps 4 and 6."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    ended = commands.run(*training, folder, root=folder, fault="kill", of="step", at=7)
    assert ended.status == -9, ended.said
    found = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert found == ["checkpoint-4", "checkpoint-6"]
    return folder
