"""What a model is told to rewrite: every word of it, and what of the document fits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_engine.errors import EngineError
from dgemma_engine.prompts.rewrite import Passage, rewrite_ids
from dgemma_engine.tokenizer import Tokenizer
from dgemma_engine.wire import Prompt

from .test_prompt_chat import tokenizer
from .test_tokenizer import CONTROL, TEXTS

PASSAGE = Passage("import math\n\n\ndef area(r):\n", "    return 3.14 * r * r", "\n\n\nprint(area(2))\n")


@pytest.fixture
def own(chat_checkpoint: Path) -> Tokenizer:
    return tokenizer(chat_checkpoint)


def said(own: Tokenizer, prompt: Prompt, passage: Passage = PASSAGE, limit: int = 4000) -> str:
    return own.decode(rewrite_ids(prompt, passage, own, limit))


ANSWER = """\
Answer with the text that shall stand between <selection> and </selection> from now on, complete, with the indentation \
of the document. It is put there as it is: leave out the marks, code fences and explanations."""


def test_an_instruction_alone(own: Tokenizer) -> None:
    assert said(own, Prompt(" Use math.pi.\n")) == (
        "This is a file. The part of it between <selection> and </selection> is to be rewritten.\n\n"
        "<document>\nimport math\n\n\ndef area(r):\n"
        "<selection>    return 3.14 * r * r</selection>\n\n\nprint(area(2))\n\n</document>\n\n"
        f"What to do: Use math.pi.\n\n{ANSWER}"
    )


def test_all_that_is_known(own: Tokenizer) -> None:
    prompt = Prompt("Use math.pi.", "python", "src/area.py", "def area(r)\ndef main()", ["5: 3.14 is\nno pi", "5: w"])
    assert said(own, prompt) == (
        "This is src/area.py (language: python). The part of it between <selection> and </selection> is to be "
        "rewritten.\n\nOutline of the file:\ndef area(r)\ndef main()\n\n"
        "<document>\nimport math\n\n\ndef area(r):\n"
        "<selection>    return 3.14 * r * r</selection>\n\n\nprint(area(2))\n\n</document>\n\n"
        "Problems reported between <selection> and </selection>:\n- 5: 3.14 is no pi\n- 5: w\n\n"
        f"What to do: Use math.pi.\n\n{ANSWER}"
    )


def test_the_pieces_are_encoded_apart(own: Tokenizer) -> None:
    """So that the words around a selection do not depend on it, and an earlier prompt's tokens come again."""
    ids = rewrite_ids(Prompt("x"), PASSAGE, own, 4000)
    marked = [*own.encode("<selection>"), *own.encode(PASSAGE.selection), *own.encode("</selection>")]
    start = next(place for place in range(len(ids)) if ids[place : place + len(marked)] == marked)
    before = own.encode(PASSAGE.before)
    assert ids[start - len(before) : start] == before
    other = rewrite_ids(Prompt("x", problems=["y"]), Passage(PASSAGE.before, "pass", ""), own, 4000)
    assert other[: start + 3] == ids[: start + 3]


@given(texts=st.tuples(*[TEXTS] * 8), limit=st.sampled_from([1200, 4000]))
@settings(max_examples=40)
def test_text_is_only_text(chat_checkpoint: Path, texts: tuple[str, ...], limit: int) -> None:
    own = tokenizer(chat_checkpoint)
    instruction, language, file, outline, problem, *passage = texts
    prompt = Prompt(f"x{instruction}", language, file, outline, [problem])
    ids = rewrite_ids(prompt, Passage(*passage), own, limit)
    assert not own.control_ids.intersection(ids)
    assert len(ids) <= limit


def test_control_literals_are_spelled_out(own: Tokenizer) -> None:
    literals = "".join((*CONTROL, "<|channel>", "<channel|>", "<|think|>"))
    text = said(own, Prompt(literals, literals, literals, literals, [literals]), Passage(literals, literals, literals))
    assert text.count(literals) == 8


def test_marks_that_the_document_holds_already(own: Tokenizer) -> None:
    text = said(own, Prompt("x"), Passage("<selection>", "a", "</selection-2>"))
    assert "<document>\n<selection><selection-3>a</selection-3></selection-2>\n</document>" in text


@pytest.mark.parametrize("limit", [700, 1000, 2000])
def test_what_does_not_fit_is_left_out_around_the_selection(own: Tokenizer, limit: int) -> None:
    before = "".join(f"before {n}\n" for n in range(800))
    after = "".join(f"after {n}\n" for n in range(800))
    ids = rewrite_ids(Prompt("x", outline=before, problems=[before[:1000]]), Passage(before, "here", after), own, limit)
    assert limit * 3 // 4 < len(ids) <= limit
    text = own.decode(ids)
    assert "before 799\n<selection>here</selection>after 0\n" in text
    shown = text[text.index("<document>\n") :]
    # A document begins and ends with whole lines.
    assert shown.split("\n")[1].startswith("before ")
    assert shown[: shown.index("\n\n</document>")].split("\n")[-1].split()[0] == "after"
    assert "Outline of the file:\nbefore 0\n" in text


def test_a_short_text_before_leaves_its_room_to_what_comes_after(own: Tokenizer) -> None:
    after = "".join(f"after {n}\n" for n in range(800))
    first, second = (
        own.decode(rewrite_ids(Prompt("x"), Passage(before, "here", after), own, 1500)).count("after ")
        for before in ("", "a line before\n" * 800)
    )
    assert first > 2 * second > 0


@pytest.mark.parametrize("limit", [-5, 0, 1, 100])
def test_an_instruction_that_leaves_no_room(own: Tokenizer, limit: int) -> None:
    with pytest.raises(EngineError, match=rf"too long: with the selection it takes \d+ tokens, {limit} fit") as caught:
        rewrite_ids(Prompt("simplify " * 100), PASSAGE, own, limit)
    assert caught.value.code == "request"
