"""How rewrites end: every outcome, what the engine is asked, and where the hunks are."""

from __future__ import annotations

import asyncio
import random
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from dgemma_engine import wire
from dgemma_lsp.config import Settings
from dgemma_lsp.engine_client import EngineClient
from dgemma_lsp.server.engine_life import EngineLife
from dgemma_lsp.server.outcomes import Outcome
from dgemma_lsp.server.rewriting import KEPT, MOST_INSTRUCTION, MOST_TOKENS, Rewriter, Rewritten, Wish
from dgemma_lsp.syntax.trees import Trees
from dgemma_lsp.text.document import Change, Document, Position
from dgemma_lsp.text.edits import apply_edits
from tests.client_help import in_a_loop
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.usefixtures("runtime")

PLACE = "def f():\n‸    return 1\n‸\n\nx = 2\n"
STDLIB = Path(sysconfig.get_path("stdlib"))


@attrs.define
class House:
    """A rewriter, its engine, and one document with the selection between two marks."""

    engine: FakeEngine
    life: EngineLife
    document: Document | None = None
    start: int = 0
    end: int = 0
    rewriter: Rewriter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rewriter = Rewriter(self.life, Trees(), lambda _: self.document)

    def open(self, marked: str, language: str = "python", uri: str = "file:///x/a.py") -> None:
        before, selected, after = marked.split("‸")
        self.start, self.end = len(before), len(before) + len(selected)
        self.document = Document.opened(uri, language, 1, before + selected + after)

    def type(self, line: int, text: str) -> None:
        assert self.document is not None
        self.document = self.document.apply([Change(text, Position(line, 0))], self.document.version + 1)

    async def rewrite(
        self, instruction: str = "return two", settings: Settings | None = None
    ) -> tuple[Rewritten | None, Outcome]:
        assert self.document is not None
        outcome = Outcome("test", "a.py", 1, 1, "invoked")
        wish = Wish(self.document, self.start, self.end, instruction, ("line 2: it is one",))
        return await self.rewriter.rewrite(wish, settings or Settings(), outcome), outcome

    @property
    def fills(self) -> list[wire.Fill]:
        return [message for message in self.engine.received if isinstance(message, wire.Fill)]


@asynccontextmanager
async def house(*script: str, behaviour: str = "good") -> AsyncIterator[House]:
    async with FakeEngine("good") as engine:
        life = EngineLife(EngineClient(name="tests", start=False), "instructed", 900.0, lambda _: None, lambda _: None)
        life.want()
        while not life.ready:
            await asyncio.sleep(0.001)
        engine.behaviour, engine.script = behaviour, [(text,) for text in script]
        built = House(engine, life)
        built.open(PLACE)
        try:
            yield built
        finally:
            await life.close()


def made(rewritten: Rewritten, numbers: list[int] | None = None) -> str:
    return apply_edits(rewritten.document.text, rewritten.edits(numbers))


@in_a_loop
async def test_what_the_engine_is_asked() -> None:
    async with house("    return 2\n") as here:
        rewritten, outcome = await here.rewrite(settings=Settings(rewrite_noise=0.5, passes=7))
        assert rewritten is not None
        assert made(rewritten) == "def f():\n    return 2\n\n\nx = 2\n"
        # Only what is done with the hunks ends it.
        assert outcome.outcome == ""
        [asked] = here.fills
        assert isinstance(asked.text, wire.MaskedText)
        [hole] = asked.text.holes
        assert (hole.draft, hole.noise, asked.priority, asked.passes) == ("    return 1\n", 0.5, "rewrite", 7)
        assert asked.prompt == wire.Prompt("return two", "python", "a.py", "", ("line 2: it is one",))


ENDS = {
    "syntax-refused": {"script": ["    return (2\n", "    return (((\n"]},
    "empty": {"script": [" \n"]},
    "unchanged": {"script": ["return 1"]},
    "busy": {"behaviour": "busy"},
    "engine-down": {"behaviour": "dies"},
    "no-instructions": {"behaviour": "uninstructed"},
    "error": {"behaviour": "buggy"},
    "secret-file": {"uri": "file:///x/.env"},
    "nothing-selected": {"place": "a\n‸ \n‸b\n"},
    "no-instruction": {"instruction": " \n"},
    "too-long": {"instruction": "x" * (MOST_INSTRUCTION + 1)},
}


@pytest.mark.parametrize("outcome", ENDS)
@in_a_loop
async def test_without_hunks_it_says_why(outcome: str) -> None:
    how = ENDS[outcome]
    async with house(*how.get("script", []), behaviour=how.get("behaviour", "good")) as here:
        here.open(how.get("place", PLACE), uri=how.get("uri", "file:///x/a.py"))
        rewritten, found = await here.rewrite(how.get("instruction", "go on"))
        assert rewritten is None
        assert found.outcome == outcome
        asked = outcome not in ("secret-file", "nothing-selected", "no-instruction", "too-long")
        assert bool(here.fills) is asked


