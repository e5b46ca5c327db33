"""All rows on a CPU, in one run, and the ones that matter once more at the end.

    python -m benchmarks [CHECKPOINT] [--backends torch onnx-int8 ...] [--markdown FILE]

CHECKPOINT: what is answered with; the reader that comes with spanqa if left out. Needs the peers
(`make peers`) and the data in $SPANQA_DATA. The rows of a GPU are `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from benchmarks import answering, growth, heads, tools, training
from benchmarks.measure import conditions, quiet
from benchmarks.parts import measured
from benchmarks.rows import markdown, show
from spanqa.choice import BACKENDS
from spanqa.shipped import DEFAULT


def main() -> None:
    """Measure, print, and write the table if wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", nargs="?", default=DEFAULT)
    parser.add_argument("--backends", nargs="+", default=(), choices=BACKENDS, metavar="NAME")
    parser.add_argument("--markdown", type=Path, help="file for conditions and table")
    args = parser.parse_args()
    quiet()
    begin = time.perf_counter()
    stated = conditions()
    print(*stated, sep="\n")
    rows = measured(
        {
            "growth": growth.rows,
            "heads and evaluation": heads.rows,
            "windows, decoding, metrics": tools.rows,
            "training": training.rows,
            "answering": partial(answering.rows, args.checkpoint, args.backends),
        }
    )
    stated.append(f"whole run {(time.perf_counter() - begin) / 60:.1f} minutes")
    print("\nrows with a target")
    for row in rows:
        if row.target is not None and row.peer is not None:
            show(row)
    print(stated[-1])
    if args.markdown:
        text = "\n".join(f"    {line}" for line in stated) + "\n\n" + markdown(rows) + "\n"
        args.markdown.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
