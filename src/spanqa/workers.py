"""Heads x seeds side by side over Ray: a run to a worker, with devices or processors of its own.

The windows are prepared once and shared; a worker does what a comparison does one run after the
other, and a run depends on nothing but its head, its seed and the threads it computes with.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanqa.cluster import connected, require_ray
from spanqa.errors import RunError, SpanQAError
from spanqa.recipe import Recipe

if TYPE_CHECKING:
    from spanqa.preparation import Prepared
    from spanqa.training import Say

_LISTEN_SECONDS = 0.5
"""How often the lines of the workers are shown."""


@dataclass(frozen=True)
class Job:
    """One run, as it goes to a worker."""

    recipe: Recipe
    head: str
    seed: int
    output: Path
    """Folder of the comparison."""
    threads: int
    here: Path | None = None
    """Where the encoder's name begins, if that is a folder named relative to another one."""

    @property
    def name(self) -> str:
        """As its folder is called."""
        return f"{self.head}-seed{self.seed}"


@dataclass(frozen=True)
class Share:
    """What a worker gets."""

    cpus: int
    gpus: int


def run_beside(
    recipe: Recipe,
    runs: Sequence[tuple[str, int]],
    prepared: Prepared,
    output: Path,
    workers: int,
    *,
    address: str | None,
    say: Say,
) -> None:
    """Train and evaluate heads and seeds, several at a time; those that end well are kept.

    Args:
        recipe: the setting, the same for all.
        runs: heads and seeds.
        prepared: windows of the three parts.
        output: folder of the comparison, claimed for `recipe`.
        workers: runs at a time.
        address: of a Ray cluster; one is started on this machine, and stopped, if left out.
        say: prints a line of progress.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: there is no cluster at `address`, or runs failed; the others were finished.
    """
    require_ray("running heads and seeds in parallel")
    with connected(address) as ray:
        share = fair_share([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
        threads = int(os.environ.get("OMP_NUM_THREADS") or share.cpus)
        here = _start_of(recipe.encoder.name)
        jobs = [Job(recipe, head, seed, output.resolve(), threads, here) for head, seed in runs]
        failed = _run_all(ray, jobs, prepared, workers, share, say)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(jobs)} runs failed: {', '.join(failed)}; the same command "
            "tries them again and keeps the others"
        )


def _start_of(encoder: str) -> Path | None:
    """The folder that a worker has to be in, so that an encoder's name means the same there."""
    path = Path(encoder)
    return Path.cwd() if path.is_dir() and not path.is_absolute() else None


def fair_share(nodes: Iterable[Mapping[str, float]], workers: int) -> Share:
    """As many processors as each of the workers can have, and a GPU where there are any.

    Args:
        nodes: `CPU` and perhaps `GPU` of each machine.
        workers: wanted at a time; as many as there are GPUs or processors, if these are fewer.
    """
    sizes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    gpus = sum(gpu for _, gpu in sizes)
    wanted = min(workers, gpus) if gpus else workers

    def places(cpus: int) -> int:
        return sum(min(cpu // cpus, gpu if gpus else cpu) for cpu, gpu in sizes)

    most = max((cpu for cpu, _ in sizes), default=1)
    cpus = next((n for n in range(most, 1, -1) if places(n) >= wanted), 1)
    return Share(cpus, 1 if gpus else 0)


def _run_all(
    ray: Any, jobs: Sequence[Job], prepared: Prepared, workers: int, share: Share, say: Say
) -> list[str]:
    """Names of the runs that failed."""
    from ray.util.queue import Queue

    lines = Queue(actor_options={"num_cpus": 0})
    windows = ray.put(prepared)
    # A process to each run: none sees what another one left behind.
    start = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_calls=1, max_retries=0)(
        _run_one
    )
    waiting, running, failed = list(jobs), dict[Any, str](), list[str]()
    while waiting or running:
        while waiting and len(running) < workers:
            job = waiting.pop(0)
            running[start.remote(job, windows, lines)] = job.name
        ended, _ = ray.wait(list(running), timeout=_LISTEN_SECONDS)
        while not lines.empty():
            say(lines.get())
        for task in ended:
            name = running.pop(task)
            if sentence := _outcome(ray, task):
                say(f"{name}: failed: {sentence}")
                failed.append(name)
    return failed


def _run_one(job: Job, prepared: Prepared, lines: Any) -> str:
    """In a worker: one run; returns what is wrong, in a sentence, or "" if nothing is."""
    import torch

    from spanqa.comparison import see
    from spanqa.experiment import one_run
    from spanqa.lock import locked
    from spanqa.run import run_folder

    torch.set_num_threads(job.threads)
    folder = run_folder(job.output, job.head, job.seed)

    def say(line: str) -> None:
        lines.put(f"{job.name}: {line.strip()}")

    try:
        _go_to(job.here)
        see(job.recipe, job.output)
        with locked(folder):  # a worker may outlive its comparison for a moment
            one_run(job.recipe, job.head, job.seed, prepared, folder, say=say)
    except SpanQAError as error:  # not all of them survive being pickled
        return str(error)
    return ""


def _go_to(here: Path | None) -> None:
    """Make relative names those of the comparison; its recipe, which is signed, stays as it is."""
    if here is not None:
        try:
            os.chdir(here)
        except OSError as error:
            raise RunError(
                f"{here} is not seen on {platform.node()} ({error.strerror}); name the encoder by "
                "a folder that all machines share"
            ) from error


def _outcome(ray: Any, task: Any) -> str:
    """What is wrong with a run that has ended, in a sentence, or ""."""
    try:
        sentence: str = ray.get(task)
        return sentence
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return f"unexpected {type(cause).__name__}: {cause}; without --workers, --debug shows more"
    except ray.exceptions.RayError as error:
        return f"its process has ended ({' '.join(str(error).split())[:300]})"
