"""A bug ends a request as an outcome, and the log says where it was but not what the text was."""

from __future__ import annotations

import types
from typing import Any

import pytest

from dgemma_lsp.config import Settings
from dgemma_lsp.server.ask import Ask
from dgemma_lsp.server.outcomes import Outcomes
from dgemma_lsp.server.requests.asking import offers_for
from dgemma_lsp.text.document import Document
from tests.client_help import in_a_loop


async def _broken(*_: object) -> None:
    raise KeyError("swordfish")


@pytest.mark.parametrize("invoked", [True, False])
@in_a_loop
async def test_a_bug_is_an_outcome(invoked: bool, caplog: pytest.LogCaptureFixture) -> None:
    suggester = types.SimpleNamespace(suggest=_broken)
    server: Any = types.SimpleNamespace(suggester=suggester, settings=Settings(), outcomes=Outcomes())
    document = Document.opened("file:///w/a.py", "python", 1, "a\nswordfish\n")
    offers, outcome = await offers_for(server, "test", Ask(document, 4, invoked))
    assert offers == []
    assert (outcome.outcome, outcome.line, outcome.column) == ("error", 2, 3)
    assert list(server.outcomes) == [outcome]
    assert "bug: KeyError at" in caplog.text
    assert "test_asking.py" in caplog.text
    assert "swordfish" not in caplog.text
