"""The prompt of a repair: a text whose brackets do not match, to be answered with the text as it should be.

Ways to mend it are compared as answers, each by its exact likelihood and that of the turn's end behind it. The ids, in
order, the last line being one candidate's:

    the turn's opening                  <bos><|turn>user\\n
    what is wrong, and what to answer
    <before> … </before>                what stands before the text
    <text> … </text>                    what the candidates have in common
    the end of the turn                 <turn|>\\n<|turn>model\\n<|channel>thought\\n<channel|>
    a candidate, and what follows it    <turn|>
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from ..canvas import tail_ids
from ..errors import EngineError
from ..tokenizer import Tokenizer
from .chat import Turn
from .marks import marks

COMPARED = 16
"""Candidates of which it is made out what they have in common; the others are taken to be like them."""


def repair_ids(
    turn: Turn, before: str, candidates: Sequence[str], after: str, tokenizer: Tokenizer, limit: int
) -> list[int]:
    """The whole prompt, at most `limit` tokens; `after` follows every candidate.

    Of the text before, the end is shown, as much as there is room for. Raises `EngineError("request")` when the rest
    does not fit.
    """
    encode = tokenizer.encode
    text = common(candidates) + after
    outer, inner = marks("before", before, text), marks("text", before, text)
    head = [
        *turn.before,
        *encode(
            f"The text between {inner[0]} and {inner[1]} follows the text between {outer[0]} and {outer[1]} in a file. "
            "Brackets, quotes or marks are missing in it. Answer with the text as it should be: put in what is missing "
            f"and change nothing else. It is put between {inner[0]} and {inner[1]} as it is: leave out the marks, code "
            f"fences and explanations.\n\n{outer[0]}\n"
        ),
    ]
    tail = [*encode(f"{outer[1]}\n\n{inner[0]}"), *encode(text), *encode(inner[1]), *turn.after]
    room = limit - len(head) - len(tail)
    if room < 0:
        raise EngineError("request", f"the text to be repaired is {-room} tokens too long for the model")
    return [*head, *tail_ids(tokenizer, before, room), *tail]


def common(texts: Sequence[str]) -> str:
    """What the texts have in common, in order: the text as it was before each of them put something else in."""
    texts = list(texts[:COMPARED])
    if not texts:
        return ""
    start = _shared(texts)
    rests = [text[len(start) :] for text in texts]
    stop = _shared([rest[::-1] for rest in rests])[::-1]
    middle, *others = (rest[: len(rest) - len(stop)] for rest in rests)
    for other in others:
        blocks = SequenceMatcher(None, middle, other, autojunk=False).get_matching_blocks()
        middle = "".join(middle[block.a : block.a + block.size] for block in blocks)
    return start + middle + stop


def _shared(texts: Sequence[str]) -> str:
    """What all of the texts begin with: the least and the greatest of them differ first."""
    first, last = min(texts), max(texts)
    return next((first[:place] for place in range(len(first)) if first[place] != last[place : place + 1]), first)
