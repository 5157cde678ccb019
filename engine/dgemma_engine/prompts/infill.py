"""The prompt of an infill: what a model that follows instructions is told, and where on the canvas its answer goes on.

It is asked to write a file on from some line, and its answer has begun already: the lines before the cursor are the
beginning of the answer, and the text after the cursor stands pinned behind the hole. The ids, in order:

    encoder   the turn's opening                 <bos><|turn>user\\n
              what to do, the file's name        the same for every request of a file
              the outline                        of what is left out of the text before
              <after> … </after>                 what stands below the line of the cursor, if anything
              <before> … </before>               the text before the cut, if any
              the end of the turn                <turn|>\\n<|turn>model\\n<|channel>thought\\n<channel|>
              the lead                           from the cut to the line of the cursor: the answer so far
    canvas    the tail, pinned                   what is typed of the line already
              the hole, free
              the text after the cursor, pinned  as much as there is room for
              the end of the turn, pinned        where all of that text has room

Everything down to the end of the turn is frozen in a *window*, so that a keystroke only makes the tail longer, and a
new line the lead. The cut moves on by whole lines when the lead has grown long. Text after the cursor is in the prompt
for the encoder to know, and on the canvas for the hole to meet; the former may be older than the latter: it is read
anew when the cursor has gone elsewhere, and when there is nothing better to do (`refresh`). The tail is on the canvas
so that a word can be mended (`healing`) and a line written as one.
"""

from __future__ import annotations

from collections.abc import Hashable
from urllib.parse import unquote, urlsplit

from attrs import define, field, frozen

from ..canvas import CHARS_PER_TOKEN_AT_MOST, head_ids, tail_ids, tail_start
from ..errors import EngineError
from ..healing import Healer
from ..tokenizer import Tokenizer
from .chat import Turn
from .marks import marks
from .outline import outline
from .window import Window, Windows, far_text

LEAD_TOKENS = 512
"""A lead is not longer than this, or than a quarter of the context."""
LEAD_LINES = 8
"""Lines before that of the cursor that a new lead begins with."""
OUTLINE_SHARE, AFTER_SHARE = 16, 4
"""Of the tokens up to the lead, one in so many may be the outline, and the text after."""
TAIL_SHARE = 8
"""Of the rows of a canvas, one in so many may be the tail."""


@frozen
class Opening:
    """Where a canvas begins: behind `ids`, which the encoder reads, with the `tail` pinned on it.

    The hole begins with the characters `typed` of a token that was taken back.
    """

    ids: list[int]
    tail: list[int] = field(factory=list)
    typed: str = ""

    @property
    def rows(self) -> int:
        """How many rows of a canvas it takes."""
        return len(self.tail) + (self.typed != "")


