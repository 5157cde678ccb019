"""A checkpoint's own chat template as token ids, around a user's text that is only ever text."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import frozen

from ..checkpoints import read_chat_template
from ..errors import EngineError
from ..tokenizer import Tokenizer

if TYPE_CHECKING:
    from jinja2 import Template

PLACEHOLDER = "@@what the user says@@"
THOUGHT = ("<|channel>", "thought\n", "<channel|>")
"""An empty one: with thinking off the model may open with it, and is not to spend its canvas on it."""


@frozen
class Turn:
    """One exchange in ids: `before` what the user says, `after` it up to where the model speaks, `end` of his turn."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    end: int

    @property
    def size(self) -> int:
        return len(self.before) + len(self.after)

    def around(self, said: list[int]) -> list[int]:
        """The whole prompt."""
        return [*self.before, *said, *self.after]


@frozen
class ChatTemplate:
    """A Jinja template, as transformers' tokenizers have it."""

    source: str
    path: Path

    @classmethod
    def read(cls, folder: Path) -> ChatTemplate | None:
        """That of the checkpoint in `folder`, if it has one. Raises `EngineError("checkpoint")`."""
        found = read_chat_template(folder)
        return None if found is None else cls(*found)

    def turn(self, tokenizer: Tokenizer, begin: int) -> Turn:
        """Thinking is off. What the template says becomes control tokens where it names them, and nothing else does.

        Raises `EngineError("checkpoint")` when it cannot be rendered, or has no control token for the end of a turn.
        """
        before, found, after = self._rendered(tokenizer.spell(begin)).partition(PLACEHOLDER)
        if not found or PLACEHOLDER in after:
            raise self._refused("it does not say what the user says exactly once")
        head, tail = tokenizer.encode_markup(before), tokenizer.encode_markup(after)
        end = next((id_ for id_ in tail if id_ in tokenizer.control_ids), None)
        if end is None:
            raise self._refused("it has no control token for the end of a turn")
        opening, word, closing = THOUGHT
        channel = [tokenizer.control_id(opening), tokenizer.control_id(closing)]
        if None not in channel and closing not in after:
            tail += tokenizer.encode_markup(opening + word + closing)
        return Turn(tuple(head if head[:1] == [begin] else [begin, *head]), tuple(tail), end)

    def _rendered(self, begin: str) -> str:
        try:
            return _compiled(self.source).render(
                messages=[{"role": "user", "content": PLACEHOLDER}],
                add_generation_prompt=True,
                enable_thinking=False,
                bos_token=begin,
            )
        except ImportError as error:
            raise EngineError("engine-missing", f"chat templates need jinja2: {error}") from None
        except Exception as error:  # whatever the template makes of it
            raise self._refused(f"it cannot be rendered: {error}") from None

    def _refused(self, why: str) -> EngineError:
        return EngineError("checkpoint", f"the chat template in {self.path} cannot be used: {why}")


@cache
def _compiled(source: str) -> Template:
    """In a sandbox: the template comes with the weights, from whoever made them."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: Any) -> NoReturn:
        raise TemplateError(str(message))

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    return environment.from_string(source)
