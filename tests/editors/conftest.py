"""One daemon for all editors, as their windows would share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Home, private_home


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    yield from private_home()
