"""A model exported to OpenVINO's format, run by OpenVINO on the CPU."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch

from spanqa.backends import Arrays, BatchScores
from spanqa.errors import MissingExtraError, ModelError

FILE = "model.xml"


class OpenVINOBackend:
    """A compiled model over all cores that torch would use.

    Windows are scored one batch after the other, each on all cores, which is what OpenVINO calls
    latency mode. What int8 leaves unquantised is computed in float32.
    """

    def __init__(self, file: Path, *, precision: str = "fp32") -> None:
        """Load an exported model.

        Args:
            file: what `spanqa.graph.write_openvino` wrote, quantised or not; `.bin` lies beside.
            precision: `fp32`, `bf16` or `int8`; bf16 becomes fp32 where the CPU does not compute
                it, and the name says so.

        Raises:
            MissingExtraError: when the `openvino` extra is not installed.
            ModelError: when OpenVINO cannot use the file.
        """
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("answering with OpenVINO", "openvino") from error
        if precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
            precision = "fp32"
        self.name = f"OpenVINO {precision}"
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        try:
            self.model: Any = openvino.Core().compile_model(file, "CPU", settings)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"{file}: OpenVINO cannot load it ({reason:.200})") from error
        self.requests = threading.local()

    def score(self, arrays: Arrays) -> BatchScores:
        """Score all spans of a batch of windows; may be called from several threads."""
        if not hasattr(self.requests, "own"):
            self.requests.own = self.model.create_infer_request()
        found = self.requests.own.infer(dict(arrays), share_inputs=True)
        return BatchScores(*(found[name] for name in BatchScores._fields))
