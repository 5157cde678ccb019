"""One request's life in the engine: prefix, canvases, candidates."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from . import wire
from .canvas import CHARS_PER_TOKEN_AT_MOST, Canvas, build_canvas, draft_ids, prefix_ids
from .holes import find_join, plans
from .likelihood import log_likelihoods
from .model import DiffusionGemma
from .passes import Passes, Settled, WholeTexts
from .prefix_cache import RIDING_ROWS, Prefix, PrefixCache
from .request import Options, Progress
from .sampler import SeededDraws
from .steps import Steps
from .tokenizer import Tokenizer

Part: TypeAlias = "str | wire.Hole"

RANKED_SUFFIX_TOKENS = 24
"""Tokens after the last hole that a candidate is judged by: enough to see whether the text goes on."""
SPARES = 2
"""Results of other lengths that a caller who asks for spares gets: they have been computed anyway."""
JOIN_TOKENS = 16
"""Suffix tokens that must fit behind the holes of a canvas, and that end every block of a longer hole."""


@frozen
class Beam:
    """A way to fill the text so far: `texts` of the holes done, `rest` to do, from text to text."""

    rest: list[Part]
    texts: tuple[str, ...] = ()
    score: float = 0.0
    finish: str = "converged"
    passes: int = 0

    def grow(self, rest: list[Part], texts: tuple[str, ...], score: float, finish: str, passes: int) -> Beam:
        worst = max(self.finish, finish, key=wire.FINISHES.index)
        return Beam(rest, self.texts + texts, self.score + score, worst, self.passes + passes)

    def whole(self, later: list[Part], texts: tuple[str, ...]) -> tuple[str, ...]:
        """The texts of all holes while those of the next canvas read `texts` and `later` is still to come."""
        return self.texts + texts + ("",) * (len(later) // 2)


@define
class Fill:
    """Fills one masked text; made for one request and used once."""

    model: DiffusionGemma
    tokenizer: Tokenizer
    prefixes: PrefixCache
    options: Options
    progress: Progress = field(init=False)
    _passes: Passes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(self.options)
        draws = SeededDraws(self.model.config.vocab_size, self.model.device, self.options.seed)
        self._passes = Passes(self.model, self.tokenizer, draws, self.progress)

    def run(self, text: wire.MaskedText) -> Steps[list[wire.Candidate]]:
        """Candidates, best first. Raises `EngineError("request")`."""
        beams = [Beam(_merged(text.parts))]
        # Holes that do not share a canvas are filled one canvas after the other; every candidate goes its own way.
        while len(beams[0].rest) > 1:
            wanted = self.options.candidates if len(beams) == 1 else 1
            grown: list[Beam] = []
            for beam in beams:
                grown += yield from self._next_canvas(beam, wanted)
            beams = grown
        # A hole is there to be filled: nothing is offered only when there is nothing else.
        beams.sort(key=lambda beam: (not any(beam.texts), -beam.score))
        return [wire.Candidate(beam.texts, beam.score, beam.passes, beam.finish) for beam in beams]

    def _next_canvas(self, beam: Beam, wanted: int) -> Steps[list[Beam]]:
        """Fill the holes that fit on the next canvas, `wanted` ways at most."""
        text, rest = str(beam.rest[0]), beam.rest[1:]
        started = time.monotonic()
        ids = prefix_ids(self.tokenizer, text, self.model.config.bos_id, self.options.context)
        with self.prefixes.borrowed(ids, self.options.owner, self.model.config.canvas_length) as prefix:
            self.progress.tokens["prefix"] = len(ids)
            self.progress.tokens["reused"] = len(prefix.ids)
            yield from prefix.extend(ids[len(prefix.ids) :], RIDING_ROWS)
            self.progress.spend("prefill", started)
            count = self._holes_that_fit(rest)
            if count == 0:
                return [(yield from self._long_hole(beam, prefix))]
            now, later = rest[: 2 * count], rest[2 * count :]
            budget = self._budget(now)
            whole = partial(beam.whole, later)
            settled = yield from self._denoise(now, prefix, wanted, budget, whole, ends=not later)
            ranked = yield from self._ranked(settled, now, prefix)
            # Whatever is still to be filled is filled for the wanted ones only.
            ranked = ranked[: wanted if later or not self.options.spares else wanted + SPARES]
        self._passes.show(ranked[0][0], budget, whole)
        grown = []
        for one, score in ranked:
            filled = "".join(text + str(after) for text, after in zip(one.texts, now[1::2], strict=True))
            grown.append(beam.grow([text + filled, *later], one.texts, score, one.finish, one.passes))
        return grown

    def _holes_that_fit(self, rest: list[Part]) -> int:
        """How many of the first holes go on one canvas with the text between them and some after."""
        width = self.model.config.canvas_length
        used = count = 0
        for hole, after in zip(rest[::2], rest[1::2], strict=True):
            assert isinstance(hole, wire.Hole)
            used += self._slots(hole)
            near = str(after)[: width * CHARS_PER_TOKEN_AT_MOST]
            tail = len(self.tokenizer.encode(near))
            if used + min(tail, JOIN_TOKENS) > width:
                break
            count += 1
            used += tail
            if near != after:
                break
        return count

    def _slots(self, hole: wire.Hole) -> int:
        return max(hole.max_tokens, len(draft_ids(self.tokenizer, hole)))

    def _budget(self, now: list[Part]) -> int:
        """Where the schedule starts: drafts with less noise on them have fewer passes left."""
        noise = max(hole.noise if hole.draft else 1.0 for hole in _holes(now))
        return math.ceil(noise * self.options.schedule.passes)

    def _denoise(
        self, now: list[Part], prefix: Prefix, wanted: int, budget: int, whole: WholeTexts, *, ends: bool
    ) -> Steps[list[Settled]]:
        """Run every sizing of the holes, `wanted` times each, as one batch of canvases.

        `ends` tells that no text follows `now`.
        """
        config, filler = self.model.config, self._passes.filler
        drafts = [len(draft_ids(self.tokenizer, hole)) for hole in _holes(now)]
        policy, limits = self.options.length, [self._slots(hole) for hole in _holes(now)]
        if all(drafts):
            # A draft says how long the text is, give or take the fillers after it.
            policy = "exact" if filler is None else "elastic"
            limits = limits if filler is not None else drafts
        canvases, shrinks = [], []
        for slots, elastic in plans(policy, limits, filler is not None):
            canvas = build_canvas(
                self.tokenizer,
                now,
                [max(pair) for pair in zip(slots, drafts, strict=True)],
                config.canvas_length,
                filler=filler if elastic else None,
                end=config.eos_ids[0] if ends else None,
            )
            canvases += [canvas] * wanted
            shrinks += [elastic] * wanted
        return (yield from self._passes.run(canvases, shrinks, prefix, budget, whole))

    def _ranked(self, settled: list[Settled], now: list[Part], prefix: Prefix) -> Steps[list[tuple[Settled, float]]]:
        """Distinct fills by the likelihood of their texts and of what follows, in nats, the best first."""
        started = time.monotonic()
        distinct = {one.texts: one for one in reversed(settled)}
        between = [self.tokenizer.encode(str(part)) for part in now[1:-1:2]]
        near = str(now[-1])[: RANKED_SUFFIX_TOKENS * CHARS_PER_TOKEN_AT_MOST]
        after = self.tokenizer.encode(near)[:RANKED_SUFFIX_TOKENS]
        written = [
            [id_ for text, pinned in pairs for id_ in self.tokenizer.encode(text) + pinned]
            for pairs in (zip(texts, [*between, after], strict=True) for texts in distinct)
        ]
        scores = yield from log_likelihoods(self.model, prefix, written)
        scored = list(zip(distinct.values(), scores, strict=True))
        scored.sort(key=lambda pair: (not any(pair[0].texts), -pair[1]))
        self.progress.spend("rank", started)
        return scored

    def _long_hole(self, beam: Beam, prefix: Prefix) -> Steps[Beam]:
        """A hole longer than a canvas, block by block; every block sees the text it must come out at."""
        before, hole, suffix, *later = beam.rest
        assert isinstance(hole, wire.Hole)
        width, filler = self.model.config.canvas_length, self._passes.filler
        join = min(JOIN_TOKENS, width // 4)
        draft = draft_ids(self.tokenizer, hole)
        left = len(draft) if draft and filler is None else self._slots(hole)
        _, elastic = plans(self.options.length, [left], filler is not None)[0]
        after = self.tokenizer.encode(str(suffix)[: width * CHARS_PER_TOKEN_AT_MOST])
        ids: list[int] = []
        finish, passes = "converged", 0
        whole = partial(beam.whole, later)
        # The end of the prefix is gone back to: its hidden state has to be there before the first block.
        yield from prefix.extend(prefix.pending)
        start, last = len(prefix.ids), prefix.last

        def written(texts: tuple[str, ...]) -> tuple[str, ...]:
            return whole((self.tokenizer.decode(ids) + texts[0],))

        while True:
            slots = min(left, width - join)
            block = Canvas(width)
            block.open(slots, draft[:slots], filler if elastic else None)
            block.pin(after)
            budget = math.ceil((hole.noise if draft else 1.0) * self.options.schedule.passes)
            (settled,) = yield from self._passes.run([block], [elastic], prefix, budget, written)
            finish = max(finish, settled.finish, key=wire.FINISHES.index)
            passes += settled.passes
            rows = settled.ids[:slots]
            length = self._passes.length(rows)
            over = length < slots or slots == left or self.progress.late
            # The rows just before the pinned suffix were bent towards it; what comes next is written afresh.
            kept = rows[:length] if over else rows[: slots - join]
            ids += kept
            text = self.tokenizer.decode(ids)
            joined = find_join(text, str(suffix))
            if over or joined is not None:
                break
            left, draft = left - len(kept), draft[len(kept) :]
            yield from prefix.extend(kept)
        prefix.truncate(start)
        prefix.last = last
        text = text[:joined]
        self._passes.show(evolve(settled, texts=(text,)), budget, whole)
        ids = self.tokenizer.encode(text) + after[:RANKED_SUFFIX_TOKENS]
        (score,) = yield from log_likelihoods(self.model, prefix, [ids])
        return beam.grow([str(before) + text + str(suffix), *later], (text,), score, finish, passes)


def _holes(parts: list[Part]) -> list[wire.Hole]:
    return [part for part in parts if isinstance(part, wire.Hole)]


def _merged(parts: tuple[Part, ...]) -> list[Part]:
    """Text, hole, text, hole, … text: neighbours of one kind joined or parted by empty text."""
    out: list[Part] = [""]
    for part in parts:
        if isinstance(part, wire.Hole):
            out += [part, ""]
        else:
            out[-1] = str(out[-1]) + part
    return out
