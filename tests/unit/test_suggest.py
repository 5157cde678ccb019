"""How asks end: every outcome, what is offered, and what the engine hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest

from dgemma_engine import wire
from dgemma_lsp.config import Settings
from dgemma_lsp.engine_client import EngineClient
from dgemma_lsp.server import suggest as module
from dgemma_lsp.server.ask import Ask, Selected
from dgemma_lsp.server.engine_life import EngineLife, EngineState
from dgemma_lsp.server.outcomes import OUTCOMES, Outcome
from dgemma_lsp.server.suggest import Suggester
from dgemma_lsp.syntax.trees import Trees
from dgemma_lsp.text.document import Change, Document
from dgemma_lsp.text.overlap import Offer
from tests.client_help import in_a_loop
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.usefixtures("runtime")

QUICK = Settings(debounce=0.0)


@attrs.define
class House:
    """A suggester, its engine and one document with the cursor at `|`."""

    engine: FakeEngine
    life: EngineLife
    states: list[EngineState] = attrs.Factory(list)
    document: Document | None = None
    offset: int = 0
    suggester: Suggester = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.suggester = Suggester(self.life, Trees(), lambda _: self.document)

    def open(self, marked: str, language: str = "python", uri: str = "file:///x/a.py", version: int = 1) -> None:
        self.offset = marked.index("|")
        self.document = Document.opened(uri, language, version, marked.replace("|", "", 1))

    def ask(self, invoked: bool = False, selected: Selected | None = None) -> Ask:
        assert self.document is not None
        return Ask(self.document, self.offset, invoked, selected)

    async def suggest(self, invoked: bool = False, settings: Settings = QUICK) -> tuple[list[Offer] | None, Outcome]:
        outcome = Outcome("test", "a.py", 1, 1, "")
        return await self.suggester.suggest(self.ask(invoked), settings, outcome), outcome

    async def texts(self, invoked: bool = False, settings: Settings = QUICK) -> list[str]:
        """The document as it is after each of the offers."""
        offers, _ = await self.suggest(invoked, settings)
        assert self.document is not None
        return [one.applied(self.document.text) for one in offers or []]

    def type(self, text: str) -> None:
        assert self.document is not None
        at = self.document.position_at(self.offset)
        self.document = self.document.apply([Change(text, at)], self.document.version + 1)
        self.offset += len(text)

    @property
    def fills(self) -> int:
        return sum(isinstance(message, wire.Fill) for message in self.engine.received)


@asynccontextmanager
async def house(*script: tuple[str, ...], behaviour: str = "good", ready: bool = True) -> AsyncIterator[House]:
    async with FakeEngine("good") as engine:
        states: list[EngineState] = []
        client = EngineClient(name="tests", start=False)
        life = EngineLife(client, "nano", 900.0, states.append, lambda _: None)
        built = House(engine, life, states)
        if ready:
            life.want()
            while not life.ready:
                await asyncio.sleep(0.001)
        engine.behaviour, engine.script = behaviour, list(script)
        built.open("value = f(|)\n")
        try:
            yield built
        finally:
            await life.close()


REACHED = {
    "offered": {"script": [("1",)]},
    "empty": {"script": [("",)]},
    "syntax-refused": {"script": [("]]",)]},
    "engine-down": {"behaviour": "dies"},
    "busy": {"behaviour": "busy"},
    "deadline": {"behaviour": "silent"},
    "error": {"behaviour": "buggy"},
    "engine-loading": {"behaviour": "unloaded"},
    "secret-file": {"uri": "file:///x/.env.local", "language": "shellscript"},
    "trigger-off": {"settings": attrs.evolve(QUICK, trigger={"*": "auto", "python": "manual"})},
    "scope-off": {"settings": attrs.evolve(QUICK, scopes={"*": ("comment",)})},
}
"""Outcomes of a single automatic request; the others take two events and have tests of their own."""

IN_SEQUENCE = {"superseded", "cancelled", "stale", "not-open"}

OF_REPAIRS = {"repaired", "clean", "unsure", "unchecked", "fix-off"}
"""test_repairing.py and test_lsp_repair.py reach these."""


OF_REWRITES = {
    "applied",
    "previewed",
    "unchanged",
    "nothing-selected",
    "no-instruction",
    "no-instructions",
    "too-long",
}
"""test_rewrite_wishes.py and test_lsp_rewrite.py reach these."""


def test_every_outcome_is_reached() -> None:
    assert {*REACHED, *IN_SEQUENCE, *OF_REPAIRS, *OF_REWRITES} == set(OUTCOMES)


@pytest.mark.parametrize("outcome", REACHED)
@in_a_loop
async def test_an_automatic_request_ends_in(outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    how = REACHED[outcome]
    monkeypatch.setattr(module, "GRACE_S", 0.05)
    settings = how.get("settings", attrs.evolve(QUICK, deadline=50.0) if outcome == "deadline" else QUICK)
    async with house(*how.get("script", []), behaviour=how.get("behaviour", "good")) as here:
        if "uri" in how:
            here.open("KEY=|\n", how["language"], how["uri"])
        offers, found = await here.suggest(settings=settings)
        assert found.outcome == outcome
        assert bool(offers) == (outcome == "offered")
        assert (offers is None) is False
        assert OUTCOMES[outcome] in found.explained()["message"]
        if outcome in ("secret-file", "trigger-off", "scope-off"):
            assert here.fills == 0


@in_a_loop
async def test_a_model_that_wrote_nothing_is_no_error() -> None:
    async with house(behaviour="speechless") as here:
        offers, found = await here.suggest(settings=QUICK)
        assert (offers, found.outcome) == ([], "empty")


@in_a_loop
async def test_a_newer_request_supersedes_at_once_and_reaches_the_engine() -> None:
    async with house(behaviour="silent") as here:
        first = asyncio.ensure_future(here.suggest())
        await here.engine.wait_for(wire.Fill)
        here.engine.behaviour, here.engine.script = "good", [("1",)]
        (offers, outcome), (newer, _) = await asyncio.gather(first, here.suggest())
        assert (offers, outcome.outcome) == (None, "superseded")
        assert newer
        await here.engine.wait_for(wire.Cancel)


@pytest.mark.parametrize("reason", ["cached", "trigger-off"])
@in_a_loop
async def test_a_newer_request_supersedes_even_when_it_asks_no_engine(reason: str) -> None:
    async with house(("12",)) as here:
        assert await here.texts()
        here.engine.behaviour = "silent"
        waiting = asyncio.ensure_future(here.suggest(invoked=True))
        await here.engine.wait_for(wire.Fill, 2)
        here.type("1")
        off = attrs.evolve(QUICK, trigger={"*": "off"})
        _, newer = await here.suggest(settings=off if reason == "trigger-off" else QUICK)
        assert newer.cached or newer.outcome == reason
        assert (await waiting)[0] is None


@in_a_loop
async def test_cancelling_reaches_the_engine() -> None:
    async with house(behaviour="silent") as here:
        outcome = Outcome("test", "a.py", 1, 1, "")
        task = asyncio.ensure_future(here.suggester.suggest(here.ask(), QUICK, outcome))
        await here.engine.wait_for(wire.Fill)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert outcome.outcome == "cancelled"
        await here.engine.wait_for(wire.Cancel)


@pytest.mark.parametrize("how", ["typed", "closed", "opened anew"])
@in_a_loop
async def test_a_document_that_moved_gets_no_edit(how: str) -> None:
    async with house(("1",), behaviour="silent") as here:
        task = asyncio.ensure_future(here.suggest())
        await here.engine.wait_for(wire.Fill)
        if how == "typed":
            here.type("x")
        elif how == "closed":
            here.document = None
        else:
            here.open("other(|)\n")
        request = here.engine.received[-1]
        assert isinstance(request, wire.Fill)
        here.engine.tell(wire.Filled(request.id, (wire.Candidate(("1",), 0.0, 1, "passes"),), {}, {}))
        offers, outcome = await task
        assert (offers, outcome.outcome) == (None, "stale")


@in_a_loop
async def test_typing_along_asks_no_engine() -> None:
    async with house(("alpha, beta",)) as here:
        whole = await here.texts()
        for letter in "alpha, bet":
            here.type(letter)
            offers, outcome = await here.suggest()
            assert outcome.cached
            assert await here.texts() == whole
            assert here.document is not None
            # Late acceptance replaces what was typed: the range begins with the word.
            assert offers is not None
            assert offers[0].start == here.document.word_start(here.offset)
        assert here.fills == 1
        here.type("?")
        await here.suggest()
        assert here.fills == 2


@in_a_loop
async def test_asking_again_asks_the_engine_and_wants_distinct_offers() -> None:
    async with house(("a", "a", "]]", "b", "c", "d")) as here:
        assert await here.texts(invoked=True) == [f"value = f({name})\n" for name in "abc"]
        await here.suggest(invoked=True)
        assert here.fills == 2


@in_a_loop
async def test_what_breaks_the_syntax_is_written_anew() -> None:
    async with house(("]",), ("b",)) as here:
        offers, outcome = await here.suggest()
        assert outcome.outcome == "offered"
        assert [one.insert for one in offers or []] == ["b"]
        assert any(isinstance(message, wire.Refine) for message in here.engine.received)


@pytest.mark.parametrize(
    ("marked", "selected", "filled", "applied"),
    [
        ("x.pri|\n", (2, 5, "print"), "(1)", "x.print(1)\n"),
        ("x.pri|)\n", (2, 5, "print"), "(1))", "x.print(1))\n"),
        ("x.pri|\n", (2, 5, "print"), "", None),
        ("x.|\n", (2, 2, "items"), "()", "x.items()\n"),
    ],
)
@in_a_loop
async def test_an_item_extends_the_selected_one_and_has_its_range(
    marked: str, selected: tuple[int, int, str], filled: str, applied: str | None
) -> None:
    async with house((filled,)) as here:
        here.open(marked, "plaintext")
        outcome = Outcome("test", "a.py", 1, 1, "")
        offers = await here.suggester.suggest(here.ask(selected=Selected(*selected)), QUICK, outcome)
        assert here.document is not None
        assert [one.applied(here.document.text) for one in offers or []] == ([applied] if applied else [])
        for one in offers or []:
            assert (one.start, one.end) == selected[:2]
            assert one.insert.startswith(selected[2])


@in_a_loop
async def test_closers_that_stand_there_are_not_repeated() -> None:
    async with house(("1)",)) as here:
        assert await here.texts() == ["value = f(1)\n"]


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
@in_a_loop
async def test_offers_have_the_documents_line_ends(ends: str) -> None:
    async with house(("1\ny = 2",)) as here:
        here.open(f"a = 1{ends}x = |{ends}z = 3{ends}", "plaintext")
        assert await here.texts() == [f"a = 1{ends}x = 1{ends}y = 2{ends}z = 3{ends}"]


@in_a_loop
async def test_a_request_while_the_engine_starts_does_not_wait_for_it() -> None:
    async with house(("1",), ready=False) as here:
        _, outcome = await here.suggest()
        assert outcome.outcome == "engine-loading"
        while not here.life.ready:
            await asyncio.sleep(0.001)
        assert (await here.suggest())[1].outcome == "offered"


@in_a_loop
async def test_after_a_death_the_next_request_starts_another() -> None:
    async with house(("1",), behaviour="dies") as here:
        assert (await here.suggest())[1].outcome == "engine-down"
        here.engine.behaviour = "good"
        assert (await here.suggest())[1].outcome in ("engine-down", "engine-loading")
        while not here.life.ready:
            await asyncio.sleep(0.001)
        assert (await here.suggest())[1].outcome == "offered"
        assert [state.state for state in here.states][-3:] == ["down", "loading", "ready"]


@in_a_loop
async def test_an_answer_shows_that_the_engine_is_there() -> None:
    async with house(("1",), behaviour="dies") as here:
        await here.suggest(invoked=True)
        here.engine.behaviour = "good"
        assert (await here.suggest(invoked=True))[1].outcome == "offered"
        while not here.life.ready:
            await asyncio.sleep(0.001)


@in_a_loop
async def test_an_engine_that_does_not_start_is_not_started_with_every_keystroke() -> None:
    async with house() as here:
        await here.life.close()
        here.engine.close_door()
        life = EngineLife(EngineClient(name="tests", start=False), "nano", 1.0, here.states.append, lambda _: None)
        suggester = Suggester(life, Trees(), lambda _: here.document)
        names = []
        for _ in range(4):
            outcome = Outcome("test", "a.py", 1, 1, "")
            await suggester.suggest(here.ask(), QUICK, outcome)
            names.append(outcome.outcome)
            await asyncio.sleep(0.02)
        assert names == ["engine-loading", "engine-down", "engine-down", "engine-down"]
        assert [state.state for state in here.states].count("down") == 1
        await life.close()


@in_a_loop
async def test_drafts_are_heard() -> None:
    async with house(("1",)) as here:
        heard: list[wire.Draft] = []
        ask = attrs.evolve(here.ask(), on_draft=heard.append)
        await here.suggester.suggest(ask, QUICK, Outcome("test", "a.py", 1, 1, ""))
        assert [draft.pass_index for draft in heard] == [1, 2]
