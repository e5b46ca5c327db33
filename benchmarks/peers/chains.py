"""Three linear-chain packages on the same emissions, transitions and tags, driven line by line.

Runs in the peers' environment, without spanqa. Jobs: `load` a file of tensors, `time` one package
doing one thing.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import TorchCRF
import torchcrf
from lines import serve
from safetensors.torch import load_file
from torch import Tensor
from torch_struct import LinearChainCRF

OUTSIDE = 0
"""Tag that every path starts from and returns to."""


class Chains:
    """What each package needs for one batch."""

    def load(self, file: str, threads: int) -> dict[str, Any]:
        """Take emissions (B, L, T), transitions (T, T) and tags (B, L)."""
        torch.set_num_threads(threads)
        tensors = load_file(file)
        self.emissions = tensors["emissions"].requires_grad_()
        self.transitions, self.tags = tensors["transitions"], tensors["tags"]
        self.mask = torch.ones(self.tags.shape, dtype=torch.bool)
        labels = len(self.transitions)
        self.first = torchcrf.CRF(labels, batch_first=True)
        self.second = TorchCRF.CRF(labels, use_gpu=False)
        for chain, names in (
            (self.first, ("transitions", "start_transitions", "end_transitions")),
            (self.second, ("trans_matrix", "start_trans", "end_trans")),
        ):
            values = (self.transitions, self.transitions[OUTSIDE], self.transitions[:, OUTSIDE])
            for name, value in zip(names, values, strict=True):
                getattr(chain, name).data.copy_(value)
        self.edges = torch.nn.Parameter(self.transitions.clone())
        self.runs: dict[str, dict[str, Callable[[], Any]]] = {
            "pytorch-crf": {
                "loss": lambda: -self.first(self.emissions, self.tags, self.mask, reduction="mean"),
                "decode": lambda: self.first.decode(self.emissions, self.mask),
            },
            "TorchCRF": {
                "loss": lambda: -self.second(self.emissions, self.tags, self.mask).mean(),
                "decode": lambda: self.second.viterbi_decode(self.emissions, self.mask),
            },
            "torch-struct": {"loss": self._struct_loss, "decode": self._struct_decode},
        }
        return {"losses": {name: run["loss"]().item() for name, run in self.runs.items()}}

    def _potentials(self) -> Tensor:
        """(B, L - 1, T, T): to, from."""
        emissions = self.emissions
        potentials = emissions[:, 1:, :, None] + self.edges.T
        first = emissions[:, 0] + self.edges[OUTSIDE]
        potentials = torch.cat((potentials[:, :1] + first[:, None, None], potentials[:, 1:]), dim=1)
        last = potentials[:, -1:] + self.edges[:, OUTSIDE][:, None]
        return torch.cat((potentials[:, :-1], last), dim=1)

    def _struct_loss(self) -> Tensor:
        parts = LinearChainCRF.struct.to_parts(self.tags, len(self.edges))
        loss: Tensor = -LinearChainCRF(self._potentials()).log_prob(parts).mean()
        return loss

    def _struct_decode(self) -> Any:
        with torch.enable_grad():  # its best path is a gradient
            best = LinearChainCRF(self._potentials().detach()).argmax
        return LinearChainCRF.struct.from_parts(best)

    def time(self, package: str, what: str, repeats: int) -> dict[str, float]:
        """Seconds of one call, the mean of some; a loss is followed by its gradient."""
        run = self.runs[package][what]
        begin = time.perf_counter()
        for _ in range(repeats):
            if what == "loss":
                self.emissions.grad = None
                for chain in (self.first, self.second):
                    chain.zero_grad()
                self.edges.grad = None
                run().backward()
            else:
                with torch.no_grad():
                    run()
        return {"seconds": (time.perf_counter() - begin) / repeats}


if __name__ == "__main__":
    chains = Chains()
    warnings.simplefilter("ignore")  # torch-struct defines no `arg_constraints`
    serve({"load": chains.load, "time": chains.time})
