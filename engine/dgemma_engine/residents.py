"""The models in memory: loaded on demand, unloaded when idle, and making room for each other."""

from __future__ import annotations

import collections
import ctypes
import gc
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from . import wire
from .checkpoints import find_checkpoint, follows_instructions
from .errors import EngineError

if TYPE_CHECKING:
    from .engine import Engine

log = logging.getLogger(__name__)

MARGIN = 1.1
"""Memory that a model needs over the size of its weights."""


@attrs.define(eq=False)
class Resident:
    """One model; `engine` is None while it loads. `unload_s` seconds after its last use it goes, 0 for never."""

    name: str
    unload_s: float
    used: float = attrs.field(factory=time.monotonic)
    engine: Engine | None = None
    error: BaseException | None = None
    loaded: float = 0.0
    """When, in monotonic seconds."""
    fraction: float = 0.0
    abandoned: bool = False
    instructed: bool = False
    """Whether it takes a prompt."""
    weights: int = 0
    """Bytes of its weights."""

    @property
    def loaded_engine(self) -> Engine:
        assert self.engine is not None
        return self.engine

    @property
    def is_new(self) -> bool:
        """Whether it was not used since it was loaded."""
        return self.used == self.loaded

    @property
    def size(self) -> int:
        """Bytes of its weights and of the prefixes it holds."""
        return 0 if (engine := self.engine) is None else _size(engine)

    def report(self) -> wire.ModelReport:
        """From any thread: the engine may leave meanwhile."""
        engine, idle = self.engine, time.monotonic() - self.used
        if engine is None:
            fraction, instructed = self.fraction, self.instructed
            return wire.ModelReport(self.name, "loading", "", "", 0, idle, self.unload_s, fraction, instructed)
        device, dtype = str(engine.model.device), str(engine.model.dtype).removeprefix("torch.")
        size = _size(engine)
        return wire.ModelReport(self.name, "ready", device, dtype, size, idle, self.unload_s, None, self.instructed)


