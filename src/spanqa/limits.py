"""Limits of what is read, so that a hostile or a mistaken file is refused before memory is full.

What is read at once has a largest size, and what is compressed is measured before it is unpacked.
Files that are read row by row may be of any size: only a row is limited.
"""

from __future__ import annotations

import os
from pathlib import Path

from spanqa.errors import DataError

MAX_WHOLE = 256 * 2**20
"""Bytes of a file that is read as a whole, such as SQuAD JSON (SQuAD 2.0 has 42 MB).

As Python objects it takes two to six times its size where it holds texts, and 25 times, 6.3 GiB,
at the worst: a list of empty objects.
"""
MAX_ROW = 32 * 2**20
"""Characters of one row of JSONL, CSV or Parquet: ten long novels, or three with all their letters
written as escapes."""
MAX_RECIPE = 2**20
"""Bytes of a recipe."""


def read_whole(path: Path, limit: int = MAX_WHOLE, advice: str = "") -> bytes:
    """The content of a file.

    Args:
        path: a file, or a pipe.
        limit: most bytes that are read.
        advice: what to do if there are more.

    Raises:
        DataError: there are more.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size  # 0 for a pipe
        content = b"" if size > limit else file.read((size or limit) + 1)
    if max(size, len(content)) > limit:
        hint = f"; {advice}" if advice else ""
        raise DataError(f"{path}: has more than {limit:,} bytes, the limit of such a file{hint}")
    return content
