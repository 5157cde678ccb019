"""What a model that follows instructions is told of a hole: every token of it, and what of it stays as it was."""

from __future__ import annotations

from itertools import groupby, pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_engine.errors import EngineError
from dgemma_engine.prompts.chat import ChatTemplate
from dgemma_engine.prompts.infill import InfillPrompt, Opening, file_name
from dgemma_engine.prompts.outline import outline
from dgemma_engine.prompts.window import REACH, Windows
from dgemma_engine.tokenizer import Tokenizer

from ..chat import TEMPLATE
from .test_prompt_chat import tokenizer
from .test_tokenizer import CONTROL, TEXTS

WIDTH = 32
TASK = (
    "Answer with the lines of the file as they stand there, complete, with their indentation. Your answer is put there "
    "as it is: leave out marks, code fences and explanations.\n\n"
)
LINES = [f"line {number}\n" for number in range(400)]


@pytest.fixture
def own(chat_checkpoint: Path) -> Tokenizer:
    return tokenizer(chat_checkpoint)


def prompt(
    own: Tokenizer, windows: Windows | None = None, limit: int = 2000, width: int = WIDTH, **options: Any
) -> InfillPrompt:
    turn = ChatTemplate(TEMPLATE, Path("chat_template.jinja")).turn(own, 2)
    return InfillPrompt(own, turn, windows or Windows(), "ann", limit, width, **options)


def spelled(own: Tokenizer, ids: list[int]) -> str:
    """Control tokens by their names, text as it is."""
    groups = groupby(ids, lambda id_: id_ in own.control_ids)
    return "".join(
        "".join(map(own.spell, group)) if is_control else own.decode(list(group)) for is_control, group in groups
    )


def test_every_token(own: Tokenizer) -> None:
    before = "".join(LINES[:20]) + "line"
    after = " 20\n" + "".join(LINES[21:23])
    found = prompt(own, name="a.txt").opening(before, after)
    encode, channel = own.encode, [own.control_id("<|channel>"), own.control_id("<channel|>")]
    assert found.ids == [
        *[2, 4, *encode("user\n")],
        *encode(
            "Write the file a.txt on from where the text between <before> and </before> ends, as far as the text "
            f"between <after> and </after>, which stands further down. {TASK}"
        ),
        *[*encode("<after>\n"), *encode("line 21\nline 22\n"), *encode("\n</after>\n\n")],
        *[*encode("<before>\n"), *encode("".join(LINES[:12])), *encode("</before>\n")],
        *[5, *encode("\n"), 4, *encode("model\n"), channel[0], *encode("thought\n"), channel[1]],
        *encode("".join(LINES[12:20])),
    ]
    assert found.tail == encode("line")
    assert found.typed == ""


CHAT = "<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param("", "", f"Write a file from its beginning. {TASK}{CHAT}|", id="empty-file"),
        pytest.param("a\n", "", f"Write a file from its beginning. {TASK}{CHAT}a\n|", id="at-the-end"),
        pytest.param("a\nb", "", f"Write a file from its beginning. {TASK}{CHAT}a\n|b", id="in-the-last-line"),
        pytest.param(
            "",
            "a\nb\n",
            "Write a file from its beginning, as far as the text between <after> and </after>, which stands further "
            f"down. {TASK}<after>\nb\n\n</after>\n\n{CHAT}|",
            id="at-the-start",
        ),
        pytest.param(
            "a\r\n\r\n\tb",
            "\r\n}\r\n",
            "Write a file from its beginning, as far as the text between <after> and </after>, which stands further "
            f"down. {TASK}<after>\n}}\r\n\n</after>\n\n{CHAT}a\r\n\r\n|\tb",
            id="line-ends",
        ),
        pytest.param("# 🦊\n🦊", "é", f"Write a file from its beginning. {TASK}{CHAT}# 🦊\n|🦊", id="emoji"),
        pytest.param(
            "<before>\n<after>",
            "\n<before-2>\n</after-2>",
            "Write a file from its beginning, as far as the text between <after> and </after>, which stands further "
            f"down. {TASK}<after>\n<before-2>\n</after-2>\n</after>\n\n{CHAT}<before>\n|<after>",
            id="marks-beside-the-marked",
        ),
        pytest.param(
            "",
            "\n<after>\n</after-2>",
            "Write a file from its beginning, as far as the text between <after-3> and </after-3>, which stands "
            f"further down. {TASK}<after-3>\n<after>\n</after-2>\n</after-3>\n\n{CHAT}|",
            id="marks-in-the-marked",
        ),
    ],
)
def test_what_is_said(own: Tokenizer, before: str, after: str, expected: str) -> None:
    opening = prompt(own, width=256).opening(before, after)
    assert f"{spelled(own, opening.ids)}|{spelled(own, opening.tail)}" == f"<bos><|turn>user\n{expected}"


