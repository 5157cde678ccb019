"""Other programs that repair json and markdown, installed into build/peers; what cannot be had is left out."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "build" / "peers"
SCRIPT = Path(__file__).with_name("repair_peers.mjs")

Peer = Callable[[str], str | None]
"""From a damaged text to what a program makes of it; None where it gives up."""

OF_LANGUAGE = {"json": ("json_repair", "jsonrepair"), "markdown": ("remend",)}


@contextmanager
def peers(language: str) -> Iterator[dict[str, tuple[str, Peer]]]:
    """The peers for a language by name, each with its version."""
    found: dict[str, tuple[str, Peer]] = {}
    node = _node(OF_LANGUAGE[language])
    try:
        for name in OF_LANGUAGE[language]:
            if name == "json_repair":
                found |= _json_repair()
            elif node is not None:
                manifest = json.loads((FOLDER / "node_modules" / name / "package.json").read_text(encoding="utf-8"))
                found[name] = manifest["version"], _asking(node, name)
        for name in set(OF_LANGUAGE[language]) - set(found):
            print(f"left out: {name} could not be installed", file=sys.stderr)
        yield found
    finally:
        if node is not None and node.stdin is not None:
            node.stdin.close()
            node.wait(10)


def _json_repair() -> dict[str, tuple[str, Peer]]:
    folder = FOLDER / "python"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), "json_repair"]
    if not (folder / "json_repair").is_dir() and not _ran(command):
        return {}
    sys.path.append(str(folder))
    repair = importlib.import_module("json_repair").repair_json
    version = next(iter(folder.glob("json_repair-*.dist-info"))).name.split("-")[1].removesuffix(".dist")

    def peer(text: str) -> str | None:
        try:
            return repair(text, ensure_ascii=False, skip_json_loads=False)
        except Exception:
            return None

    return {"json_repair": (version, peer)}


def _node(names: Sequence[str]) -> subprocess.Popen[str] | None:
    modules = FOLDER / "node_modules"
    wanted = [name for name in ("jsonrepair", "remend") if not (modules / name).is_dir()]
    FOLDER.mkdir(parents=True, exist_ok=True)
    if wanted and not _ran(["npm", "install", "--prefix", str(FOLDER), "--silent", "--no-audit", *wanted]):
        return None
    try:
        return subprocess.Popen(
            ["node", str(SCRIPT), str(modules)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
    except OSError:
        return None


def _asking(node: subprocess.Popen[str], tool: str) -> Peer:
    def peer(text: str) -> str | None:
        assert node.stdin is not None
        assert node.stdout is not None
        node.stdin.write(json.dumps({"tool": tool, "text": text}) + "\n")
        node.stdin.flush()
        return json.loads(node.stdout.readline())

    return peer


def _ran(command: Sequence[str]) -> bool:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError):
        return False
    return True
