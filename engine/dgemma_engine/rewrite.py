"""A rewrite's life in the engine: the selection block by block, each block the answer to a prompt of its own.

A selection that is too long to be asked for at once is cut into blocks of lines. Each is a whole small rewrite, with
what was written before in the document around it: the model answers what it was trained to answer, may write more or
fewer lines than there were, and can lose or repeat none of the next block. Were one answer cut into canvases by the
draft's length instead, whatever a canvas gains or loses in lines would go missing at its end, or come twice.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator

from attrs import define, field, frozen

from . import wire
from .canvas import CHARS_PER_TOKEN_AT_MOST, Canvas
from .draws import SeededDraws
from .errors import EngineError
from .model import DiffusionGemma
from .passes import Passes, WholeTexts
from .prefix_cache import Prefix, PrefixCache
from .prompts.chat import Turn
from .prompts.rewrite import Passage, rewrite_ids
from .request import Options, Progress
from .steps import Steps
from .tokenizer import Tokenizer

BLANK = " \t\r\n"
ROLLS = 2
"""Tries at an answer that begins with its end."""

_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


@frozen
class Block:
    """Lines of a selection. `lead` and `tail`, blank, stay as they are; the answer begins with `indent`."""

    lead: str
    indent: str
    core: str
    tail: str

    @classmethod
    def of(cls, text: str) -> Block:
        core = text.strip(BLANK)
        start = text.index(core)
        line = text.rfind("\n", 0, start) + 1
        return cls(text[:line], text[line:start], core, text[start + len(core) :])

    def holding(self, answer: str) -> str:
        """The block with `answer` for its core."""
        return self.lead + self.indent + answer.rstrip(BLANK) + self.tail


@define
class Rewrite:
    """Rewrites the one hole of a text as a prompt says; made for one request and used once."""

    model: DiffusionGemma
    tokenizer: Tokenizer
    prefixes: PrefixCache
    options: Options
    turn: Turn
    progress: Progress = field(init=False)
    _passes: Passes = field(init=False)
    _finish: str = field(default="converged", init=False)
    _count: int = field(default=0, init=False)
    """Passes so far."""

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(self.options)
        draws = SeededDraws(self.model.config.vocab_size, self.model.device, self.options.seed)
        ends = frozenset({self.turn.end, *self.model.config.eos_ids})
        self._passes = Passes(self.model, self.tokenizer, draws, self.progress, ends)

    def run(self, text: wire.MaskedText, prompt: wire.Prompt) -> Steps[list[wire.Candidate]]:
        """One candidate. What the deadline leaves undone comes back as it was.

        Raises `EngineError`: `request` for a prompt that does not fit, `empty` when an answer says nothing.
        """
        (hole,) = text.holes
        place = text.parts.index(hole)
        before, after = ("".join(map(str, parts)) for parts in (text.parts[:place], text.parts[place + 1 :]))
        draft = hole.draft or ""
        is_blank = not draft.strip(BLANK)
        noise = 1.0 if is_blank else hole.noise
        most = self.options.context // 4 if noise == 1 else self.model.config.canvas_length * 3 // 4
        done = ""
        at = 0
        for piece in [draft] if is_blank else cut(self.tokenizer, draft, most):
            at += len(piece)
            late = self._count > 0 and self.progress.late
            if late:
                self._finish = "deadline"
            if late or not (is_blank or piece.strip(BLANK)):
                done += piece
                continue
            block, rest = Block.of(piece), draft[at:]
            passage = Passage(before + done + block.lead, block.indent + block.core, block.tail + rest + after)
            room = math.ceil(hole.max_tokens * len(piece) / len(draft)) if draft else hole.max_tokens

            def whole(texts: tuple[str, ...], done: str = done, block: Block = block, rest: str = rest) -> tuple[str]:
                return (done + block.holding(texts[0]) + rest,)

            answer = yield from self._answer(prompt, passage, block, noise, room, whole)
            done += piece if answer is None else block.holding(answer)
        self.progress.tokens["canvases"] = self._passes.canvases
        return [wire.Candidate((done,), None, self._count, self._finish)]

    def _answer(
        self, prompt: wire.Prompt, passage: Passage, block: Block, noise: float, room: int, whole: WholeTexts
    ) -> Steps[str | None]:
        """What the model writes for the core of `block`; None when the deadline was over before that had an end."""
        started = time.monotonic()
        core, indent = self.tokenizer.encode(block.core), self.tokenizer.encode(block.indent)
        room = min(max(room, len(core)), self.options.context // 2)
        said_most = self.options.context - self.turn.size - len(indent) - room
        ids = self.turn.around(rewrite_ids(prompt, passage, self.tokenizer, said_most)) + indent
        with self.prefixes.borrowed(ids, self.options.owner, room + self.model.config.canvas_length) as prefix:
            self.progress.tokens["prefix"] += len(ids)
            self.progress.tokens["reused"] += len(prefix.ids)
            yield from prefix.extend(ids[len(prefix.ids) :], riding=True)
            self.progress.spend("prefill", started)
            for _ in range(ROLLS):
                answer = yield from self._written(prefix, core if noise < 1 else [], noise, room, whole)
                if answer is None or answer.strip(BLANK):
                    return answer
                prefix.truncate(len(ids))
        raise EngineError("empty", "the model answered nothing, twice; say the instruction in other words")

    def _written(
        self, prefix: Prefix, draft: list[int], noise: float, room: int, whole: WholeTexts
    ) -> Steps[str | None]:
        """One answer, canvas after canvas until it ends; the end is pinned where there is no more room."""
        width, passes = self.model.config.canvas_length, self.options.schedule.passes
        written: list[int] = []

        def so_far(texts: tuple[str, ...]) -> tuple[str, ...]:
            return whole((self.tokenizer.decode(written) + texts[0],))

        while True:
            left = room - len(written)
            is_last = left <= width
            slots = min(left, width - 1) if is_last else width
            canvas = Canvas(width)
            canvas.open(slots, [*draft, self.turn.end] if draft else [], None)
            if is_last:
                canvas.pin([self.turn.end])
            budget = math.ceil(noise * passes) if draft else passes
            (settled,) = yield from self._passes.run([canvas], [False], prefix, budget, so_far)
            self._count += settled.passes
            self._finish = max(self._finish, settled.finish, key=wire.FINISHES.index)
            length = self._passes.length(settled.ids[:slots])
            written += settled.ids[:length]
            if is_last or length < slots:
                return self.tokenizer.decode(written)
            if self.progress.late:
                self._finish = "deadline"
                return None
            draft = []
            yield from prefix.extend(settled.ids)


def cut(tokenizer: Tokenizer, text: str, most: int) -> Iterator[str]:
    """`text` in pieces of about `most` tokens at most: behind blank lines where that can be, else behind lines.

    A line that is longer is cut anywhere. There is one piece at least.
    """
    while True:
        near = text[: most * CHARS_PER_TOKEN_AT_MOST]
        ids, ends = tokenizer.encode_with_ends(near)
        if near == text and len(ids) <= most:
            yield text
            return
        if len(ids) > most:
            near = near[: max(1, ends[most - 1])]
        blank = [match.end() for match in _BLANK_LINE.finditer(near, len(near) // 2)]
        stop = blank[-1] if blank else near.rfind("\n") + 1 or len(near)
        yield text[:stop]
        text = text[stop:]
        if not text:
            return
