"""One request's life in the engine: prefix, canvases, candidates."""

from __future__ import annotations

import math
import time
from functools import partial

from attrs import define, evolve, field

from . import wire
from .beam import Beam, Part, holes_of, merged
from .canvas import CHARS_PER_TOKEN_AT_MOST, build_canvas, draft_ids, prefix_ids
from .draws import SeededDraws
from .errors import EngineError
from .holes import JOIN_TOKENS, RANKED_SUFFIX_TOKENS, ROLLS, SURVIVORS, plans
from .likelihood import log_likelihoods
from .long_hole import LongHole
from .model import DiffusionGemma
from .passes import Passes, Settled, WholeTexts
from .prefix_cache import Prefix, PrefixCache
from .prompts.infill import InfillPrompt, Opening
from .request import Options, Progress
from .steps import Steps
from .tokenizer import Tokenizer

SPARES = 2
"""Results of other lengths that a caller who asks for spares gets: they have been computed anyway."""


@define
class Fill:
    """Fills one masked text; made for one request and used once.

    With a `prompt` the model is spoken to, else it reads the text before a hole as it is.
    """

    model: DiffusionGemma
    tokenizer: Tokenizer
    prefixes: PrefixCache
    options: Options
    prompt: InfillPrompt | None = None
    progress: Progress = field(init=False)
    _passes: Passes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(self.options)
        draws = SeededDraws(self.model.config.vocab_size, self.model.device, self.options.seed)
        ends = frozenset({self.prompt.turn.end, *self.model.config.eos_ids} if self.prompt else ())
        healer = self.prompt.healer if self.prompt else None
        self._passes = Passes(self.model, self.tokenizer, draws, self.progress, ends, healer)

    def run(self, text: wire.MaskedText) -> Steps[list[wire.Candidate]]:
        """Candidates, best first; what the deadline leaves undone is empty.

        Raises `EngineError`: `request`, or `empty` where a model that is spoken to says nothing.
        """
        beams = [Beam(merged(text.parts))]
        # Holes that do not share a canvas are filled one canvas after the other; every candidate goes its own way.
        while not beams[0].is_done:
            wanted = self.options.candidates if len(beams) == 1 else 1
            grown: list[Beam] = []
            for beam in beams:
                if grown and self.progress.late:
                    break
                grown += yield from self._next_canvas(beam, wanted)
            beams = grown
            if self.progress.late:
                break
        # A hole is there to be filled: nothing is offered only when there is nothing else.
        beams.sort(key=lambda beam: (not any(beam.texts), -beam.score))
        return [beam.candidate() for beam in beams]

    def _next_canvas(self, beam: Beam, wanted: int) -> Steps[list[Beam]]:
        """Fill the holes that fit on the next canvas, `wanted` ways at most."""
        text, rest = str(beam.rest[0]), beam.rest[1:]
        started = time.monotonic()
        opening = self._opening(text, rest)
        ids = opening.ids
        room = self.model.config.canvas_length + RANKED_SUFFIX_TOKENS
        with self.prefixes.borrowed(ids, self.options.owner, room) as prefix:
            self.progress.tokens["prefix"] = len(ids)
            self.progress.tokens["reused"] = len(prefix.ids)
            yield from prefix.extend(ids[len(prefix.ids) :], riding=True)
            self.progress.spend("prefill", started)
            count = self._holes_that_fit(rest, opening.rows)
            if count == 0:
                work = LongHole(self._passes, self.options.length, self.options.schedule.passes)
                typed = [*opening.tail, *self.tokenizer.encode(opening.typed)]
                return self._said([(yield from work.run(beam, prefix, typed))])
            now, later = rest[: 2 * count], rest[2 * count :]
            budget = self._budget(now)
            whole = partial(beam.whole, later)
            settled = yield from self._denoise(now, prefix, wanted, budget, whole, opening, ends=not later)
            ranked = yield from self._ranked(settled, now, prefix, opening)
            # Whatever is still to be filled is filled for the wanted ones only.
            ranked = ranked[: wanted if later or not self.options.spares else wanted + SPARES]
        self._passes.show(ranked[0][0], budget, whole)
        grown = []
        for one, score in ranked:
            filled = "".join(text + str(after) for text, after in zip(one.texts, now[1::2], strict=True))
            grown.append(beam.grow([text + filled, *later], one.texts, score, one.finish, one.passes))
        return self._said(grown)

    def _opening(self, text: str, rest: list[Part]) -> Opening:
        """Where the next canvas begins: behind `text`, and before `rest`."""
        if self.prompt is None:
            return Opening(prefix_ids(self.tokenizer, text, self.model.config.bos_id, self.options.context))
        # A draft begins where the hole does.
        heals = not draft_ids(self.tokenizer, holes_of(rest)[0])
        return self.prompt.opening(text, "".join(map(str, rest[1::2])), heals)

    def _said(self, beams: list[Beam]) -> list[Beam]:
        """Those that fill all of their holes: a model that is spoken to and says nothing has failed."""
        if self.prompt is None:
            return beams
        said = [beam for beam in beams if all(beam.texts)]
        if not said:
            raise EngineError("empty", "the model wrote nothing; ask again")
        return said

    def _holes_that_fit(self, rest: list[Part], used: int) -> int:
        """How many of the first holes go on one canvas with `used` rows, the text between them and some after."""
        width = self.model.config.canvas_length
        count = 0
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
        noise = max(hole.noise if hole.draft else 1.0 for hole in holes_of(now))
        return math.ceil(noise * self.options.schedule.passes)

    def _denoise(
        self,
        now: list[Part],
        prefix: Prefix,
        wanted: int,
        budget: int,
        whole: WholeTexts,
        opening: Opening,
        *,
        ends: bool,
    ) -> Steps[list[Settled]]:
        """Run every sizing of the holes, `wanted` times each, as one batch of canvases.

        Where neither filler nor draft says how long a hole is, more sizings are tried for one pass, once each, and the
        best of them go on. `ends` tells that no text follows `now`.
        """
        config, filler = self.model.config, self._passes.filler
        drafts = [len(draft_ids(self.tokenizer, hole)) for hole in holes_of(now)]
        policy, limits = self.options.length, [self._slots(hole) for hole in holes_of(now)]
        if all(drafts):
            # A draft says how long the text is, give or take the fillers after it.
            policy = "exact" if filler is None else "elastic"
            limits = limits if filler is not None else drafts
        sizings = plans(policy, limits, filler is not None)
        survivors = max(SURVIVORS, wanted) if policy == "auto" and filler is None else None
        if survivors is not None and len(sizings) <= survivors:
            survivors = None
        end = self.prompt.turn.end if self.prompt else config.eos_ids[0]
        suffix = config.traits.suffix
        canvases, shrinks = [], []
        sizes = [[max(pair) for pair in zip(slots, drafts, strict=True)] for slots, _ in sizings]
        for slots, (_, elastic) in zip(sizes, sizings, strict=True):
            canvas = build_canvas(
                self.tokenizer,
                now,
                slots,
                config.canvas_length,
                filler=filler if elastic else None,
                end=end if ends else None,
                before=opening.tail,
                typed=opening.typed,
                # As wide as the widest of the batch: more text costs no more than padding.
                suffix=suffix and suffix + max(map(sum, sizes)) - sum(slots),
            )
            copies = wanted if survivors is None else 1
            canvases += [canvas] * copies
            shrinks += [elastic] * copies
        settled = yield from self._passes.run(canvases, shrinks, prefix, budget, whole, survivors)
        for _ in range(ROLLS if self.prompt else 0):
            # Mostly the answer has begun with its end.
            failed = [one for one in settled if not all(one.texts)]
            if not failed or self.progress.late:
                break
            again = yield from self._passes.run(
                [one.canvas for one in failed], [one.shrinks for one in failed], prefix, budget, whole
            )
            spent = [evolve(one, passes=one.passes + old.passes) for one, old in zip(again, failed, strict=False)]
            settled = [one for one in settled if all(one.texts)] + spent
        return settled

    def _ranked(
        self, settled: list[Settled], now: list[Part], prefix: Prefix, opening: Opening
    ) -> Steps[list[tuple[Settled, float]]]:
        """Distinct fills by the likelihood of their texts and of what follows, in nats, the best first.

        What the deadline leaves unranked is left out.
        """
        started = time.monotonic()
        distinct = {one.texts: one for one in reversed(settled)}
        between = [self.tokenizer.encode(str(part)) for part in now[1:-1:2]]
        near = str(now[-1])[: RANKED_SUFFIX_TOKENS * CHARS_PER_TOKEN_AT_MOST]
        after = self.tokenizer.encode(near)[:RANKED_SUFFIX_TOKENS]
        written = [
            [id_ for text, pinned in pairs for id_ in self.tokenizer.encode(text) + pinned]
            for pairs in (
                zip((opening.typed + texts[0], *texts[1:]), [*between, after], strict=True) for texts in distinct
            )
        ]
        tail = opening.tail
        if tail:
            # What is typed is not what is judged.
            written = [tail, *([*tail, *ids] for ids in written)]
        scores = yield from log_likelihoods(self.model, prefix, written, lambda: self.progress.late)
        if tail:
            scores = [score - scores[0] for score in scores[1:]]
        scored = list(zip(distinct.values(), scores, strict=False))
        scored.sort(key=lambda pair: (not any(pair[0].texts), -pair[1]))
        self.progress.spend("rank", started)
        return scored
