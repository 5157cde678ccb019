"""How ways to mend a text are compared by a model that is spoken to: every token, and the likelihood itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_engine.engine import Engine
from dgemma_engine.errors import EngineError
from dgemma_engine.prompts.chat import ChatTemplate, Turn
from dgemma_engine.prompts.repair import COMPARED, common, repair_ids
from dgemma_engine.prompts.voice import Voice
from dgemma_engine.tokenizer import Tokenizer
from dgemma_engine.wire import Score

from ..chat import TEMPLATE
from .test_infill import load
from .test_prompt_chat import tokenizer
from .test_tokenizer import CONTROL, TEXTS


@pytest.fixture
def own(chat_checkpoint: Path) -> Tokenizer:
    return tokenizer(chat_checkpoint)


@pytest.fixture
def turn(own: Tokenizer) -> Turn:
    return ChatTemplate(TEMPLATE, Path("chat_template.jinja")).turn(own, 2)


@pytest.fixture
def voice(chat_checkpoint: Path) -> Voice:
    found = load(chat_checkpoint).voice
    assert found is not None
    return found


def test_every_token(own: Tokenizer, voice: Voice) -> None:
    ids, answers = voice.repair(Score(0, '{\n  "a": ', ("[1, 2],", "[1], 2,"), "\n}\n"))
    encode, channel = own.encode, [own.control_id("<|channel>"), own.control_id("<channel|>")]
    assert ids == [
        *[2, 4, *encode("user\n")],
        *encode(
            "The text between <text> and </text> follows the text between <before> and </before> in a file. Brackets, "
            "quotes or marks are missing in it. Answer with the text as it should be: put in what is missing and "
            "change nothing else. It is put between <text> and </text> as it is: leave out the marks, code fences and "
            "explanations.\n\n<before>\n"
        ),
        *encode('{\n  "a": '),
        *encode("</before>\n\n<text>"),
        *encode("[1, 2,\n}\n"),
        *encode("</text>"),
        *[5, *encode("\n"), 4, *encode("model\n"), channel[0], *encode("thought\n"), channel[1]],
    ]
    assert answers == [[*encode(text), *encode("\n}\n"), 5] for text in ("[1, 2],", "[1], 2,")]


def test_a_score_is_the_likelihood_of_the_answer(chat_checkpoint: Path, voice: Voice) -> None:
    engine = load(chat_checkpoint)
    candidates = ["values]", "values)", "val"]
    ids, answers = voice.repair(Score(0, "mean([", tuple(candidates), ")\n"))
    scores = engine.score("mean([", candidates, ")\n")
    for answer, score in zip(answers, scores, strict=True):
        hidden = engine.model.encode(torch.tensor([ids + answer]), engine.model.new_cache())[0, len(ids) - 1 : -1]
        each = engine.model.logits(hidden).log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])
        assert score == pytest.approx(each.sum().item(), abs=1e-2)


def test_the_order_of_the_candidates_does_not_matter(chat_checkpoint: Path) -> None:
    engine = load(chat_checkpoint)
    candidates = ["(a))", "((a)", "(a]"]
    there, back = engine.score("x = ", candidates), engine.score("x = ", candidates[::-1])
    assert there == pytest.approx(back[::-1], abs=1e-2)


def test_a_checkpoint_without_a_template_reads_on(tiny_checkpoint: Path) -> None:
    engine = Engine.load(str(tiny_checkpoint))
    assert engine.voice is None
    ids = [2, *engine.tokenizer.encode("x = "), *engine.tokenizer.encode("1")]
    hidden = engine.model.encode(torch.tensor([ids]), engine.model.new_cache())
    expected = engine.model.logits(hidden[0, -2]).log_softmax(-1)[ids[-1]].item()
    assert engine.score("x = ", ["1"]) == [pytest.approx(expected, abs=1e-3)]


def test_nothing_to_compare(chat_checkpoint: Path) -> None:
    assert load(chat_checkpoint).score("x", []) == []


@given(texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), limit=st.sampled_from([900, 3000]))
@settings(max_examples=40)
def test_text_is_only_text(chat_checkpoint: Path, texts: tuple[str, str, str, str], limit: int) -> None:
    own = tokenizer(chat_checkpoint)
    turn = ChatTemplate(TEMPLATE, Path("chat_template.jinja")).turn(own, 2)
    before, one, two, after = texts
    ids = repair_ids(turn, before, [one, two], after, own, limit)
    assert len(ids) <= limit
    assert [id_ for id_ in ids if id_ in own.control_ids] == [id_ for id_ in turn.around([]) if id_ in own.control_ids]


def test_control_literals_and_marks_are_spelled_out(own: Tokenizer, turn: Turn) -> None:
    literals = "".join((*CONTROL, "<|channel>", "<text>"))
    found = own.decode(repair_ids(turn, literals, [literals], literals, own, 4000))
    assert found.count(literals) == 3
    assert f"<text-2>{literals}{literals}</text-2>" in found


def test_of_the_text_before_the_end_is_shown(own: Tokenizer, turn: Turn) -> None:
    before = "".join(f"line {n}\n" for n in range(500))
    ids = repair_ids(turn, before, ["a]", "a)"], "", own, 800)
    assert 600 < len(ids) <= 800
    assert "line 499\n</before>\n\n<text>a</text>" in own.decode(ids)


def test_a_text_that_is_too_long(chat_checkpoint: Path) -> None:
    with pytest.raises(EngineError, match=r"\d+ tokens too long") as caught:
        load(chat_checkpoint).score("x", ["(a " * 4000])
    assert caught.value.code == "request"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "a"], "a"),
        (["[1, 2]", "[1], 2"], "[1, 2"),
        (["f(a)(b", "f(a(b)", "f)(a(b"], "f(a(b"),
        (["xay", "xby", ""], ""),
        (["ab", "a"], "a"),
        (["aba", "aa"], "aa"),
        (["{é}", "{é"], "{é"),
    ],
)
def test_what_texts_have_in_common(texts: list[str], expected: str) -> None:
    assert common(texts) == expected


def is_within(short: str, long: str) -> bool:
    """Whether the characters of one text stand in the other in the same order."""
    rest = iter(long)
    return all(character in rest for character in short)


@given(text=st.text("ab(", max_size=12), places=st.lists(st.integers(0, 12), min_size=1, max_size=COMPARED))
def test_it_is_in_all_of_them(text: str, places: list[int]) -> None:
    """One closer, here or there; what stands before the first and behind the last place is kept."""
    texts = [text[:place] + ")" + text[place:] for place in places]
    found = common(texts)
    assert all(is_within(found, one) for one in texts)
    assert found.startswith(text[: min(places)])
    assert found.endswith(text[max(places) :])