@given(texts=st.tuples(TEXTS, TEXTS, TEXTS), limit=st.sampled_from([800, 4000]))
@settings(max_examples=60)
def test_text_is_only_text(chat_checkpoint: Path, texts: tuple[str, str, str], limit: int) -> None:
    own = tokenizer(chat_checkpoint)
    before, after, name = texts
    asked = prompt(own, limit=limit, name=name)
    found = asked.opening(before, after)
    turn = asked.turn
    assert [id_ for id_ in found.ids if id_ in own.control_ids] == [
        id_ for id_ in turn.around([]) if id_ in own.control_ids
    ]
    assert not own.control_ids.intersection(found.tail)
    assert len(found.ids) <= limit
    window = asked.windows.get("ann")
    assert window is not None
    assert before.startswith(window.before)
    # What follows the end of the turn is the text up to the cursor, to the byte.
    assert tuple(found.ids[: len(window.ids)]) == window.ids
    lead = before[window.cut :]
    assert own.decode([*found.ids[len(window.ids) :], *found.tail]) == own.decode(own.encode(lead))


def test_control_literals_are_spelled_out(own: Tokenizer) -> None:
    literals = "".join((*CONTROL, "<|channel>", "<channel|>", "<|think|>"))
    before = "".join([f"{literals}\n"] * 20)
    found = own.decode(prompt(own, limit=20000, name=literals).opening(before, f"\n{literals}\n").ids)
    assert found.count(literals) == 22


# What is frozen.


def typed(own: Tokenizer, text: str, after: str, limit: int = 4000) -> list[Opening]:
    """The prompt after every keystroke."""
    windows = Windows()
    return [prompt(own, windows, limit).opening(text[:stop], after) for stop in range(len(text) + 1)]