class Residents:
    """Belongs to the scheduler's thread; loading happens in threads of its own, which say `changed` when they end."""

    def __init__(self, unload_s: float, memory: int | None, changed: Callable[[], None]) -> None:
        self._unload_s = unload_s
        self._memory = memory
        self._changed = changed
        self._by_name: dict[str, Resident] = {}
        self.past: collections.Counter[str] = collections.Counter()
        """Counts of the prefix caches of models that were unloaded."""

    def __len__(self) -> int:
        return len(self._by_name)

    def all(self) -> list[Resident]:
        return list(self._by_name.values())

    def get(self, name: str) -> Resident | None:
        return self._by_name.get(name)

    def load(self, name: str, busy: set[str], on_progress: Callable[[float], None]) -> None:
        """Begin to load, unless a model that is `busy` has to end its work first, or to be loaded.

        Idle models leave for it, the least recently used first; pinned ones do not. Raises `EngineError("memory")`
        when that cannot make room, `checkpoint` when there is no such model.
        """
        if any(one.engine is None for one in self._by_name.values()):
            return  # one at a time: how much memory the other takes is not known yet
        if not self._make_room(name, busy):
            return
        resident = Resident(name, self._unload_s, instructed=follows_instructions(name))
        on_progress(0.0)
        threading.Thread(target=self._load, args=(resident, on_progress), name=f"load {name}", daemon=True).start()
        self._by_name[name] = resident

    def failed(self) -> list[Resident]:
        """Those whose loading ended in an error; they are forgotten."""
        gone = [one for one in self.all() if one.error is not None]
        for one in gone:
            self.unload(one.name)
        return gone

    def unload(self, name: str) -> None:
        """Give its memory back now; what is loading gives up at the next tensor."""
        resident = self._by_name.pop(name)
        resident.abandoned = True
        if resident.engine is not None:
            self.past.update(resident.engine.prefixes.counts())
        resident.engine = None
        give_back()
        log.info("%s unloaded", name)

    def idle(self, busy: set[str]) -> list[Resident]:
        """Those whose time is over."""
        return [one for one in self.all() if one.name not in busy and self._left(one) <= 0]

    def next_end(self) -> float | None:
        """Seconds until the next idle model is due, None when there is none."""
        # Some leases are longer than anybody can wait.
        left = min(map(self._left, self.all()), default=threading.TIMEOUT_MAX)
        return None if left >= threading.TIMEOUT_MAX else left

    def _left(self, one: Resident) -> float:
        if not one.unload_s or one.engine is None:
            return float("inf")
        return one.used + one.unload_s - time.monotonic()

    def _make_room(self, name: str, busy: set[str]) -> bool:
        need = needed_memory(name)
        while (free := self._free()) < need:
            movable = [one for one in self.all() if one.unload_s]
            if not movable or free + sum(one.size for one in movable) < need:
                raise self._no_room(name, need, free)
            idle = [one for one in movable if one.name not in busy]
            if not idle:
                return False
            self.unload(min(idle, key=lambda one: one.used).name)
        return True

    def _no_room(self, name: str, need: float, free: float) -> EngineError:
        held = ", ".join(one.name for one in self.all() if not one.unload_s and one.name != name)
        pinned = f"; {held} stays, being pinned: dgemma-lsp engine stop" if held else ""
        return EngineError("memory", f"{name} needs {_megabytes(need)}, {_megabytes(free)} are free{pinned}")

    def _free(self) -> float:
        """Bytes that a model may take."""
        if self._memory is not None:
            return self._memory - sum(one.size for one in self.all())
        return free_memory()

    def _load(self, resident: Resident, on_progress: Callable[[float], None]) -> None:
        def heard(fraction: float) -> None:
            if resident.abandoned:
                raise EngineError("cancelled", "the model was unloaded while it was loading")
            resident.fraction = fraction
            on_progress(fraction)

        started = time.monotonic()
        try:
            engine_class, device = _engine_class(), best_device()
            # With torch there, it is known what memory the model goes to.
            if (free := self._free()) < (need := needed_memory(resident.name)):
                raise self._no_room(resident.name, need, free)
            engine = engine_class.load(resident.name, device=device, on_progress=heard)
            resident.used = resident.loaded = time.monotonic()
            resident.engine = engine
            log.info("%s loaded in %.0f ms, %d bytes", resident.name, 1000 * (resident.loaded - started), _size(engine))
            del engine
        except BaseException as error:
            # Frames hold on to what was half loaded.
            traceback.clear_frames(error.__traceback__)
            resident.error = error
            log.warning("%s not loaded: %s", resident.name, type(error).__name__)
        if resident.abandoned:
            resident.engine = None
            give_back()
        self._changed()


def _engine_class() -> type[Engine]:
    first = "torch" not in sys.modules
    try:
        from .engine import Engine
    except ImportError as error:
        if (error.name or "").startswith("dgemma_engine"):
            raise
        raise EngineError("engine-missing", str(error)) from error
    if first:
        # torch's modules stay; walking over them takes the collector 100 ms each time, and everybody waits.
        gc.collect()
        gc.freeze()
    return Engine


def best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def needed_memory(name: str) -> float:
    """Bytes that loading `name` takes, from the sizes of its files. Raises `EngineError("checkpoint")`."""
    try:
        folder: Path = find_checkpoint(name).folder
        return MARGIN * sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError("checkpoint", f"no checkpoint can be read at {name:.200}: {error}") from None


def free_memory() -> float:
    """Bytes free on the device that models go to; without torch nobody knows which, and there is no limit yet."""
    torch = sys.modules.get("torch")
    if torch is None:
        return float("inf")
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    import psutil

    return psutil.virtual_memory().available


def give_back() -> None:
    """Return freed memory to the system: Python's, the allocator's, the GPU's."""
    gc.collect()
    torch = _torch()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _size(engine: Engine) -> int:
    tensors = [*engine.model.parameters(), *engine.model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + engine.prefixes.size


def _torch() -> Any:
    """torch, once all of it is there: while it is being imported it is a module already."""
    module = sys.modules.get("torch")
    spec = getattr(module, "__spec__", None)
    return None if spec is None or getattr(spec, "_initializing", False) else module


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.0f} MB"
