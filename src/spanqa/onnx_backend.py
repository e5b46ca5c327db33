"""A model exported to ONNX, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from spanqa.backends import Arrays, BatchScores
from spanqa.errors import MissingExtraError, ModelError

FILE = "model.onnx"


class OnnxBackend:
    """A session over all cores that torch would use, so that `OMP_NUM_THREADS` holds for both."""

    def __init__(self, file: Path, *, precision: str = "fp32") -> None:
        """Load an exported model.

        Args:
            file: what `spanqa.graph.write_onnx` wrote, quantised or not.
            precision: `fp32` or `int8`, for the name.

        Raises:
            MissingExtraError: when the `onnx` extra is not installed.
            ModelError: when ONNX Runtime cannot use the file.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("answering with ONNX Runtime", "onnx") from error
        self.name = f"ONNX Runtime {precision}"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; its warnings are about its own choices
        try:
            self.session: Any = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class
            reason = " ".join(str(error).split())
            raise ModelError(f"{file}: ONNX Runtime cannot load it ({reason:.200})") from error

    def score(self, arrays: Arrays) -> BatchScores:
        """Score all spans of a batch of windows; may be called from several threads."""
        return BatchScores(*self.session.run(BatchScores._fields, dict(arrays)))