def shared(first: list[int], second: list[int]) -> int:
    """How many ids two prompts have in common."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return sum(1 for _ in same)


def test_a_keystroke_adds_nothing_but_itself(own: Tokenizer) -> None:
    text = "def mean(values):\n    return sum(values) / len(values)\n\n\nprint(mean([1, 2]))\n"
    openings = typed(own, text, "\n# the end\n")
    for number, (earlier, later) in enumerate(pairwise(openings)):
        common = shared(earlier.ids, later.ids)
        # A token that has grown is another token.
        assert len(earlier.ids) - common <= 2, text[:number]
        assert len(later.ids) - common <= WIDTH // 8 + 2, text[:number]
    grown = [len(later.ids) - len(earlier.ids) for earlier, later in pairwise(openings)]
    # Most keystrokes stay on the canvas.
    assert grown.count(0) > len(text) // 2


def test_the_cut_moves_on_by_lines_and_seldom(own: Tokenizer) -> None:
    windows = Windows()
    cuts = []
    for stop in range(len(LINES)):
        prompt(own, windows).opening("".join(LINES[:stop]), "\nend\n")
        window = windows.get("ann")
        assert window is not None
        cuts.append(window.cut)
    moves = [place for place, (one, two) in enumerate(pairwise(cuts)) if one != two]
    assert 2 < len(moves) < 20
    assert all("".join(LINES)[cut - 1] == "\n" for cut in cuts if cut)
    far = {window.far for window in [windows.get("ann")] if window}
    assert far == {"end\n"}


AFTER = "\n" + "".join(LINES[100:300])


@pytest.mark.parametrize(
    ("before", "after", "is_kept"),
    [
        pytest.param(LINES[:40], AFTER, True, id="the-same"),
        pytest.param([*LINES[:40], "x"], AFTER, True, id="typed-on"),
        pytest.param([*LINES[:40], "x"], ")" + AFTER, True, id="a-closer-came-with-it"),
        pytest.param(LINES[:39], AFTER, True, id="a-line-up"),
        pytest.param([*LINES[:40], "\n", LINES[100]], "\n" + "".join(LINES[101:300]), True, id="a-line-down"),
        pytest.param(LINES[:40], AFTER + "far away\n", True, id="changed-far-away"),
        pytest.param(LINES[:40], AFTER.replace("line 250\n", ""), True, id="deleted-far-away"),
        pytest.param(LINES[:40], "\nnew\n" + AFTER, True, id="a-line-more-below"),
        pytest.param(LINES[:40], "\n" + "y" * REACH + "\n" + AFTER, False, id="much-more-below"),
        pytest.param(LINES[:40], "\nother\n", False, id="another-text-below"),
        pytest.param(LINES[:40], "", False, id="nothing-below"),
    ],
)
def test_when_the_text_below_is_read_anew(own: Tokenizer, before: list[str], after: str, is_kept: bool) -> None:
    windows = Windows()
    prompt(own, windows).opening("".join(LINES[:40]), AFTER)
    first = windows.get("ann")
    prompt(own, windows).opening("".join(before), after)
    second = windows.get("ann")
    assert first is not None
    assert second is not None
    assert (second.far == first.far) is is_kept
    if not is_kept:
        assert second.far == after.partition("\n")[2]


@pytest.mark.parametrize(
    ("earlier", "later", "is_kept"),
    [
        ("\n}\n", "\n    y\n}\n", True),
        ("\n    y\n}\n", "\n}\n", True),
        ("\n}\n", "\n}\n" + "x\n" * REACH, False),
        ("\n}\n" + "x\n" * REACH, "\n}\n", False),
        ("\n", "\nx", True),
        ("\n", "\n" + "x" * 200, False),
        ("", "", True),
    ],
)
def test_short_texts_below(own: Tokenizer, earlier: str, later: str, is_kept: bool) -> None:
    windows = Windows()
    for after in (earlier, later):
        prompt(own, windows).opening("a\n", after)
    window = windows.get("ann")
    assert window is not None
    assert window.far == (earlier if is_kept else later)[1:]


def test_when_there_is_time_it_is_read_anew(own: Tokenizer) -> None:
    windows = Windows()
    before = "".join(LINES[:40])
    for refresh, far in ((False, AFTER[1:]), (True, AFTER[1:] + "more\n")):
        prompt(own, windows, refresh=refresh).opening(before, AFTER + "more\n" * refresh)
        window = windows.get("ann")
        assert window is not None
        assert window.far == far
    kept = windows.get("ann")
    prompt(own, windows, refresh=True).opening(before, AFTER + "more\n")
    assert windows.get("ann") is kept


def test_moving_up_keeps_what_is_below(own: Tokenizer) -> None:
    """The text before is frozen for another place, the text after still serves."""
    windows = Windows()
    first = prompt(own, windows).opening("".join(LINES[:40]), AFTER)
    second = prompt(own, windows).opening("".join(LINES[:20]), "\n" + "".join(LINES[21:40]) + AFTER)
    common = own.decode(first.ids[: shared(first.ids, second.ids)])
    assert "line 100\n" in common
    assert "<before>\nline 0\n" in common


# What does not fit.


@pytest.mark.parametrize("limit", [800, 1200, 2000])
def test_a_prefix_longer_than_the_context(own: Tokenizer, limit: int) -> None:
    before = "".join(f"def f{n}():\n    return {n}\n" for n in range(400))
    after = "\n" + "".join(f"after {n}\n" for n in range(400))
    found = prompt(own, limit=limit).opening(before + "pri", after)
    assert limit * 6 // 10 < len(found.ids) <= limit
    text = own.decode(found.ids)
    assert "Outline of what stands above:\ndef f0():\ndef f1():\n" in text
    assert "<after>\nafter 0\nafter 1\n" in text
    shown = text[text.index("<before>\n") :].removeprefix("<before>\n")
    assert shown.split("\n")[0] in before.split("\n")
    assert text.endswith("    return 399\n")


@pytest.mark.parametrize("line", ["x" * 5000, "x = " * 2000, "é" * 3000])
def test_a_line_longer_than_a_lead(own: Tokenizer, line: str) -> None:
    asked = prompt(own, limit=1000)
    found = asked.opening(line, "")
    assert len(found.ids) <= 1000
    assert len(found.tail) <= WIDTH // 8
    grown = asked.opening(line + "yz", "")
    assert len(grown.ids) - shared(found.ids, grown.ids) <= WIDTH // 8 + 2
    window = asked.windows.get("ann")
    assert window is not None
    lead = own.decode([*grown.ids[len(window.ids) :], *grown.tail])
    assert lead == (line + "yz")[window.cut :]


@pytest.mark.parametrize("limit", [0, 1, 100])
def test_a_context_that_is_too_short_for_it(own: Tokenizer, limit: int) -> None:
    with pytest.raises(EngineError, match=rf"\d+ tokens too long for the {limit} that") as caught:
        prompt(own, limit=limit).opening("a", "b")
    assert caught.value.code == "request"


# Its parts.


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, ""),
        ("", ""),
        ("file:///home/ann/a%20b/ma%C3%AFn.py", "maïn.py"),
        ("untitled:Untitled-1", "Untitled-1"),
        ("src/main.py", "main.py"),
        ("file:///", ""),
    ],
)
def test_the_name_of_a_document(document: str | None, expected: str) -> None:
    assert file_name(document) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a\nb\n", ""),
        ("class A:\n    def f(self):\n        if x:\n            y\n\n    def g(self):\n        pass\nx = 1\n",
         "class A:\n    def f(self):\n    def g(self):\n"),
        ("{\n\t\"a\": {\n\t\t\"b\": 1\n\t}\n}\n", '{\n\t"a": {\n'),
        ("  a\n    b\n", "  a\n"),
        ("if x:\n\n\n    y\nelse:\n    z", "if x:\nelse:\n"),
    ],
)  # fmt: skip
def test_an_outline(text: str, expected: str) -> None:
    assert outline(text) == expected