@define
class InfillPrompt:
    """How the text of one request becomes a prompt; `windows` remembers what was frozen for earlier ones.

    `limit` is the number of tokens that the encoder may be given, `width` that of a canvas. `healer` is None for
    checkpoints that know texts cut anywhere.
    """

    tokenizer: Tokenizer
    turn: Turn
    windows: Windows
    owner: Hashable
    limit: int
    width: int
    name: str = ""
    healer: Healer | None = None
    refresh: bool = False

    def opening(self, before: str, after: str, heals: bool = True) -> Opening:
        """The prompt for a hole between these texts, one that may begin with a token taken back when it `heals`.

        Raises `EngineError("request")` where the context is too short.
        """
        window = self.windows.get(self.owner)
        if window is None or not window.holds(before, after, self.refresh) or self._is_long(before[window.cut :]):
            kept = window.far if window and window.is_near(after) and not self.refresh else None
            window = self._frozen(before, far_text(after) if kept is None else kept)
            self.windows.keep(self.owner, window)
        line = max(window.cut, before.rfind("\n") + 1)
        tail, start = self._tail(before[line:])
        lead = self.tokenizer.encode(before[window.cut : line + start])
        typed = self.healer.typed(tail, before) if self.healer and heals else ""
        return Opening([*window.ids, *lead], tail[:-1] if typed else tail, typed)

    @property
    def _lead_tokens(self) -> int:
        return min(LEAD_TOKENS, self.limit // 4)

    def _is_long(self, lead: str) -> bool:
        most = self._lead_tokens
        return len(lead) > most * CHARS_PER_TOKEN_AT_MOST or len(self.tokenizer.encode(lead)) > most

    def _tail(self, line: str) -> tuple[list[int], int]:
        """The ids of the end of what is typed of a line, and the character where they begin.

        It begins at the same place while the line grows, until it would take too many rows.
        """
        most = max(2, self.width // TAIL_SHARE)
        ids, ends = self.tokenizer.encode_with_ends(line)
        over = len(ids) - most
        if over <= 0:
            return ids, 0
        step = max(1, most // 2)
        start = ends[-(-over // step) * step - 1]
        return self.tokenizer.encode(line[start:]), start

    def _frozen(self, before: str, far: str) -> Window:
        """A window whose cut is a few lines up."""
        cut = self._cut(before)
        encode = self.tokenizer.encode
        above = before[:cut]
        before_marks, after_marks = marks("before", above, far), marks("after", above, far)
        task = _task(self.name, before_marks if above else None, after_marks if far else None)
        head = [*self.turn.before, *encode(task)]
        opening, closing = (encode(f"{mark}\n") if above else [] for mark in before_marks)
        room = self.limit - self._lead_tokens - len(head) - len(opening) - len(closing) - len(self.turn.after)
        if room < 0:
            raise EngineError(
                "request", f"the prompt alone is {-room} tokens too long for the {self.limit} that the model may read"
            )
        shown = head_ids(self.tokenizer, far, room // AFTER_SHARE)
        if shown:
            shown = [*encode(f"{after_marks[0]}\n"), *shown, *encode(f"\n{after_marks[1]}\n\n")]
        told: list[int] = []
        if start := tail_start(self.tokenizer, above, room - len(shown)):
            told = head_ids(self.tokenizer, outline(before[:start]), room // OUTLINE_SHARE)
            told = [*encode("Outline of what stands above:\n"), *told, *encode("\n")] if told else []
        read = tail_ids(self.tokenizer, above, room - len(shown) - len(told))
        ids = [*head, *told, *shown, *opening, *read, *closing, *self.turn.after]
        return Window(above, far, tuple(ids))

    def _cut(self, before: str) -> int:
        """Where the lead begins: at a line, but in one that is too long for a lead."""
        most = self._lead_tokens // 2
        near = before[-most * CHARS_PER_TOKEN_AT_MOST :]
        ids, ends = self.tokenizer.encode_with_ends(near)
        if len(ids) > most:
            near = near[ends[len(ids) - most - 1] :]
        floor = len(before) - len(near)
        cut = len(before)
        for _ in range(LEAD_LINES + 1):
            line = before.rfind("\n", 0, max(0, cut - 1)) + 1
            if line < floor:
                break
            cut = line
        return cut if cut < len(before) or before.endswith("\n") else floor


def file_name(document: str | None) -> str:
    """The last part of a document's URI or path."""
    return unquote(urlsplit(document or "").path.rsplit("/", 1)[-1])


def _task(name: str, before: tuple[str, str] | None, after: tuple[str, str] | None) -> str:
    """What to do; there are marks around the texts before and after where there are such texts."""
    name = " ".join(name.split())
    named = f"the file {name}" if name else "a file"
    start = f"on from where the text between {before[0]} and {before[1]} ends" if before else "from its beginning"
    stop = f", as far as the text between {after[0]} and {after[1]}, which stands further down" if after else ""
    # Asked for "only" something, these models tend to say nothing.
    return (
        f"Write {named} {start}{stop}. Answer with the lines of the file as they stand there, complete, with their "
        "indentation. Your answer is put there as it is: leave out marks, code fences and explanations.\n\n"
    )
