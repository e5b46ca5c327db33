"""Batches of training windows: their order, and their arrays.

The order is a function of seed and epoch alone, whoever takes its share of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from spanqa.windows import Windows

BATCHES_SORTED = 50
"""Windows are sorted by length within so many batches, so that batches need little padding."""
FILLER = -1
"""Row number that makes up for a missing window where processes need equally many."""
IGNORED = -100
"""Label of what does not count in the loss."""


class Rows(Dataset[int]):
    """Row numbers of windows; the collator makes the arrays."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Arrays of one batch, padded to its longest window; `labels` says which windows count.

        Fillers are left out. A process that has nothing else takes the first window, uncounted.
        """
        kept = [row for row in rows if row != FILLER]
        arrays = self.windows.batch(kept or [0])
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return batch | {"labels": torch.full((len(kept) or 1,), 0 if kept else IGNORED)}


class LengthGroupedSampler(Sampler[int]):
    """Shuffled rows, sorted by length within groups of batches; a function of seed and epoch only.

    So a resumed run sees the same batches, which a sampler that draws from the global generator
    does not give.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, seed: int, multiple_of: int = 1
    ) -> None:
        """Make a sampler.

        Args:
            lengths: (W,) tokens of each window.
            batch_size: windows in a step, of all processes together.
            seed: of the order.
            multiple_of: rows are filled up with `FILLER` to a multiple of this.
        """
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.fillers = -len(lengths) % multiple_of

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration shuffles for."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + self.fillers

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        group = BATCHES_SORTED * self.batch_size
        batches: list[np.ndarray] = []
        for i in range(0, len(order), group):
            rows = order[i : i + group]
            rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
            batches += [rows[j : j + self.batch_size] for j in range(0, len(rows), self.batch_size)]
        whole, rest = batches[:-1], batches[-1:]  # only the last batch may be short
        shuffled = [whole[i] for i in random.permutation(len(whole))] + rest
        yield from np.concatenate(shuffled).tolist()
        yield from [FILLER] * self.fillers
