"""The files that hold a checkpoint's weights, judged by their headers alone: no torch, and no tensor is read.

The format is safetensors': 8 bytes of header length, a JSON header with each tensor's dtype, shape and place, tensors.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from .errors import EngineError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
"""Files that can run code when they are read; they never are."""
MOST_HEADER = 100_000_000
"""Bytes, as in the reference implementation."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of `folder`, all there: those of its index, or the single one.

    Raises `EngineError("checkpoint")` that names what is missing, or the pickle that is there instead.
    """
    index = folder / INDEX
    if index.is_file():
        files = [folder / name for name in sorted(set(read_index(index).values()))]
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise EngineError("checkpoint", f"{folder} lacks {missing[0]}{more} of {len(files)} shards; copy it again")
        return files
    single = folder / SINGLE
    if single.is_file():
        return [single]
    unsafe = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if unsafe:
        raise EngineError(
            "checkpoint", f"{folder} holds {unsafe[0]}, a pickle that can run code; convert it to safetensors first"
        )
    raise EngineError("checkpoint", f"{folder} has no {SINGLE} and no {INDEX}")


def read_index(index: Path) -> dict[str, str]:
    """By tensor the name of the file that holds it. Raises `EngineError("checkpoint")`."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        strange = [name for name in names.values() if Path(name).name != name or not name.endswith(".safetensors")]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise EngineError("checkpoint", f"{index} is not a safetensors index") from None
    if strange:
        raise EngineError("checkpoint", f"{index} names {strange[0]!r}, which is not a shard in this folder")
    return names


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """By tensor `dtype` (`BF16`, `U8` …), `shape` and `data_offsets`, and the byte from which those count.

    Raises `EngineError("checkpoint")` for a file that is no safetensors file, or is shorter or longer than it says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 0 < length <= min(size - 8, MOST_HEADER):
                raise EngineError("checkpoint", f"{path} is no safetensors file, or a cut one of {size} bytes")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        if not all(map(_is_whole, header.values())):
            raise ValueError
        expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        why = error.strerror if isinstance(error, OSError) else "its header is broken"
        raise EngineError("checkpoint", f"{path} is not a readable safetensors file: {why}") from None
    if expected != size:
        raise EngineError(
            "checkpoint", f"{path} has {size} bytes, its header promises {expected}: download or copy it again"
        )
    return header, 8 + length


def _is_whole(entry: dict[str, Any]) -> bool:
    first, last = entry["data_offsets"]
    numbers = (*entry["shape"], first, last)
    return isinstance(entry["dtype"], str) and all(type(one) is int and one >= 0 for one in numbers) and first <= last


def check_weights(folder: Path) -> int:
    """The bytes of all shards, once each is there, whole, and holds what the index says of it.

    Raises `EngineError("checkpoint")`, which names the file.
    """
    files = weight_files(folder)
    headers = {path.name: read_header(path)[0] for path in files}
    index = folder / INDEX
    for tensor, name in (read_index(index) if index.is_file() else {}).items():
        if tensor not in headers[name]:
            raise EngineError("checkpoint", f"{folder / name} lacks {tensor}, which {INDEX} puts there")
    return sum(path.stat().st_size for path in files)


def stored_dtype(folder: Path, tensor: str) -> str | None:
    """The dtype of a tensor in the files, such as `BF16`; None when they have none of that name."""
    for path in weight_files(folder):
        entry = read_header(path)[0].get(tensor)
        if entry is not None:
            return str(entry["dtype"])
    return None


def stored_form(folder: Path) -> tuple[str | None, int | None]:
    """The quantised form of the experts in the files, `fp8`, `int4` or `nvfp4`, and of int4 the values a scale.

    None and None when they are plain.
    """
    forms = {("F8_E4M3", "weight"): "fp8", ("I32", "weight_packed"): "int4"}
    forms |= {("U8", "weight"): "nvfp4", ("U8", "weight_packed"): "nvfp4"}
    for path in weight_files(folder):
        header = read_header(path)[0]
        for name, entry in header.items():
            base, _, part = name.rpartition(".")
            form = forms.get((entry["dtype"], part))
            if ".experts." not in name or form is None:
                continue
            scale = header.get(f"{base}.weight_scale", {}).get("shape", [])
            # Eight values are an int32. A scale in another shard is as good as none.
            grouped = form == "int4" and len(scale) == len(entry["shape"]) == 2 and scale[1] > 0
            return form, 8 * entry["shape"][1] // scale[1] if grouped else None
    return None, None
