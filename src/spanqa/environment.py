"""What a run ran on: versions, hardware, threads, and its peak memory."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
from pathlib import Path
from typing import Any

import torch

import spanqa
from spanqa import group
from spanqa.recipe import Recipe

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy")


def describe_environment(
    recipe: Recipe, fingerprints: dict[str, str], questions: dict[str, int], bf16: bool
) -> dict[str, Any]:
    """Versions, hardware, processes, precision, what the data were, and the recipe's signature."""
    cuda = torch.cuda.is_available()
    return {
        "spanqa": spanqa.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if cuda else cpu_name(),
        "processes": group.size(),
        "threads": torch.get_num_threads(),
        "precision": "bf16" if bf16 else "fp32",
        "data": fingerprints,
        "questions": questions,
        "recipe": recipe.signature(),
    }


def cpu_name() -> str:
    """The processor as Linux names it, or as Python does elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def computes_vnni() -> bool:
    """Whether products of eight-bit numbers are added in 32 bits; processors other than x86 do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine().lower() not in ("x86_64", "amd64")
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return not flags or bool(flags & {"avx512_vnni", "avx_vnni"})


class PeakMemory:
    """Peak memory since it was made: resident on a CPU, allocated on a GPU."""

    def __init__(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.resettable = self._reset()

    @staticmethod
    def _reset() -> bool:
        """Linux can forget the peak so far; where it cannot, the peak is the process's own."""
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def megabytes(self) -> float:
        """The peak in MiB."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**20
        if self.resettable:
            status = Path("/proc/self/status").read_text().splitlines()
            peak = next(line for line in status if line.startswith("VmHWM"))
            return int(peak.split()[1]) / 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
