"""Repairs of open documents: how each attempt ends, what the engine hears of it, and what the editor is shown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
from lsprotocol import types

from dgemma_engine import wire
from dgemma_lsp.config import Settings
from dgemma_lsp.engine_client import EngineClient
from dgemma_lsp.server import diagnostics as diagnostics_module
from dgemma_lsp.server import repairing
from dgemma_lsp.server.diagnostics import Diagnostics
from dgemma_lsp.server.outcomes import Outcome
from dgemma_lsp.server.repairing import Repairer, repaired_language
from dgemma_lsp.syntax.repair.diagnosis import CLEAN, Candidate, Diagnosis, Unclosed
from dgemma_lsp.text.document import Change, Document, Position
from dgemma_lsp.text.edits import Edit
from tests.client_help import in_a_loop
from tests.fake_engine import FakeEngine, Say

pytestmark = pytest.mark.usefixtures("runtime")

BROKEN = "ab"
FAULT = Unclosed(0, 1, "`a` is never closed")
SHORT = Candidate((Edit(1, 1, "x"),), 1.0)
LONG = Candidate((Edit(1, 1, "long and unlikely"),), 1.0)
FOUND: dict[str, Diagnosis] = {
    "clean": CLEAN,
    "settled": Diagnosis((FAULT,), (SHORT, LONG), SHORT),
    "open": Diagnosis((FAULT,), (LONG, SHORT), reason="two ways fit"),
    "unread": Diagnosis(reason="it is too large"),
    "hopeless": Diagnosis((FAULT,), reason="no way fits"),
}


class Engine(FakeEngine):
    """Of its texts it likes the shortest best; `mood` is what keeps it from saying so."""

    mood = ""

    def _report(self, id: int) -> wire.Report:
        report = super()._report(id)
        if self.mood == "busy":
            return attrs.evolve(report, queue=attrs.evolve(report.queue, running=1))
        return attrs.evolve(report, models=()) if self.mood == "unloaded" else report

    def _answer(self, message: wire.Message, say: Say) -> bool:
        if isinstance(message, wire.Score) and self.mood in ("silent", "dies"):
            return self.mood == "silent"
        return super()._answer(message, say)

    @property
    def scores(self) -> int:
        return sum(isinstance(message, wire.Score) for message in self.received)


@attrs.define
class House:
    """A repairer, and the one document of its editor."""

    engine: Engine | None
    document: Document
    repairer: Repairer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.repairer = Repairer(EngineClient(name="tests", start=False), lambda _: self.document)

    async def repair(self, settings: Settings | None = None) -> tuple[Candidate | None, Outcome]:
        outcome = Outcome("test", "a.json", 1, 1, "automatic")
        return await self.repairer.repair(self.document, settings or Settings(), outcome), outcome

    def type(self, text: str) -> None:
        self.document = self.document.apply([Change(text, Position(0, 0))], self.document.version + 1)


@asynccontextmanager
async def house(mood: str | None = None, uri: str = "file:///w/a.json", language: str = "json") -> AsyncIterator[House]:
    """Without a mood there is no engine."""
    document = Document.opened(uri, language, 1, BROKEN)
    engine = None if mood is None else Engine()
    if engine is not None:
        engine.mood = mood or ""
        await engine.listen(wire.find_endpoint())
    built = House(engine, document)
    try:
        yield built
    finally:
        await built.repairer.close()
        if engine is not None:
            await engine.close()


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Has every document diagnosed as the test says; returns the texts that are."""

    def install(diagnosis: Diagnosis | Exception, hold: threading.Event | None = None) -> list[str]:
        asked: list[str] = []

        def diagnose(language: str, document: str, deadline: float) -> Diagnosis:
            asked.append(document)
            if hold is not None:
                hold.wait(10)
            if isinstance(diagnosis, Exception):
                raise diagnosis
            return diagnosis

        monkeypatch.setattr(repairing, "diagnose", diagnose)
        return asked

    return install


@pytest.mark.parametrize(
    ("what", "mood", "outcome", "detail"),
    [
        ("clean", None, "clean", ""),
        ("unread", "", "unchecked", "it is too large"),
        ("settled", None, "repaired", FAULT.message),
        ("settled", "", "repaired", FAULT.message),
        ("hopeless", "", "unsure", "no way fits"),
        ("open", "", "repaired", FAULT.message),
        ("open", None, "unsure", "two ways fit; the engine is not running"),
        ("open", "busy", "unsure", "two ways fit; the engine is busy"),
        ("open", "unloaded", "unsure", "two ways fit; the engine has not loaded its model"),
        ("open", "silent", "unsure", "two ways fit; the engine did not answer in time"),
        ("open", "dies", "unsure", "two ways fit; the engine is not running"),
    ],
)
@in_a_loop
async def test_an_attempt_ends_in(
    what: str, mood: str | None, outcome: str, detail: str, found: Callable[..., list[str]]
) -> None:
    found(FOUND[what])
    async with house(mood) as here:
        winner, ended = await here.repair()
        assert (ended.outcome, ended.detail) == (outcome, detail)
        assert winner == (SHORT if outcome == "repaired" else None)
        # Where formatting decides, or nothing can be decided, nobody is asked.
        assert (here.engine.scores if here.engine else 0) == (what == "open" and mood in ("", "silent", "dies"))


@in_a_loop
async def test_a_save_starts_no_engine(found: Callable[..., list[str]], starts: Callable[..., Any]) -> None:
    found(FOUND["open"])
    started = starts("good", "good")
    async with house() as here:
        assert (await here.repair())[1].outcome == "unsure"
    async with house("dies") as here:
        assert (await here.repair())[1].outcome == "unsure"
    assert started.engines == []


