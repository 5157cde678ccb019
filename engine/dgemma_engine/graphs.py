"""Passes replayed as CUDA graphs: a pass of a few thousand launches costs the host one.

Which path a model is on is decided once, by `runner`: on an NVIDIA GPU a `Runner` pads what comes to the shape of a
bucket and replays the graph of that bucket, else the network itself runs. What fits no bucket (a long piece of a
prefix, texts to be scored, a crowd of canvases) goes through the network as well, which then has work enough to hide
its launches.
"""

from __future__ import annotations

import collections
import logging
import traceback
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .errors import EngineError
from .groups import Group, bucket_of, grouped
from .model import DiffusionGemma, Rows
from .model.arena import Arena, Extent, arena_bytes
from .model.static import Bucket, StaticPass
from .steps import Forward

log = logging.getLogger(__name__)

GRAPHS = 16
"""Buckets whose buffers and graph are kept."""
ARENA_BYTES = 2 << 30
"""Of the copied prefixes at most; and a quarter of what is free."""
CANVAS_ROWS, KEYS = 256, 2048
"""An arena has room for these at least: to enlarge it is to capture every graph anew."""
PATIENCE = 64
"""Passes that go without an arena for their size before it makes room for them."""


Step: TypeAlias = Callable[[], None]
Capture: TypeAlias = Callable[[Step], Step]
"""Makes a step over static memory into a call that does the same again. The step has run once before."""


def direct(step: Step) -> Step:
    """No capture: the step itself, on any device."""
    return step