@in_a_loop
async def test_a_selection_too_long_says_so() -> None:
    async with house() as here:
        here.open("‸" + "x = 1\n" * MOST_TOKENS + "‸y\n")
        _, found = await here.rewrite()
        assert found.outcome == "too-long"
        assert "select a smaller part" in found.explained()["message"]


@in_a_loop
async def test_what_breaks_the_syntax_is_written_anew_once() -> None:
    async with house("    return (2\n", "    return (2)\n") as here:
        rewritten, _ = await here.rewrite()
        assert rewritten is not None
        assert made(rewritten).startswith("def f():\n    return (2)\n")
        assert [type(message) for message in here.engine.received][-2:] == [wire.Fill, wire.Refine]


@in_a_loop
async def test_cancelling_reaches_the_engine() -> None:
    async with house(behaviour="silent") as here:
        task = asyncio.ensure_future(here.rewrite())
        await here.engine.wait_for(wire.Fill)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await here.engine.wait_for(wire.Cancel)


@pytest.mark.parametrize(
    ("line", "text", "result"),
    [
        (0, "# new\n", "# new\ndef f():\n    return 2\n\n\nx = 2\n"),
        (4, "y = 3\n", "def f():\n    return 2\n\n\ny = 3\nx = 2\n"),
        (1, "    pass\n", "def f():\n    pass\n    return 2\n\n\nx = 2\n"),
    ],
)
@in_a_loop
async def test_a_document_that_moves_meanwhile(line: int, text: str, result: str) -> None:
    async with house("    return 2\n", behaviour="silent") as here:
        task = asyncio.ensure_future(here.rewrite())
        await here.engine.wait_for(wire.Fill)
        here.type(line, text)
        here.engine.answer_late()
        rewritten, _ = await task
        assert rewritten is not None
        assert rewritten.document is here.document
        assert made(rewritten) == result


@in_a_loop
async def test_a_selection_that_is_touched_meanwhile_is_left_alone() -> None:
    async with house("    return 2\n", behaviour="silent") as here:
        task = asyncio.ensure_future(here.rewrite())
        await here.engine.wait_for(wire.Fill)
        assert here.document is not None
        here.document = here.document.apply([Change("0", Position(1, 12))], 2)
        here.engine.answer_late()
        rewritten, outcome = await task
        assert (rewritten, outcome.outcome) == (None, "stale")


@in_a_loop
async def test_hunks_of_a_preview_are_applied_one_by_one() -> None:
    async with house("a = 10\nb = 2\nc = 30\n") as here:
        here.open("‸a = 1\nb = 2\nc = 3\n‸d = 4\n")
        rewritten, _ = await here.rewrite()
        assert rewritten is not None
        assert len(rewritten.hunks) == 2
        here.rewriter.keep(rewritten)
        here.type(0, "# above\n")
        kept = here.rewriter.preview(rewritten.id)
        assert kept is not None
        assert made(kept, [1]) == "# above\na = 1\nb = 2\nc = 30\nd = 4\n"
        assert made(kept, [0, 0]) == "# above\na = 10\nb = 2\nc = 3\nd = 4\n"
        assert made(kept, []) == "# above\na = 1\nb = 2\nc = 3\nd = 4\n"
        here.type(2, "# inside\n")
        assert here.rewriter.preview(rewritten.id) is None
        here.rewriter.forget("file:///x/a.py")
        assert here.rewriter.preview(rewritten.id) is None


@in_a_loop
async def test_only_the_last_previews_are_kept() -> None:
    async with house("    return 2\n") as here:
        kept = []
        for _ in range(KEPT + 1):
            rewritten, _ = await here.rewrite()
            assert rewritten is not None
            here.rewriter.keep(rewritten)
            kept.append(rewritten.id)
        assert [here.rewriter.preview(id_) is None for id_ in kept] == [True] + [False] * KEPT


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@in_a_loop
async def test_nothing_outside_of_the_selection_changes(newline: str) -> None:
    document = (STDLIB / "textwrap.py").read_text(encoding="utf-8").replace("\n", newline)
    draws = random.Random(5)
    async with house() as here:
        for _ in range(30):
            start = draws.randrange(len(document))
            end = min(len(document), start + draws.randrange(400))
            here.open(f"{document[:start]}‸{document[start:end]}‸{document[end:]}", language="plaintext")
            here.engine.script = [(document[start:end].replace("self", "this").replace(newline, "\n").upper(),)]
            rewritten, _ = await here.rewrite()
            if rewritten is not None:
                result = made(rewritten)
                assert result.startswith(document[:start])
                assert result.endswith(document[end:])
