"""Make nano: `python -m dgemma_engine.train --corpus build/corpus --out build/nano`.

Resumable: run the same command again after a kill. The state, the curve and an exported checkpoint are rewritten
every few minutes. One single-threaded worker a core, gradients averaged once a step: the matrices are too small to
share between threads, and a busy neighbour then slows a step down instead of stalling every operation in it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from torch.multiprocessing.spawn import spawn

from .training import work


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dgemma_engine.train", description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"), help="folder with train.jsonl")
    parser.add_argument("--out", type=Path, default=Path("build/nano"), help="state, curve and checkpoint go here")
    parser.add_argument("--minutes", type=float, default=90, help="length of the run, its cool-down included")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, one thread each")
    parser.add_argument("--eager", action="store_true", help="no torch.compile: slower, starts at once")
    arguments = parser.parse_args()
    (arguments.out / "checkpoint").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as meeting:
        spawn(work, (arguments, Path(meeting) / "store"), nprocs=arguments.workers)


if __name__ == "__main__":
    main()
