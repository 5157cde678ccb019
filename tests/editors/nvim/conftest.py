"""What a test of the plugin gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import Home, private_home

if TYPE_CHECKING:
    from tests.editors.nvim.stub import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    # Without a Neovim the import skips.
    from tests.editors.nvim.stub import Desk

    one = Desk(tmp_path)
    yield one
    one.close()


@pytest.fixture
def fresh_home() -> Iterator[Home]:
    """For a test that ends its daemon."""
    yield from private_home()
