"""The models in memory: loaded on demand, unloaded when idle, and making room for each other."""

from __future__ import annotations

import collections
import gc
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from . import heap, wire
from .checkpoints import find_checkpoint, follows_instructions
from .errors import EngineError
from .footprint import LAYOUTS, Choice, Footprint, choose, read_footprint

if TYPE_CHECKING:
    from .engine import Engine

log = logging.getLogger(__name__)


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
    choice: Choice | None = None
    """In which precision and with which window it is loaded, once that is decided."""

    @property
    def loaded_engine(self) -> Engine:
        assert self.engine is not None
        return self.engine

    @property
    def is_new(self) -> bool:
        """Whether it was not used since it was loaded."""
        return self.used == self.loaded

    @property
    def claim(self) -> int:
        """Bytes that it may come to take: a fill with the widest window, or what it takes already."""
        return max(self.size, 0 if self.choice is None else self.choice.need)

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
        if self.choice is not None and self.choice.precision in LAYOUTS:
            dtype = self.choice.precision
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
        loading = threading.Thread(target=self._load, args=(resident, on_progress), name=f"load {name}", daemon=True)
        self._by_name[name] = resident
        try:
            loading.start()
        except BaseException:
            del self._by_name[name]
            raise

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
        wish, footprint = wished(name)
        free = self._free(name)
        movable = sum(one.claim for one in self.all() if one.unload_s)
        need = self._chosen(name, wish, free + movable, footprint).need
        while free < need:
            idle = [one for one in self.all() if one.unload_s and one.name not in busy]
            if not idle:
                return False
            self.unload(min(idle, key=lambda one: one.used).name)
            free = self._free(name)
        return True

    def _chosen(self, name: str, wish: str, free: float, footprint: Footprint) -> Choice:
        """What fits into `free` bytes. Raises `EngineError("memory")`, which says why not, and what would."""
        try:
            return choose(wish, free, footprint)
        except EngineError as error:
            held = ", ".join(one.name for one in self.all() if not one.unload_s and one.name != name)
            pinned = f"; {held} stays, being pinned: dgemma-lsp engine stop" if held else ""
            raise EngineError(error.code, f"{name}: {error}{pinned}") from None

    def _free(self, name: str) -> float:
        """Bytes that the model `name` may take: what the others may come to take is theirs."""
        others = [one for one in self.all() if one.name != name]
        if self._memory is not None:
            return self._memory - sum(one.claim for one in others)
        return free_memory() - sum(one.claim - one.size for one in others)

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
            wish, footprint = wished(resident.name)
            resident.choice = self._chosen(resident.name, wish, self._free(resident.name), footprint)
            log.info("%s is loaded in %s", resident.name, resident.choice.reason)
            form = {"precision": resident.choice.precision, "window": resident.choice.window}
            engine = engine_class.load(resident.name, device=device, on_progress=heard, **form)
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


def needed_memory(name: str) -> int:
    """Bytes that `name` takes at its peak where there is no limit. Raises `EngineError("checkpoint")`."""
    wish, footprint = wished(name)
    return choose(wish, float("inf"), footprint).need


def wished(name: str) -> tuple[str, Footprint]:
    """The precision that `name` asks for and what the model takes in each. Raises `EngineError("checkpoint")`."""
    try:
        checkpoint = find_checkpoint(name)
        return checkpoint.precision, read_footprint(checkpoint.folder)
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
    heap.give_back()


def _size(engine: Engine) -> int:
    tensors = [*engine.model.parameters(), *engine.model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + engine.size


def _torch() -> Any:
    """torch, once all of it is there: while it is being imported it is a module already."""
    module = sys.modules.get("torch")
    spec = getattr(module, "__spec__", None)
    return None if spec is None or getattr(spec, "_initializing", False) else module