class CudaGraphs:
    """Captures on a CUDA device; all graphs share the memory of what they compute in between."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        # A model that is loaded meanwhile allocates in a thread of its own.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()
        return graph.replay


def runner(model: DiffusionGemma) -> Forward:
    """The path that passes of `model` take on its device."""
    if model.device.type != "cuda" or torch.version.hip is not None:
        return model
    return Runner(model, CudaGraphs(), lambda: torch.cuda.mem_get_info(model.device)[0] // 4)


class Runner:
    """Runs passes of one model over static memory, and captures each shape that comes a second time.

    `room` tells how many bytes the copied prefixes may take.
    """

    def __init__(
        self, model: DiffusionGemma, capture: Capture = direct, room: Callable[[], float] = lambda: ARENA_BYTES
    ) -> None:
        self.model = model
        self.copied = 0
        """Prefix tokens copied so far."""
        self.static = 0
        """Passes that fitted a bucket."""
        self._capture: Capture | None = capture
        self._room = room
        self._most = ARENA_BYTES
        self._missed = 0
        self._arena: Arena | None = None
        self._passes: collections.OrderedDict[Bucket, StaticPass] = collections.OrderedDict()
        self._replays: dict[Bucket, Step] = {}

    @property
    def size(self) -> int:
        """Bytes of the copied prefixes."""
        return 0 if self._arena is None else self._bytes(self._arena.extent)

    @property
    def buckets(self) -> list[Bucket]:
        """Those whose graph is kept, the one used last at the end."""
        return [bucket for bucket in self._passes if bucket in self._replays]

    def forward(self, parts: Sequence[Rows]) -> list[Tensor]:
        """As `DiffusionGemma.forward`; rows of padding come out as anything.

        Raises `EngineError("memory")` when the device has no more of it; what this holds is given back then.
        """
        try:
            groups = None if self._capture is None else grouped(parts)
            bucket = None if groups is None else bucket_of(groups, parts)
            if groups is None or bucket is None or not self._has_room(bucket.extent):
                return self.model.forward(parts)
            return self._forward(groups, bucket, parts)
        except torch.OutOfMemoryError as error:
            # Frames hold on to what was allocated.
            traceback.clear_frames(error.__traceback__)
            if self.size:
                self._most = self.size // 2
            self.drop()
            raise EngineError(
                "memory",
                "the GPU's memory ran out: close what else uses it, or name a smaller precision, like MODEL@int4",
            ) from None
        except BaseException:
            if self._arena is not None:
                self._arena.forget()
            raise

    def drop(self) -> None:
        """Give all memory back; it is taken anew when it is needed."""
        self._replays.clear()
        self._passes.clear()
        self._arena = None
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _forward(self, groups: list[Group], bucket: Bucket, parts: Sequence[Rows]) -> list[Tensor]:
        arena = self._arena
        assert arena is not None
        lanes = arena.assign([group.cache for group in groups], bucket.lanes)
        self.copied += sum(arena.load(lane, group.cache) for lane, group in zip(lanes, groups, strict=True))
        static = self._passes.get(bucket) or StaticPass(self.model, arena, bucket)
        fill(static, lanes, groups, parts)
        if not self._run(bucket, static):
            return self.model.forward(parts)
        self.static += 1
        self._missed = 0
        for lane, group in zip(lanes, groups, strict=True):
            if group.delta is not None:
                arena.store(lane, group.cache, parts[group.delta].ids.shape[1])
        return read(static, lanes, groups, parts)

    def _run(self, bucket: Bucket, static: StaticPass) -> bool:
        """Run the step, the second time as a graph; False when there can be none, for good."""
        if bucket in self._passes and bucket not in self._replays:
            assert self._capture is not None
            try:
                self._replays[bucket] = self._capture(static.step)
            except Exception as error:  # whatever a driver says
                log.warning("passes run without CUDA graphs: %s: %s", type(error).__name__, error)
                self._capture = None
                self.drop()
                return False
        self._passes[bucket] = static
        self._passes.move_to_end(bucket)
        self._replays.get(bucket, static.step)()
        while len(self._passes) > GRAPHS:
            old, _ = self._passes.popitem(last=False)
            self._replays.pop(old, None)
        return True

    def _has_room(self, wanted: Extent) -> bool:
        """Whether the arena has room for a pass, if it may be enlarged for that."""
        extent = wanted.joined(Extent(1, CANVAS_ROWS, KEYS))
        if self._arena is not None:
            if self._arena.extent.joined(wanted) == self._arena.extent:
                return True
            extent = extent.joined(self._arena.extent)
        free = min(self._most, self._room() + self.size)
        if self._bytes(extent) > free:
            # Two sizes that come in turns must not push each other out.
            self._missed += 1
            if self._bytes(wanted) > free or (self._arena is not None and self._missed < PATIENCE):
                return False
            extent = wanted
        self.drop()
        try:
            self._arena = Arena.new(self.model.config, extent, self.model.device, self.model.dtype)
        except torch.OutOfMemoryError:
            self._most = self._bytes(extent) // 2
            return False
        return True

    def _bytes(self, extent: Extent) -> int:
        return arena_bytes(self.model.config, extent, self.model.dtype.itemsize)


def fill(static: StaticPass, lanes: Sequence[int], groups: Sequence[Group], parts: Sequence[Rows]) -> None:
    """Write what a pass is about into its buffers; nothing is read from the device."""
    static.lay_out(
        tuple((lane, group.cache.length, group.kept(parts)) for lane, group in zip(lanes, groups, strict=True))
    )
    static.real.zero_()
    for lane, group in zip(lanes, groups, strict=True):
        if group.delta is not None:
            ids = parts[group.delta].ids
            static.kept_ids[lane, : ids.shape[1]].copy_(ids[0])
        for index, place in group.canvases:
            rows = parts[index]
            at = lane, slice(place, place + rows.ids.shape[0]), slice(rows.ids.shape[1])
            static.canvas_ids[at].copy_(rows.ids)
            signal = static.signals[at]
            signal.zero_() if rows.signal is None else signal.copy_(rows.signal)
            real = static.reals[at]
            real.fill_(True) if rows.real is None else real.copy_(rows.real)


def read(static: StaticPass, lanes: Sequence[int], groups: Sequence[Group], parts: Sequence[Rows]) -> list[Tensor]:
    """What came of each part: copies, since the next pass writes over them."""
    hidden: list[Tensor] = [static.hidden] * len(parts)
    for lane, group in zip(lanes, groups, strict=True):
        if group.delta is not None:
            rows = parts[group.delta]
            hidden[group.delta] = asked(static.kept_hidden[lane, None, : rows.ids.shape[1]], rows)
        for index, place in group.canvases:
            rows = parts[index]
            batch, width = rows.ids.shape
            hidden[index] = asked(static.canvas_hidden[lane, place : place + batch, :width], rows)
    return hidden


def asked(hidden: Tensor, rows: Rows) -> Tensor:
    """Of hidden states `[B, T, D]` of `rows` those that are asked for."""
    return hidden.clone() if rows.asked is None else hidden.reshape(-1, hidden.shape[-1])[rows.asked]
