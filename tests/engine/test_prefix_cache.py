"""Whatever is edited, cut short, shared or thrown out: what a prefix holds is what a fresh prefill makes of its ids."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import cache as once
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_engine import prefix_cache, wire
from dgemma_engine.model import DiffusionGemma, KVCache, load_model
from dgemma_engine.prefix_cache import Prefix, PrefixCache
from dgemma_engine.steps import Steps

from .gate import Gate
from .office import Office

TOLERANCE = 1e-4
PROBE = torch.tensor([[9, 8, 10, 11]])
OWNERS = ("ann", "ben", "cat")

Ids = list[int]
Hidden = dict[tuple[int, ...], tuple[torch.Tensor | None, torch.Tensor]]


@once
def network(folder: Path) -> DiffusionGemma:
    return load_model(folder)


@pytest.fixture(scope="module")
def fresh(tiny_checkpoint: Path) -> Callable[[Ids], tuple[torch.Tensor | None, torch.Tensor]]:
    """From ids to the hidden states of the last one, and of `PROBE` behind them, by a prefill in one piece."""
    known: Hidden = {}
    model = network(tiny_checkpoint)

    def prefill(ids: Ids) -> tuple[torch.Tensor | None, torch.Tensor]:
        key = tuple(ids)
        if key not in known:
            cache = model.new_cache()
            last = model.encode(torch.tensor([ids]), cache)[0, -1] if ids else None
            known[key] = (last, model.read(PROBE, cache))
        return known[key]

    return prefill


@define
class Use:
    """A request on its way: it has borrowed a prefix and goes on chunk by chunk."""

    prefix: Prefix
    ids: Ids
    steps: Steps[None]
    stack: ExitStack
    rows: Any = None
    is_done: bool = False

    def go(self, model: DiffusionGemma, fails: bool = False) -> None:
        """One forward, as a scheduler would do it; what is left to ride is encoded at the end."""
        try:
            self.rows = next(self.steps) if self.rows is None else self.steps.send(model.forward(self.rows))
        except StopIteration:
            if self.prefix.pending:
                (hidden,) = model.forward(self.prefix.riding())
                self.prefix.settle(hidden)
            self.is_done = True
        if fails and self.rows is not None and not self.is_done:
            # The rows are in the cache, but nobody hears of it.
            model.forward(self.rows)


@define
class World:
    """A cache and what is under way in it, with what may be expected of it."""

    cache: PrefixCache
    fresh: Callable[[Ids], tuple[torch.Tensor | None, torch.Tensor]]
    uses: list[Use] = field(factory=list)
    asked: int = 0

    def borrow(self, ids: Ids, owner: str, riding: bool) -> None:
        others = {id(prefix): (prefix, list(prefix.ids)) for prefix in self.cache.held if prefix.owner != owner}
        used = {id(use.prefix) for use in self.uses}
        stack = ExitStack()
        prefix = stack.enter_context(self.cache.borrowed(ids, owner, 4))
        self.asked += len(ids)
        assert id(prefix) not in used, "a prefix in use was handed out again"
        assert prefix.ids == ids[: len(prefix.ids)]
        assert len(prefix.ids) < len(ids), "the last token is always encoded anew"
        for other, before in others.values():
            # Another owner's prefix stays as it is, or goes over as a whole to who wants all of it.
            assert other.ids == before
        self.uses.append(Use(prefix, ids, prefix.extend(ids[len(prefix.ids) :], riding), stack))

    def leave(self, use: Use) -> None:
        self.uses.remove(use)
        use.steps.close()
        use.stack.close()

    def check(self) -> None:
        cache = self.cache
        assert cache.tokens_saved + cache.tokens_encoded == self.asked
        caches = [prefix.cache for prefix in cache.held]
        stores = {store.data_ptr() for one in caches for store in one._keys if store.numel()}
        assert len(stores) == sum(1 for one in caches for store in one._keys if store.numel()), "shared memory"
        assert {id(use.prefix) for use in self.uses} == {id(prefix) for prefix in cache._used}
        idle = cache.held[len(self.uses) :]
        assert len(idle) <= prefix_cache.ENTRIES
        assert len(idle) <= 1 or sum(prefix.cache.size for prefix in idle) <= prefix_cache.BYTES
        for prefix in cache.held:
            assert prefix.cache.length == len(prefix.ids)
            last, after = self.fresh(prefix.ids)
            assert (cache.model.read(PROBE, prefix.cache) - after).abs().max() < TOLERANCE
            if prefix.last is not None:
                assert last is not None
                assert prefix.last.untyped_storage().nbytes() == last.numel() * 4, "it holds on to a whole forward"
                assert (prefix.last - last).abs().max() < TOLERANCE
        for prefix in idle:
            assert not prefix.pending


TAILS = st.lists(st.sampled_from([8, 9]), max_size=12)
TEXTS = st.one_of(
    # Of a few texts, cut somewhere and typed on: documents that share much, keystrokes, edits far up, undo.
    st.builds(
        lambda base, cut, tail: [2, *base[:cut], *tail],
        st.sampled_from([[8, 9] * 20, [8] * 40, [9, 9, 8, 10] * 10]),
        st.integers(0, 40),
        TAILS,
    ),
    TAILS.map(lambda tail: [2, *tail]),
)
ACTIONS = st.one_of(
    st.tuples(st.just("borrow"), TEXTS, st.sampled_from(OWNERS), st.sampled_from([0, 4])),
    st.tuples(st.sampled_from(["go", "go", "finish", "leave", "fail"]), st.integers(0, 5)),
)


def small_limits() -> AbstractContextManager[Any]:
    """Limits that are met with a few short documents."""
    return mock.patch.multiple(prefix_cache, CHUNK_ROWS=8, ENTRIES=3, FORK_TOKENS=4, BYTES=90_000)


@given(actions=st.lists(ACTIONS, min_size=4, max_size=25))
@settings(max_examples=40)
def test_what_a_prefix_holds_is_a_fresh_prefill(
    tiny_checkpoint: Path, fresh: Callable[[Ids], Any], actions: list[Any]
) -> None:
    model = network(tiny_checkpoint)
    world = World(PrefixCache(model), fresh)
    with torch.inference_mode(), small_limits():
        for name, *arguments in actions:
            if name == "borrow":
                world.borrow(*arguments)
            elif world.uses:
                use = world.uses[arguments[0] % len(world.uses)]
                while not use.is_done and name in ("go", "finish", "fail"):
                    use.go(model, fails=name == "fail")
                    if name != "finish":
                        break
                if name == "finish":
                    assert use.prefix.ids == use.ids
                    assert use.prefix.last is not None
                if name in ("finish", "leave", "fail"):
                    world.leave(use)
            world.check()
        for use in list(world.uses):
            world.leave(use)
            world.check()


def encoded(cache: PrefixCache, ids: Ids, owner: str) -> int:
    """Fills the prefix up; returns how much of it was there."""
    with cache.borrowed(ids, owner) as prefix:
        reused = len(prefix.ids)
        if reused < len(ids):
            prefix.pending = ids[reused:]
            prefix.settle(cache.model.forward(prefix.riding())[0])
    return reused


DOCUMENT = [2, *range(8, 108)]
OTHER = [2, *range(120, 220)]


@pytest.mark.parametrize(
    ("before", "ids", "owner", "reused"),
    [
        ([], DOCUMENT, "ann", 0),
        ([(DOCUMENT, "ann")], DOCUMENT, "ann", 100),
        ([(DOCUMENT, "ann")], [*DOCUMENT, 8], "ann", 101),
        ([(DOCUMENT, "ann")], DOCUMENT[:50], "ann", 49),
        ([(DOCUMENT, "ann")], [*DOCUMENT[:50], 7, *DOCUMENT[50:]], "ann", 50),
        ([(DOCUMENT, "ann")], OTHER, "ann", 1),
        ([(DOCUMENT, "ann")], OTHER, "ben", 0),
        ([(DOCUMENT, "ann")], DOCUMENT, "ben", 100),
        ([(DOCUMENT, "ann")], [*DOCUMENT, 8], "ben", 101),
        ([(DOCUMENT, "ann")], [*DOCUMENT[:40], 7], "ben", 40),
        ([(DOCUMENT, "ann")], [*DOCUMENT[:20], 7], "ben", 0),
        ([(DOCUMENT, "ann")], [*DOCUMENT[:20], 7], "ann", 20),
        ([(OTHER, "ben"), (DOCUMENT, "ann")], [*OTHER, 7], "ann", 101),
        ([(DOCUMENT, "ann"), (OTHER, "ben")], [*DOCUMENT, 8], "ann", 101),
        ([(DOCUMENT, "ann"), (DOCUMENT[:60], "ben")], [*DOCUMENT, 8], "ben", 101),
        ([(DOCUMENT, "ann"), (DOCUMENT[:60], "ben")], [*DOCUMENT, 8], "ann", 101),
    ],
)
def test_how_much_of_a_prefix_is_there(
    tiny_checkpoint: Path, before: list[tuple[Ids, str]], ids: Ids, owner: str, reused: int
) -> None:
    with torch.inference_mode():
        cache = PrefixCache(network(tiny_checkpoint))
        for earlier, whose in before:
            encoded(cache, earlier, whose)
        assert encoded(cache, ids, owner) == reused


def test_the_last_few_documents_are_kept(tiny_checkpoint: Path) -> None:
    with torch.inference_mode():
        cache = PrefixCache(network(tiny_checkpoint))
        documents = {f"document {number}": [2, *[10 + number] * 40] for number in range(prefix_cache.ENTRIES + 1)}
        for owner, ids in documents.items():
            assert encoded(cache, ids, owner) == 0
        (oldest, first), *_, (newest, last) = documents.items()
        assert encoded(cache, last, newest) == 40
        assert encoded(cache, first, oldest) == 0


def test_hits_are_requests_that_find_half_of_their_prefix(tiny_checkpoint: Path) -> None:
    with torch.inference_mode():
        cache = PrefixCache(network(tiny_checkpoint))
        asked = (DOCUMENT, DOCUMENT, DOCUMENT[:51], [*DOCUMENT[:51], *OTHER[:60]], OTHER)
        found = [encoded(cache, ids, "ann") for ids in asked]
        assert found == [0, 100, 50, 51, 1]
        counts = {"tokens_saved": sum(found), "tokens_encoded": sum(map(len, asked)) - sum(found)}
        assert cache.counts() == {"hits": 2, "misses": 3, **counts}


def test_without_memory_for_a_prefix_the_others_stay_in_order(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise MemoryError

    with torch.inference_mode():
        cache = PrefixCache(network(tiny_checkpoint))
        encoded(cache, DOCUMENT, "ann")
        encoded(cache, OTHER, "ben")
        with monkeypatch.context() as patch:
            patch.setattr(KVCache, "reserve", refuse)
            with pytest.raises(MemoryError):
                encoded(cache, [*DOCUMENT, 9], "ann")
        assert not cache._used
        assert encoded(cache, OTHER, "ben") == 100
        assert encoded(cache, DOCUMENT, "ann") in (0, 100)


# Through the front door.


def delta(office: Office, before: str, keystrokes: str) -> tuple[Any, Any]:
    office.fill("mine", before).filled()
    count = len(office.gate.of((1, "mine")))
    asked = office.fill("mine", before + keystrokes, passes=3)
    asked.filled()
    return office.gate.of(asked.owner)[count:], asked.filled().tokens


@pytest.mark.parametrize("keystrokes", ["1", " + y", "0123456789" * 5])
def test_a_keystroke_rides_in_the_first_pass(office: Office, gate: Gate, keystrokes: str) -> None:
    gate.open()
    forwards, tokens = delta(office, "x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\ny = ", keystrokes)
    assert [forward.kind for forward in forwards] == ["canvas"] * 3 + ["read"]
    (riding,) = forwards[0].shapes("prefix")
    assert riding == (1, tokens["prefix"] - tokens["reused"])
    assert not any(forward.shapes("prefix") for forward in forwards[1:])
    assert office.scheduler.queue().chunks == 0


def test_of_much_new_text_the_last_chunk_rides(office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_cache, "CHUNK_ROWS", 32)
    gate.open()
    forwards, tokens = delta(office, "x = ", "0123456789" * 8)
    count = tokens["prefix"] - tokens["reused"]
    assert count > 32
    chunks = (count - 1) // 32
    assert [forward.kind for forward in forwards] == ["prefix"] * chunks + ["canvas"] * 3 + ["read"]
    assert forwards[chunks].shapes("prefix") == [(1, count - 32 * chunks)]
    assert office.scheduler.queue().chunks == chunks


def test_what_was_warmed_is_there(office: Office, gate: Gate) -> None:
    gate.open()
    text = "values = [" + "12, 45, " * 12
    warmed = office.warm("mine", text).answer()
    assert isinstance(warmed, wire.Warmed)
    assert warmed.tokens["reused"] == 0
    again = office.warm("mine", text).answer()
    assert again.tokens == {"prefix": warmed.tokens["prefix"], "reused": warmed.tokens["prefix"] - 1}
    tokens = office.fill("mine", text + "9").filled().tokens
    assert tokens["prefix"] - tokens["reused"] <= 2
    second_client = office.fill("mine", text + "9", client=2).filled().tokens
    assert second_client["reused"] == second_client["prefix"] - 1
    cache = office.scheduler.cache()
    assert (cache.hits, cache.misses, cache.hit_rate) == (3, 1, 0.75)
    assert cache.entries == 2
    assert cache.tokens == 2 * tokens["prefix"]
    assert cache.tokens_saved + cache.tokens_encoded == 2 * warmed.tokens["prefix"] + 2 * tokens["prefix"]


def test_a_score_leaves_the_prefix_of_its_document(office: Office, gate: Gate) -> None:
    gate.open()
    text = "values = [" + "12, 45, " * 12
    whole = office.fill("mine", text).filled().tokens["prefix"]
    office.ask(wire.Score, text, ("1", "2"), document="mine").answer()
    assert office.fill("mine", text + "9").filled().tokens["reused"] >= whole - 1


def test_what_has_a_seed_leaves_the_prefixes_alone(office: Office, gate: Gate) -> None:
    gate.open()
    tokens = [office.fill("mine", "x = [1, 2, 3]", seed=1).filled().tokens for _ in range(2)]
    assert [one["reused"] for one in tokens] == [0, 0]
    assert office.scheduler.cache().entries == 0
