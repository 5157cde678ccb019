"""The blocks of a markdown document, line by line (CommonMark 0.31, GFM tables, front matter).

A scanner of our own and not the grammar: it is needed for every save of every file, it must not tire of nesting, and
the places of lines that are missing are between lines. Offsets are in characters of the document.
"""

from __future__ import annotations

import re

from dgemma_lsp.syntax.repair.markdown.block import Block, Line, Outline, split_lines
from dgemma_lsp.syntax.repair.markdown.clock import check_time
from dgemma_lsp.syntax.repair.markdown.container import Containers, indent_of, is_rule
from dgemma_lsp.syntax.repair.markdown.html_block import html_block
from dgemma_lsp.syntax.repair.markdown.table import cells, is_delimiter_row

_FENCE = re.compile(r"(`{3,})([^`]*)\Z|(~{3,})(.*)\Z", re.DOTALL)
_HEADING = re.compile(r"#{1,6}(?=[ \t]|\Z)")
_UNDERLINE = re.compile(r"(?:=+|-+)[ \t]*\Z")
_DEFINITION = re.compile(r"\[(?:\\.|[^\[\]\\])+\]:[ \t]*\S")
_FRONT_END = re.compile(r"(?:---|\.\.\.)[ \t]*\Z")
_YAML_KEY = re.compile(r"[A-Za-z_][\w .-]*:(?:\s|\Z)")


def outline(text: str, deadline: float) -> Outline:
    """Raises OutOfTime."""
    scanner = _Scanner(text, split_lines(text, deadline), deadline)
    scanner.run()
    return Outline(text, scanner.lines, scanner.blocks, frozenset(scanner.labels))


def normal_label(label: str) -> str:
    """A reference's name as it is compared."""
    return " ".join(label.split()).casefold()


