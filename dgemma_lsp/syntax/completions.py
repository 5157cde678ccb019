"""What a user may type after a text so that it becomes whole: the test of `incomplete`."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from dgemma_lsp.syntax.pairs import Opener

_FILLERS = {
    "bash": ("", "x"),
    "css": ("", "x", ": x", "x: x"),
    "html": ("", ">"),
    "json": ("", "0", ": 0", '"x": 0'),
    "toml": ("", "0", " = 0"),
    "yaml": ("", "x", ": x"),
}
"""What stands for a missing operand, value or name."""

_TAILS = {
    "bash": ("", "; then x; fi", "; do x; done", "; }"),
    "css": ("", ";", "{}"),
    "go": ("", "{}", "= x"),
    "html": ("",),
    "json": ("",),
    "python": ("", " pass", ": pass", " in x: pass", " import x", "\n{indent}def x(): pass"),
    "rust": ("", ";", "{}", "=> x", "= x;"),
    "toml": ("",),
    "yaml": ("",),
}
"""What ends the statement, or gives it the body that it still lacks."""

_ANY_FILLER = ("", "x")
_ANY_TAIL = ("", ";", "{}", "= x;", ": x")
_SEPARATED = (",",)
"""A separator may follow only what is completed anyway: text that lacks nothing else is wrong without it."""


@attrs.frozen
class Completion:
    """`text` completes; `closes` counts the openers from before the edit that it closes, too."""

    text: str
    filler: str
    tail: str
    closes: int


def completions(
    grammar: str, inside: list[Opener], before: list[Opener], most_before: int, line: str
) -> Iterator[Completion]:
    """Ways to complete a text that ends with `line` and opened `inside`; likelier ones first, "" included.

    `before` are openers from before the edit, of which up to `most_before`, the innermost, are closed as well.
    """
    indent = line[: len(line) - len(line.lstrip())]
    own = [opener.closer for opener in reversed(inside)]
    for closes in range(min(most_before, len(before)) + 1):
        outer = [opener.closer for opener in reversed(before[len(before) - closes :])] if closes else []
        closers = own + outer
        # A statement ends before the brace around it is closed.
        first = next((index for index, closer in enumerate(closers) if closer in ("}", "\n#endif\n")), len(closers))
        inner, rest = "".join(closers[:first]), "".join(closers[first:])
        for filler in _FILLERS.get(grammar, _ANY_FILLER):
            tails = _TAILS.get(grammar, _ANY_TAIL)
            for tail in (*tails, *(_SEPARATED if own or filler else ())):
                text = filler + inner + tail.replace("{indent}", indent) + rest
                if text[:1].isalnum() and line[-1:].isalnum():
                    text = " " + text
                yield Completion(text, filler, tail, closes)
