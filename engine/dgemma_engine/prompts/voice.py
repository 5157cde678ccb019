"""How a checkpoint with a chat template is spoken to, and what is remembered from one prompt to the next."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import field, frozen

from .. import wire
from ..canvas import CHARS_PER_TOKEN_AT_MOST
from ..healing import Healer
from ..model import ModelConfig
from ..tokenizer import Tokenizer
from .chat import ChatTemplate, Turn
from .infill import InfillPrompt, file_name
from .repair import repair_ids
from .window import Windows


@frozen
class Voice:
    """The prompts of one checkpoint in memory; `context` tokens may be read by the encoder."""

    template: ChatTemplate
    tokenizer: Tokenizer
    config: ModelConfig
    context: int
    healer: Healer | None
    _windows: Windows = field(factory=Windows)

    @classmethod
    def of(cls, template: ChatTemplate, tokenizer: Tokenizer, config: ModelConfig, context: int) -> Voice:
        # A checkpoint with a filler was trained as nano is, on texts that are cut anywhere.
        healer = Healer(tokenizer, config.vocab_size) if config.traits.filler_id is None else None
        return cls(template, tokenizer, config, context, healer)

    def turn(self) -> Turn:
        """Raises `EngineError("checkpoint")` where the template cannot be used."""
        return self.template.turn(self.tokenizer, self.config.bos_id)

    def infill(
        self, document: str | None, owner: Hashable, *, remembers: bool = True, refresh: bool = False
    ) -> InfillPrompt:
        """For a fill of a document, or its warm-up; one that is to come out the same every time remembers nothing."""
        windows = self._windows if remembers else Windows()
        name, width = file_name(document), self.config.canvas_length
        return InfillPrompt(
            self.tokenizer, self.turn(), windows, owner, self.context, width, name, self.healer, refresh
        )

    def repair(self, request: wire.Score) -> tuple[list[int], list[list[int]]]:
        """A prompt, and the candidates as answers to it, each with the end of the turn behind it."""
        turn = self.turn()
        after = self.tokenizer.encode(request.suffix[: self.context * CHARS_PER_TOKEN_AT_MOST])
        answers = [[*self.tokenizer.encode(text), *after, turn.end] for text in request.candidates]
        limit = self.context - max(map(len, answers), default=0)
        ids = repair_ids(turn, request.prefix, request.candidates, request.suffix, self.tokenizer, limit)
        return ids, answers