class _Scanner:
    def __init__(self, text: str, lines: list[Line], deadline: float):
        self.text = text
        self.lines = lines
        self.deadline = deadline
        self.blocks: list[Block] = []
        self.labels: set[str] = set()
        self.containers = Containers(text)
        self.leaf: Block | None = None
        self.html_end: re.Pattern[str] | None = None

    def run(self) -> None:
        check_time(self.deadline)
        first = self.front_matter()
        for number in range(first, len(self.lines)):
            if number % 256 == 0:
                check_time(self.deadline)
            self.line(number)
        self.close_leaf(len(self.lines), ended=False)

    def front_matter(self) -> int:
        """The number of the first line after it."""
        lines, text = self.lines, self.text
        start = 1 if text.startswith("\ufeff") else 0
        if len(lines) < 2 or text[start : lines[0].end].rstrip(" \t") != "---":
            return 0
        if not _YAML_KEY.match(text, lines[1].start, lines[1].end):
            return 0
        for number in range(1, len(lines)):
            if number % 1024 == 0:
                check_time(self.deadline)
            line = lines[number]
            if _FRONT_END.match(text, line.start, line.end):
                self.blocks.append(Block("front", 0, number + 1, [(at.start, at.end) for at in lines[1:number]]))
                return number + 1
        return 0

    def line(self, number: int) -> None:
        """Reads one line: first the containers it continues, then what it begins."""
        text, line, containers = self.text, self.lines[number], self.containers
        end = line.end
        start = 1 if line.start == 0 and text.startswith("\ufeff") else line.start
        matched, at, column = containers.continued(number, start, end)
        begin, width = indent_of(text, at, end, column)
        inside = matched == len(containers)
        if inside and self.leaf is not None and self.goes_on(number, at, begin, width - column, end):
            return
        if begin >= end:
            self.close_leaf(number, ended=inside)
            containers.leave_quotes(matched)
            return
        self.begin(number, matched, at, column, begin, width)

    def goes_on(self, number: int, at: int, begin: int, indent: int, end: int) -> bool:
        """Whether the open leaf takes the line as it is."""
        leaf, text = self.leaf, self.text
        assert leaf is not None
        if leaf.kind == "fence":
            if indent <= 3 and begin < end and _closes(text[begin:end], leaf.marker):
                leaf.rows.append((begin, end))
                self.close_leaf(number + 1)
            else:
                leaf.rows.append((at, end))
            return True
        if leaf.kind in ("html", "comment"):
            if self.html_end is None:
                if begin >= end:
                    return False
                leaf.rows.append((at, end))
                return True
            leaf.rows.append((at, end))
            if self.html_end.search(text, at, end):
                self.close_leaf(number + 1)
            return True
        if leaf.kind == "code" and (begin >= end or indent >= 4):
            leaf.rows.append((at, end))
            return True
        return False

    def begin(self, number: int, matched: int, at: int, column: int, begin: int, width: int) -> None:
        """Opens what the rest of the line begins, or adds it to a paragraph."""
        text, end, containers = self.text, self.lines[number].end, self.containers
        was_paragraph = self.leaf is not None and self.leaf.kind in ("paragraph", "table")
        fresh = matched < len(containers)
        opened = False
        while True:
            if width - column >= 4:
                if was_paragraph and not opened:
                    break
                self.leave(number, matched)
                self.start_leaf(number, "code", (at, end))
                return
            found = containers.opened(number, begin, end, width, was_paragraph and not opened and not fresh)
            if found is None:
                break
            self.leave(number, matched)
            container, at, column = found
            containers.stack.append(container)
            matched, opened = len(containers), True
            begin, width = indent_of(text, at, end, column)
            if begin >= end:
                return
        prefix = text[self.lines[number].start : begin]
        self.leaf_line(number, matched, at, begin, width - column, end, prefix, opened)

    def leaf_line(
        self, number: int, matched: int, at: int, begin: int, indent: int, end: int, prefix: str, opened: bool
    ) -> None:
        text = self.text
        leaf = None if opened else self.leaf
        inside = matched == len(self.containers)
        char = text[begin]
        if char in "`~" and indent <= 3 and (fence := _FENCE.match(text, begin, end)):
            self.leave(number, matched)
            block = self.start_leaf(number, "fence", None)
            block.marker, block.info = fence[1] or fence[3], (fence[2] or fence[4] or "").strip()
            block.prefix, block.closed = prefix, False
            return
        if char == "#" and _HEADING.match(text, begin, end):
            self.leave(number, matched)
            self.blocks.append(Block("heading", number, number + 1, [(begin, end)], depth=len(self.containers)))
            return
        paragraph = leaf is not None and leaf.kind in ("paragraph", "table")
        if char == "<" and (html := html_block(text, begin, end, paragraph))[0]:
            self.leave(number, matched)
            block = self.start_leaf(number, html[0], (at, end))
            self.html_end = html[1]
            block.closed = self.html_end is None
            if self.html_end is not None and self.html_end.search(text, begin + 2, end):
                self.close_leaf(number + 1)
            return
        if leaf and leaf.kind == "paragraph" and inside and char in "=-" and _UNDERLINE.match(text, begin, end):
            leaf.kind = "heading"
            self.close_leaf(number + 1)
            return
        if is_rule(text, begin, end):
            self.leave(number, matched)
            return
        if paragraph:
            assert leaf is not None
            if leaf.kind == "paragraph" and len(leaf.rows) >= 1 and inside and self.table(leaf, begin, end):
                return
            if leaf.kind == "table" and not inside:
                self.leave(number, matched)
                self.start_leaf(number, "paragraph", (begin, end))
                return
            leaf.rows.append((begin, end))
            return
        self.leave(number, matched)
        self.start_leaf(number, "paragraph", (begin, end))

    def table(self, leaf: Block, begin: int, end: int) -> bool:
        """Whether the line is the delimiter row of a table whose header is the paragraph's last line."""
        text = self.text
        if text[begin] not in "|:-" or not is_delimiter_row(text[begin:end]):
            return False
        header = leaf.rows[-1]
        if len(cells(text[header[0] : header[1]])) != len(cells(text[begin:end])):
            return False
        if len(leaf.rows) > 1:
            leaf.rows.pop()
            first = leaf.stop = leaf.first + len(leaf.rows)
            self.blocks.append(leaf)
            self.leaf = Block("table", first, first, [header, (begin, end)], depth=len(self.containers))
        else:
            leaf.kind = "table"
            leaf.rows.append((begin, end))
        return True

    def leave(self, number: int, matched: int) -> None:
        """Closes the leaf and the containers that the line does not continue."""
        self.close_leaf(number, ended=False)
        self.containers.leave(matched)

    def start_leaf(self, number: int, kind: str, row: tuple[int, int] | None) -> Block:
        self.leaf = Block(kind, number, number, [row] if row else [], depth=len(self.containers))
        return self.leaf

    def close_leaf(self, stop: int, ended: bool = True) -> None:
        leaf = self.leaf
        if leaf is None:
            return
        if leaf.kind in ("fence", "comment", "html") and ended:
            leaf.closed = True
        leaf.stop = stop
        if leaf.kind == "paragraph":
            self.take_definitions(leaf)
        if leaf.rows or leaf.kind == "fence":
            self.blocks.append(leaf)
        self.leaf = None

    def take_definitions(self, leaf: Block) -> None:
        text = self.text
        count = 0
        while count < len(leaf.rows) and (found := _DEFINITION.match(text, *leaf.rows[count])):
            self.labels.add(normal_label(found[0][1 : found[0].rindex("]:")]))
            count += 1
        del leaf.rows[:count]
        leaf.first += count


def _closes(line: str, marker: str) -> bool:
    bare = line.rstrip(" \t")
    return bare[:1] == marker[0] and len(bare) >= len(marker) and not bare.strip(marker[0])
