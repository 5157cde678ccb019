"""The VS Code client without an editor: its types, its own tests, and what a .vsix holds."""

from __future__ import annotations

import subprocess
import zipfile

import pytest

from tests.editors.installed import CLIENT, need_client

MOST_BYTES = 1_000_000
"""Of all code in the package."""

need_client()


def npm(name: str) -> None:
    ran = subprocess.run(["npm", "run", name], cwd=CLIENT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", ["check", "test"])
def test_it_passes(name: str) -> None:
    npm(name)


def test_the_package_holds_what_it_needs_and_is_small() -> None:
    npm("package")
    [vsix] = (CLIENT / "dist").glob("*.vsix")
    files = {one.filename: one.file_size for one in zipfile.ZipFile(vsix).infolist()}
    code = {name: size for name, size in files.items() if name.endswith(".js")}
    assert set(code) == {"extension/dist/extension.js", "extension/dist/client.js"}
    assert sum(code.values()) <= MOST_BYTES
    assert {"extension/dist/licences.txt", "extension/media/icon.png", "extension/package.json"} < set(files)
    assert not [name for name in files if "node_modules" in name or "/src/" in name or "/test/" in name]