@in_a_loop
async def test_a_file_that_takes_too_long_is_left_and_known_at_the_next_save(found: Callable[..., list[str]]) -> None:
    hold = threading.Event()
    asked = found(FOUND["settled"], hold)
    async with house() as here:
        winner, outcome = await here.repair()
        assert (winner, outcome.outcome) == (None, "deadline")
        hold.set()
        assert await here.repairer.diagnosis(here.document, Settings()) == FOUND["settled"]
        assert (await here.repair())[0] == SHORT
    assert asked == [BROKEN]


@in_a_loop
async def test_a_document_that_moved_gets_no_edit(found: Callable[..., list[str]]) -> None:
    hold = threading.Event()
    found(FOUND["settled"], hold)
    async with house() as here:
        saving = asyncio.ensure_future(here.repair())
        await asyncio.sleep(0)
        here.type("x")
        hold.set()
        winner, outcome = await saving
        assert (winner, outcome.outcome) == (None, "stale")


@in_a_loop
async def test_every_version_is_looked_at_once(found: Callable[..., list[str]]) -> None:
    asked = found(FOUND["settled"])
    async with house() as here:
        await asyncio.gather(here.repair(), here.repair(), here.repairer.diagnosis(here.document, Settings()))
        here.type("x")
        await here.repair()
        here.repairer.forget(here.document.uri)
        await here.repair()
    assert asked == [BROKEN, "x" + BROKEN, "x" + BROKEN]


@pytest.mark.parametrize(
    ("uri", "language", "outcome", "looked"),
    [
        ("file:///w/secrets.json", "json", "secret-file", 0),
        ("file:///w/a.json", "json", "repaired", 1),
        ("untitled:Untitled-1", "markdown", "repaired", 1),
    ],
)
@in_a_loop
async def test_secrets_are_not_read(
    uri: str, language: str, outcome: str, looked: int, found: Callable[..., list[str]]
) -> None:
    asked = found(FOUND["settled"])
    async with house(uri=uri, language=language) as here:
        assert (await here.repair())[1].outcome == outcome
        assert bool((await here.repairer.diagnosis(here.document, Settings())).faults) == bool(looked)
    assert len(asked) == looked


@pytest.mark.parametrize(
    ("uri", "language", "known"),
    [
        ("file:///w/a.json", "json", "json"),
        ("file:///w/tsconfig.json", "json", "jsonc"),
        ("file:///w/.vscode/settings.json", "json", "jsonc"),
        ("file:///w/a.md", "md", "markdown"),
        ("untitled:1", "jsonc", "jsonc"),
        ("file:///w/a.json", "python", None),
    ],
)
def test_the_language_of_a_document(uri: str, language: str, known: str | None) -> None:
    assert repaired_language(Document.opened(uri, language, 1, "")) == known


@attrs.define
class Shown:
    """What an editor is told."""

    published: list[types.PublishDiagnosticsParams] = attrs.Factory(list)

    def __call__(self, params: types.PublishDiagnosticsParams) -> None:
        self.published.append(params)

    @property
    def faults(self) -> list[tuple[int | None, list[str]]]:
        return [(one.version, [each.message for each in one.diagnostics]) for one in self.published]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics_module, "QUIET_S", 0.0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("language", "severity"), [("json", 1), ("markdown", 2)])
@in_a_loop
async def test_faults_are_shown_and_taken_back(
    language: str, severity: int, found: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found(FOUND["open"])
    shown = Shown()
    diagnostics = Diagnostics(shown)
    async with house(language=language) as here:
        diagnostics.look(here.document, here.repairer, Settings())
        await shown_is(shown, [(1, [FAULT.message])])
        assert shown.published[0].diagnostics[0].severity == severity
        found(CLEAN)
        here.type("x")
        diagnostics.look(here.document, here.repairer, Settings())
        await shown_is(shown, [(1, [FAULT.message]), (2, [])])
        diagnostics.close(here.document.uri)
        found(FOUND["open"])
        here.type("x")
        diagnostics.look(here.document, here.repairer, Settings())
        await shown_is(shown, [(1, [FAULT.message]), (2, []), (3, [FAULT.message])])
        diagnostics.close(here.document.uri)
        assert shown.faults[3:] == [(None, [])]


@pytest.mark.usefixtures("at_once")
@in_a_loop
async def test_only_the_last_of_quick_changes_is_looked_at(found: Callable[..., list[str]]) -> None:
    asked = found(FOUND["open"])
    shown = Shown()
    diagnostics = Diagnostics(shown)
    async with house() as here:
        for _ in range(5):
            here.type("x")
            diagnostics.look(here.document, here.repairer, Settings())
        await shown_is(shown, [(6, [FAULT.message])])
    assert asked == ["xxxxx" + BROKEN]


@pytest.mark.usefixtures("at_once")
@in_a_loop
async def test_diagnostics_can_be_switched_off(found: Callable[..., list[str]]) -> None:
    found(FOUND["open"])
    shown = Shown()
    diagnostics = Diagnostics(shown)
    async with house() as here:
        off = Settings(diagnostics={"*": True, "json": False})
        diagnostics.look(here.document, here.repairer, off)
        assert shown.published == []
        diagnostics.look(here.document, here.repairer, Settings())
        await shown_is(shown, [(1, [FAULT.message])])
        diagnostics.look(here.document, here.repairer, off)
        assert shown.faults[1:] == [(1, [])]
        diagnostics.look(here.document, here.repairer, Settings())
        diagnostics.close_all()
        await asyncio.sleep(0)
        assert len(shown.published) == 2


async def shown_is(shown: Shown, faults: list[tuple[int | None, list[str]]]) -> None:
    while len(shown.published) < len(faults):
        await asyncio.sleep(0.001)
    assert shown.faults == faults
