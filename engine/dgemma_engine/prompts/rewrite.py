"""The prompt of a rewrite: the document with the selection marked in it, what is known of it, the instruction.

What changes least comes first, so that the next prompt about the same file finds most of it encoded.
"""

from __future__ import annotations

from attrs import frozen

from ..canvas import head_ids, tail_ids
from ..errors import EngineError
from ..tokenizer import Tokenizer
from ..wire import Prompt
from .marks import marks

SHARE = 8
"""Of the room for a prompt, one in so many tokens may be the outline, and one the problems."""


@frozen
class Passage:
    """What is to be rewritten, `selection`, between the document's text `before` and `after`."""

    before: str
    selection: str
    after: str


def rewrite_ids(prompt: Prompt, passage: Passage, tokenizer: Tokenizer, limit: int) -> list[int]:
    """What the user says, at most `limit` tokens; the document is cut to what fits around the selection.

    Raises `EngineError("request")` when the instruction and the selection leave no room for it.
    """
    encode = tokenizer.encode
    opening, closing = marks("selection", passage.before + passage.selection + passage.after)
    outline = head_ids(tokenizer, prompt.outline, limit // SHARE)
    problems = head_ids(tokenizer, "".join(f"- {_line(one)}\n" for one in prompt.problems), limit // SHARE)
    head = encode(f"{_about(prompt)} The part of it between {opening} and {closing} is to be rewritten.\n\n")
    if outline:
        head += [*encode("Outline of the file:\n"), *outline, *encode("\n\n")]
    head += encode("<document>\n")
    middle = [*encode(opening), *encode(passage.selection), *encode(closing)]
    tail = encode("\n</document>\n\n")
    if problems:
        tail += [*encode(f"Problems reported between {opening} and {closing}:\n"), *problems, *encode("\n")]
    # The answer's wording: asked for "only" something, these models tend to say nothing.
    tail += encode(
        f"What to do: {prompt.instruction.strip()}\n\n"
        f"Answer with the text that shall stand between {opening} and {closing} from now on, complete, with the "
        "indentation of the document. It is put there as it is: leave out the marks, code fences and explanations."
    )
    room = limit - len(head) - len(middle) - len(tail)
    if room < 0:
        raise EngineError(
            "request", f"the instruction is too long: with the selection it takes {limit - room} tokens, {limit} fit"
        )
    before = tail_ids(tokenizer, passage.before, room * 3 // 4)
    after = head_ids(tokenizer, passage.after, room - len(before))
    return [*head, *before, *middle, *after, *tail]


def _about(prompt: Prompt) -> str:
    file, language = _line(prompt.file), _line(prompt.language)
    named = f"This is {file}" if file else "This is a file"
    return f"{named} (language: {language})." if language else f"{named}."


def _line(text: str) -> str:
    return " ".join(text.split())
