"""A corpus small enough to be taken along: `python -m dgemma_engine.train.carry --out build/carried`.

Texts are drawn at random until the compressed file is as large as it may be; the held-out side is cut down likewise.
"""

from __future__ import annotations

import argparse
import lzma
from pathlib import Path
from random import Random

SHARES = {"train": 0.9, "heldout": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dgemma_engine.train.carry", description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--out", type=Path, default=Path("build/carried"))
    parser.add_argument("--megabytes", type=float, default=40, help="of both files together")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for side, share in SHARES.items():
        source, target = arguments.corpus / f"{side}.jsonl", arguments.out / f"{side}.jsonl.xz"
        texts = pack(source, target, int(1e6 * share * arguments.megabytes))
        print(f"{target}: {texts} texts, {target.stat().st_size / 1e6:.1f} MB")


def pack(source: Path, target: Path, size: int) -> int:
    """Compress randomly drawn lines of `source` into `size` bytes at most; returns how many."""
    lines = source.read_bytes().splitlines(keepends=True)
    Random(0).shuffle(lines)
    compressor, written, count = lzma.LZMACompressor(preset=6), 0, 0
    with target.open("wb") as out:
        for line in lines:
            # What the compressor holds back, at worst as long as the line, has to fit too.
            if written + len(line) + RESERVE > size:
                break
            written += out.write(compressor.compress(line))
            count += 1
        out.write(compressor.flush())
    return count


RESERVE = 1 << 20
"""Bytes that may still come out of the compressor at the end."""


if __name__ == "__main__":
    main()
