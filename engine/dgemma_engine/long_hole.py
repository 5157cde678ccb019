"""A hole longer than a canvas, block by block; every block sees the text it must come out at."""

from __future__ import annotations

import math
from functools import partial

from attrs import evolve, frozen

from . import wire
from .beam import Beam
from .canvas import CHARS_PER_TOKEN_AT_MOST, Canvas, draft_ids
from .holes import JOIN_TOKENS, RANKED_SUFFIX_TOKENS, ROLLS, find_join, plans
from .likelihood import log_likelihoods
from .passes import Passes
from .prefix_cache import Prefix
from .steps import Steps


@frozen
class LongHole:
    """Writes the first hole of what is to do, by the length rule `policy`, with `budget` passes a block."""

    passes: Passes
    policy: str
    budget: int

    def run(self, beam: Beam, prefix: Prefix, typed: list[int]) -> Steps[Beam]:
        """The beam with the hole filled; the ids `typed` stand before it, behind the prefix, which stays as it was."""
        before, hole, suffix, *later = beam.rest
        assert isinstance(hole, wire.Hole)
        model, tokenizer, filler = self.passes.model, self.passes.tokenizer, self.passes.filler
        width = model.config.canvas_length
        join = min(JOIN_TOKENS, width // 4)
        draft = draft_ids(tokenizer, hole)
        left = len(draft) if draft and filler is None else max(hole.max_tokens, len(draft))
        _, elastic = plans(self.policy, [left], filler is not None)[0]
        after = tokenizer.encode(str(suffix)[: width * CHARS_PER_TOKEN_AT_MOST])
        ids: list[int] = []
        finish, passes, rolls = "converged", 0, 0
        whole = partial(beam.whole, later)
        # The end of the prefix is gone back to: its hidden state has to be there before the first block.
        yield from prefix.extend([*prefix.pending, *typed])
        start, last = len(prefix.ids), prefix.last

        def written(texts: tuple[str, ...]) -> tuple[str, ...]:
            return whole((tokenizer.decode(ids) + texts[0],))

        while True:
            slots = min(left, width - join)
            block = Canvas(width)
            block.open(slots, draft[:slots], filler if elastic else None)
            block.pin(after)
            budget = math.ceil((hole.noise if draft else 1.0) * self.budget)
            (settled,) = yield from self.passes.run([block], [elastic], prefix, budget, written)
            finish = max(finish, settled.finish, key=wire.FINISHES.index)
            passes += settled.passes
            rows = settled.ids[:slots]
            length = self.passes.length(rows)
            failed = not ids and not settled.texts[0] and len(self.passes.ends) > 0
            if failed and rolls < ROLLS and not self.passes.progress.late:
                rolls += 1
                continue
            over = length < slots or slots == left or self.passes.progress.late
            # The rows just before the pinned suffix were bent towards it; what comes next is written afresh.
            kept = rows[:length] if over else rows[: slots - join]
            ids += kept
            text = tokenizer.decode(ids)
            joined = find_join(text, str(suffix))
            if over or joined is not None:
                break
            left, draft = left - len(kept), draft[len(kept) :]
            yield from prefix.extend(kept)
        prefix.truncate(start)
        prefix.last = last
        text = text[:joined]
        self.passes.show(evolve(settled, texts=(text,)), budget, whole)
        ids = tokenizer.encode(text) + after[:RANKED_SUFFIX_TOKENS]
        (score,) = yield from log_likelihoods(model, prefix, [ids])
        return beam.grow([str(before) + text + str(suffix), *later], (text,), score, finish, passes)
