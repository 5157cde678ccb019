"""Some rounds of `lsp_fuzz`."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.lsp_fuzz import play


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_every_request_has_one_answer_and_no_edit_is_stale(seed: int) -> None:
    counts = asyncio.run(play(15, seed))
    assert counts["offered"] > 0
    assert counts["null"] > 0
