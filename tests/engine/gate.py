"""Gates that hold up a scheduler's forwards and the loading of its models, and a clock that tests set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from attrs import frozen
from torch import Tensor

from dgemma_engine import engine
from dgemma_engine.model import DiffusionGemma, Rows
from dgemma_engine.prefix_cache import Prefix, PrefixCache

WAIT_S = 20.0
"""Far more than anything here takes: when it is over, the test has failed and says where."""


@frozen
class Part:
    """Rows of one forward: of which `owner` (client and document), of what kind, `[B, T]`."""

    owner: Hashable
    kind: str
    shape: tuple[int, int]


@frozen
class Forward:
    parts: tuple[Part, ...]

    @property
    def owners(self) -> set[Any]:
        return {part.owner for part in self.parts}

    @property
    def owner(self) -> Any:
        (owner,) = self.owners
        return owner

    @property
    def kind(self) -> str:
        """What it is for: a prefix may ride on a canvas."""
        return max((part.kind for part in self.parts), key=["prefix", "read", "canvas"].index)

    def shapes(self, kind: str) -> list[tuple[int, int]]:
        return [part.shape for part in self.parts if part.kind == kind]


class Gate:
    """Stands before every forward of a scheduler's thread and keeps count; other threads pass unseen."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen: list[Forward] = []
        self.broken: dict[Hashable, Exception] = {}
        """Owners whose rows cannot be run."""
        self._changed = threading.Condition()
        self._standing: Forward | None = None
        self._let = 0
        self._is_open = False
        self._owners: dict[int, tuple[Any, Hashable]] = {}
        run, borrow = DiffusionGemma.forward, PrefixCache.borrowed

        def forward(model: DiffusionGemma, parts: Sequence[Rows]) -> list[Tensor]:
            if threading.current_thread().name == "scheduler":
                self._pass(parts)
            return run(model, parts)

        @contextmanager
        def borrowed(cache: PrefixCache, ids: Sequence[int], owner: Hashable = None, room: int = 0) -> Iterator[Prefix]:
            with borrow(cache, ids, owner, room) as prefix:
                # The cache itself is kept too: another at its address would take over its owner.
                self._owners[id(prefix.cache)] = (prefix.cache, owner)
                yield prefix

        patch.setattr(DiffusionGemma, "forward", forward)
        patch.setattr(PrefixCache, "borrowed", borrowed)

    def wait(self) -> Forward:
        """The forward that stands at the gate, once there is one."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._standing, WAIT_S), f"no forward came after {self.seen[-3:]}"
            assert self._standing is not None
            return self._standing

    def step(self) -> Forward:
        """Let the next forward pass."""
        standing = self.wait()
        with self._changed:
            self._let += 1
            self._standing = None
            self._changed.notify_all()
        return standing

    def until(self, owner: Hashable, kind: str, nth: int = 1) -> Forward:
        """Let forwards pass until the `nth` of this owner and kind from now on stands at the gate."""
        for _ in range(1000):
            standing = self.wait()
            nth -= owner in standing.owners and standing.kind == kind
            if nth == 0:
                return standing
            self.step()
        raise AssertionError(f"no {kind} of {owner} came in {self.seen}")

    def open(self) -> None:
        """Let everything pass."""
        with self._changed:
            self._is_open = True
            self._standing = None
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_open = False

    def of(self, owner: Hashable) -> list[Forward]:
        return [forward for forward in self.seen if owner in forward.owners]

    def order(self) -> list[Any]:
        """Whose forwards came, one after the other, equal neighbours once; each must have had one owner."""
        owners = [forward.owner for forward in self.seen]
        return [owner for owner, before in zip(owners, [None, *owners], strict=False) if owner != before]

    def _pass(self, parts: Sequence[Rows]) -> None:
        forward = Forward(tuple(self._part(rows) for rows in parts))
        with self._changed:
            self.seen.append(forward)
            if not self._is_open:
                self._standing = forward
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._let or self._is_open, WAIT_S), f"nobody let {forward} pass"
                self._let -= bool(self._let)
        for owner in forward.owners & self.broken.keys():
            raise self.broken[owner]

    def _part(self, rows: Rows) -> Part:
        kind = "canvas" if not rows.encoder else "prefix" if rows.kept else "read"
        batch, count = rows.ids.shape
        return Part(self._owners[id(rows.cache)][1], kind, (batch, count))


class Clock:
    """`time` for the modules that decide by the clock; it goes on when it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch, *modules: Any) -> None:
        self.now = 1000.0
        for module in modules:
            patch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now


class LoadingGate:
    """Holds up the loading of models, half-way, until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch, at: float = 0.5) -> None:
        self.loads: list[str] = []
        self._open = threading.Event()
        self._reached = threading.Semaphore(0)
        load = engine.load_model

        def gated(
            folder: Any, dtype: Any, device: Any, on_progress: Callable[[float], None], *form: Any
        ) -> DiffusionGemma:
            self.loads.append(str(folder))
            waited = False

            def heard(fraction: float) -> None:
                nonlocal waited
                on_progress(fraction)
                if fraction >= at and not waited:
                    waited = True
                    self._reached.release()
                    assert self._open.wait(WAIT_S), f"nobody let {folder} load"

            return load(folder, dtype, device, heard, *form)

        patch.setattr(engine, "load_model", gated)

    def wait(self) -> None:
        """Until a model is half loaded."""
        assert self._reached.acquire(timeout=WAIT_S), "no model was half loaded"

    def open(self) -> None:
        self._open.set()
