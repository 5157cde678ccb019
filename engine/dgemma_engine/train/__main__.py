"""Make nano: `python -m dgemma_engine.train --corpus build/corpus --out build/nano`.

The learning rate stays constant for as long as the run goes on. Run the same command again after a stop (SIGTERM saves
first) and it goes on exactly where it was; the state, the curve and an exported checkpoint are rewritten every few
minutes. `--cool STATE --tokens N` branches off: from a saved state the rate falls to zero over N million tokens, which
makes a checkpoint to release, and the state itself stays as it is.

On a GPU, `--device cuda --recipe gpu --minutes 24 --cool-last 0.2 --loaders 12` is a whole run: one process computes,
others make its batches, the rate falls to zero in its last fifth. `python -m dgemma_engine.train.carry` makes a corpus
that is small enough to be taken to a rented machine.

On a CPU one single-threaded worker a core, gradients averaged once a step: the matrices are too small to share between
threads, and a busy neighbour then slows a step down instead of stalling every operation in it.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import tempfile
from multiprocessing import active_children
from pathlib import Path

from torch.multiprocessing.spawn import spawn

from .recipe import RECIPES
from .training import work

MALLOC = {"hugetlb": 1, "mmap_threshold": 1 << 32, "trim_threshold": 1 << 33, "top_pad": 1 << 28}
"""glibc's allocator keeps the memory of a step for the next one, in huge pages: a fifth of a step was page faults."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dgemma_engine.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"), help="folder with train.jsonl")
    parser.add_argument("--out", type=Path, default=Path("build/nano"), help="state, curve and checkpoint go here")
    parser.add_argument(
        "--tokens", type=float, default=120, help="millions of text tokens to see, in all or while cooling"
    )
    parser.add_argument("--grow", type=Path, help="state of a narrower network to begin from; needs its --vocabulary")
    parser.add_argument("--vocabulary", type=Path, help="tokenizer.json to take instead of training one")
    parser.add_argument("--cool", type=Path, help="state to branch off from with a falling rate")
    parser.add_argument("--pause", type=Path, help="while this file exists the run sleeps")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after as long, whatever was seen")
    parser.add_argument("--cool-last", type=float, default=0.0, help="share of the run in which the rate falls")
    parser.add_argument("--evaluate", type=float, default=5, help="millions of tokens between evaluations")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--recipe", choices=list(RECIPES), default="cpu")
    parser.add_argument("--workers", type=int, help="processes, one thread each; by default one a core, or one GPU")
    parser.add_argument("--loaders", type=int, default=0, help="further processes that make a worker's batches")
    parser.add_argument("--eager", action="store_true", help="no torch.compile: slower, starts at once")
    arguments = parser.parse_args()
    arguments.workers = arguments.workers or (os.cpu_count() or 1 if arguments.device == "cpu" else 1)
    (arguments.out / "checkpoint").mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("GLIBC_TUNABLES", ":".join(f"glibc.malloc.{name}={value}" for name, value in MALLOC.items()))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(arguments.out.parent.resolve() / "compiled"))
    with tempfile.TemporaryDirectory() as meeting:
        workers = spawn(work, (arguments, Path(meeting) / "store"), nprocs=arguments.workers, join=False)
        assert workers is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: [child.terminate() for child in active_children()])
        while not workers.join():
            pass


if __name__ == "__main__":
    main()
