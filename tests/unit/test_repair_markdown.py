"""Markdown repaired: what is mended and how, what is left alone, and what holds for every text."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_lsp.syntax.repair.markdown import diagnose_markdown
from dgemma_lsp.text.edits import apply_edits

GUIDE = """# Guide

Install the `tool` package, then call `tool.run()` with **care**.

```js
import tool from "tool";

tool.run({ fast: true });
```

The `--fast` flag is **optional**. See [the options](docs/options.md) and the [license](LICENSE.md).

## Options

| name   | meaning          |
| ------ | ---------------- |
| `fast` | do not wait      |
| `slow` | wait for others  |

- **First:** read the [handbook](https://example.com/handbook).
- **Second:** run `npm test` in the folder.

```js
const result = await tool.run();
console.log(result);
```

That is all there is to know.
"""


def diagnose(document: str):
    return diagnose_markdown(document, math.inf)


def without(document: str, part: str, nth: int = 0) -> str:
    """The document without the nth occurrence of `part`."""
    at = -1
    for _ in range(nth + 1):
        at = document.index(part, at + 1)
    return document[:at] + document[at + len(part) :]


MENDED = {
    "closing fence": without(GUIDE, "```\n", 0),
    "last closing fence": without(GUIDE, "```\n", 1),
    "opening fence, its language left": without(GUIDE, "```", 2),
    "opening backtick": GUIDE.replace("The `--fast`", "The --fast`"),
    "closing backtick": GUIDE.replace("call `tool.run()`", "call `tool.run()"),
    "backtick in a cell": GUIDE.replace("| `fast` |", "| `fast |"),
    "opening strong": GUIDE.replace("- **Second:**", "- Second:**"),
    "closing strong": GUIDE.replace("- **Second:**", "- **Second:"),
    "half a mark": GUIDE.replace("- **Second:**", "- **Second:*"),
    "link )": GUIDE.replace("(docs/options.md)", "(docs/options.md"),
    "link (": GUIDE.replace("(docs/options.md)", "docs/options.md)"),
    "link ]": GUIDE.replace("[license]", "[license"),
    "link [": GUIDE.replace("the [license]", "the license]"),
    "delimiter row": GUIDE.replace("| ------ | ---------------- |\n", ""),
}


@pytest.mark.parametrize("damaged", [pytest.param(text, id=name) for name, text in MENDED.items()])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_one_deletion_comes_back_byte_for_byte(damaged, newline):
    assert damaged != GUIDE
    damaged, whole = (text.replace("\n", newline) for text in (damaged, GUIDE))
    found = diagnose(damaged)
    assert found.settled is not None, found
    assert apply_edits(damaged, found.settled.edits) == whole


UNSURE = {
    "opening fence": without(GUIDE, "```js\n", 1),
    "opening backtick before two words": GUIDE.replace("call `tool.run()`", "call tool.run()`"),
}


@pytest.mark.parametrize("damaged", [pytest.param(text, id=name) for name, text in UNSURE.items()])
def test_the_likeliest_of_several_places_comes_first(damaged):
    found = diagnose(damaged)
    assert found.settled is None
    assert found.reason
    assert [candidate.cost for candidate in found.candidates] == sorted(
        candidate.cost for candidate in found.candidates
    )
    assert apply_edits(damaged, found.candidates[0].edits) == GUIDE


@pytest.mark.parametrize(
    ("damaged", "whole"),
    [
        pytest.param(
            "# A\n\n<!-- prettier-ignore\n\nSome words here.\n\n## B\n",
            "# A\n\n<!-- prettier-ignore -->\n\nSome words here.\n\n## B\n",
            id="comment",
        ),
        pytest.param(
            "---\ntitle: Home\nlayout: page\n\n# Home\n\nWelcome to the page.\n",
            "---\ntitle: Home\nlayout: page\n---\n\n# Home\n\nWelcome to the page.\n",
            id="front matter",
        ),
        pytest.param(
            "> ```sh\n> npm install\n\nAnd then read on in the manual.\n",
            "> ```sh\n> npm install\n> ```\n\nAnd then read on in the manual.\n",
            id="fence in a quote",
        ),
        pytest.param(
            "- Install it:\n\n  ```sh\n  npm install\n\n- Then call `npm test` and read what it says:\n",
            "- Install it:\n\n  ```sh\n  npm install\n  ```\n\n- Then call `npm test` and read what it says:\n",
            id="fence in an item",
        ),
        pytest.param(
            "[![build](https://ci.example.com/badge.svg](https://ci.example.com)\n",
            "[![build](https://ci.example.com/badge.svg)](https://ci.example.com)\n",
            id="image in a link",
        ),
        pytest.param(
            "# A\n\n!Screen shot](docs/shot.png)\n",
            "# A\n\n![Screen shot](docs/shot.png)\n",
            id="image [",
        ),
        pytest.param(
            "[![a](https://x.io/a.svg)](https://x.io)\n[!Downloads](https://x.io/npm/dm/a.svg)](https://npm.im/a)\n",
            "[![a](https://x.io/a.svg)](https://x.io)\n[![Downloads](https://x.io/npm/dm/a.svg)](https://npm.im/a)\n",
            id="[ of an image in a link",
        ),
        pytest.param(
            "All of it is explained in Getting Started](https://example.com/docs/getting-started).\n",
            "All of it is explained in [Getting Started](https://example.com/docs/getting-started).\n",
            id="link [ where the target's words begin",
        ),
        pytest.param(
            "- [Usage](#usage)\n- How it works](#how-it-works)\n- [Licence](#licence)\n",
            "- [Usage](#usage)\n- [How it works](#how-it-works)\n- [Licence](#licence)\n",
            id="link [ of a table of contents",
        ),
        pytest.param(
            "# A\n\n|   | 1 |\n| a | b |\n| c | d |\n",
            "# A\n\n|   | 1 |\n| - | - |\n| a | b |\n| c | d |\n",
            id="delimiter row of a header with an empty cell",
        ),
        pytest.param(
            "\ufeff# A\n\nSee [the docs](https://example.com/a.html, then go on.\n",
            "\ufeff# A\n\nSee [the docs](https://example.com/a.html), then go on.\n",
            id="byte-order mark",
        ),
    ],
)
def test_small_documents_are_mended(damaged, whole):
    found = diagnose(damaged)
    assert found.settled is not None, found
    assert apply_edits(damaged, found.settled.edits) == whole


@pytest.mark.parametrize(
    "document",
    [
        "",
        "\n",
        "\ufeff",
        "word",
        "2 * 3 * 4 and 5 *6",
        "a snake_case_word, an _init and a trailing_",
        "globs like **/*.py and src/**/test_*.py match",
        "the **Get* functions** are fast",
        "link python*-config too",
        "escaped \\* and \\` and \\[ and \\_ marks",
        "the sum is $a_1 * b_1$ and $$\\sum_{i}*$$",
        "a footnote* with a star\n\n* the footnote\n",
        "a lone ` between spaces",
        "- [ ] todo\n- [x] done\n",
        "[not a link] and [neither] (this)",
        "see [a file](My File.md) with spaces",
        "`` a ` b ``",
        "```md\n```js\ncode\n```\n",
        "````md\n```js\ncode\n```\n````\n",
        "    ```js\n    code in code\n",
        "~~~\n```\n~~~\n",
        "```\nlast words",
        "a | b\n",
        "| one | row |\n",
        "x || y\nz || w\n",
        "<!-- a -->\n<!--\nb\n-->\n",
        "---\n\nrules, not front matter\n\n---\n",
        "---\ntitle: x\n---\n",
        "<div>\n\n**bold**\n\n</div>\n",
        ":::note\nText\n:::\n",
        "{% raw %}`{{ a }}`{% endraw %}",
        "<Tabs items={['a', 'b']}>\n  text\n</Tabs>\n",
        "[a]: https://example.com (title)\n\n[a]\n",
        GUIDE,
    ],
)
def test_clean_documents_are_clean(document):
    assert diagnose(document).clean


@pytest.mark.parametrize(
    ("document", "start", "message"),
    [
        (
            "# A\n\n```js\ncode();\n\nAnd the words of a sentence.\n\n```js\n```\n",
            5,
            "swallows the beginning of another",
        ),
        (MENDED["opening strong"], GUIDE.index("**Second") + len("Second:"), "closes here what was never opened"),
        (MENDED["closing strong"], GUIDE.index("**Second"), "opened here is never closed"),
    ],
)
def test_a_fault_is_named_where_it_is(document, start, message):
    (fault,) = diagnose(document).faults
    assert fault.start == start
    assert message in fault.message


def test_several_faults_are_mended_at_once():
    damaged = (
        MENDED["closing fence"].replace("(docs/options.md)", "(docs/options.md").replace("| `fast` |", "| `fast |")
    )
    found = diagnose(damaged)
    assert len(found.faults) == 3
    assert found.settled is not None
    assert apply_edits(damaged, found.settled.edits) == GUIDE


def test_where_nothing_tells_the_place_nothing_is_settled():
    found = diagnose("Words **of this kind are made of many words here\n\nOther **things** here.\n")
    assert found.faults
    assert found.settled is None
    assert found.reason


def test_past_the_deadline_there_is_a_reason():
    found = diagnose_markdown(GUIDE * 20, time.monotonic() - 1)
    assert found.settled is None
    assert found.candidates == ()
    assert found.reason


@pytest.mark.parametrize(
    "document",
    [
        "`" * 100_000,
        "` `` " * 20_000,
        "**a*" * 20_000,
        "[" * 50_000,
        "[a](" * 20_000,
        "[a](" + "(" * 50_000,
        "> " * 50_000 + "a",
        "- " * 50_000,
        "<a " * 50_000,
        '<a b="' * 20_000,
        "|a" * 50_000 + "\n" + "|a" * 50_000,
        "```js\nx\n" * 2_000,
        "<!-- " * 20_000,
        "\0\ud800`a" * 100,
        "a" * 5_000_000,
        "see " * 4_000 + "x](http://a.b)",
        "word " * 3_000 + "`b c",
        "\n" * 490_000,
        "|" + "a|" * 60_000 + "\n|" + "-|" * 60_000 + "\n",
        ("```" + "a" * 5_000 + "\n") * 90,
    ],
    ids=lambda document: f"{document[:6]!a}",
)
def test_hostile_documents_are_bounded(document):
    found = diagnose_markdown(document, time.monotonic() + 1)
    assert found.settled is None or diagnose(apply_edits(document, found.settled.edits)).clean


PIECES = [
    "`",
    "``",
    "```",
    "~~~",
    "*",
    "**",
    "_",
    "__",
    "[",
    "]",
    "(",
    ")",
    "![",
    "|",
    "-",
    "---",
    "\n",
    "\n\n",
    "\r\n",
]
PIECES += ["\r", "> ", "- ", "1. ", "<!--", "-->", "<a>", "#", " ", "a", "Word", "foo.bar", "\\", "\t", "    ", "js"]
PIECES += ["http://a/b", "\ufeff", "\0", ":", "'", '"', "---\nkey: a\n", "\ud800"]


@given(st.lists(st.sampled_from(PIECES), max_size=50).map("".join))
@settings(max_examples=300, deadline=None)
def test_what_holds_for_every_text(document):
    found = diagnose(document)
    assert found.clean == (not found.faults)
    assert len(found.candidates) <= 8
    assert found.settled is None or found.settled in found.candidates
    assert found.settled is not None or found.clean or found.reason
    for fault in found.faults:
        assert 0 <= fault.start < fault.stop <= len(document)
    for candidate in found.candidates:
        assert list(candidate.edits) == sorted(candidate.edits, key=lambda edit: edit.start)
        assert all(edit.start == edit.end and edit.text for edit in candidate.edits)
        assert diagnose(apply_edits(document, candidate.edits)).clean
