"""What of a document is frozen in a prompt, so that the next prompt finds it encoded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from attrs import define, field, frozen

HEAD = 80
"""Characters by which a text is recognised."""
REACH = 600
"""Characters that the cursor may go up or down before the text after it is read anew: what stands between is seen on
the canvas, or in the lead."""
DOCUMENTS = 16


@frozen
class Window:
    """The texts `before` the cut and `far` below the cursor as they were; the `ids` down to where the answer begins."""

    before: str
    far: str
    ids: tuple[int, ...]

    @property
    def cut(self) -> int:
        """The character where the answer begins."""
        return len(self.before)

    def holds(self, before: str, after: str, exactly: bool) -> bool:
        """Whether it can serve a hole between these texts; `exactly` wants all of the text after to be the same."""
        return before.startswith(self.before) and (far_text(after) == self.far if exactly else self.is_near(after))

    def is_near(self, after: str) -> bool:
        """Whether the text below the cursor is, but for a bit at its beginning, the one that was frozen."""
        below = far_text(after)
        if not below or not self.far:
            return len(below) + len(self.far) <= HEAD
        if min(len(below), len(self.far)) < HEAD and abs(len(below) - len(self.far)) > REACH:
            # Both reach to the end of the file, and a lone bracket stands everywhere.
            return False
        stop = REACH + HEAD
        return self.far[:HEAD] in below[:stop] or below[:HEAD] in self.far[:stop]


@define
class Windows:
    """The windows of the documents used last."""

    _windows: OrderedDict[Hashable, Window] = field(factory=OrderedDict)

    def get(self, owner: Hashable) -> Window | None:
        return self._windows.get(owner)

    def keep(self, owner: Hashable, window: Window) -> None:
        self._windows[owner] = window
        self._windows.move_to_end(owner)
        while len(self._windows) > DOCUMENTS:
            self._windows.popitem(last=False)


def far_text(after: str) -> str:
    """What stands below the line of the cursor."""
    return after[after.find("\n") + 1 :] if "\n" in after else ""
