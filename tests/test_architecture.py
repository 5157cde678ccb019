"""The invariants of ARCHITECTURE.md: who may import whom, and what a quick start does without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "dgemma_lsp"
ENGINE = ROOT / "engine" / "dgemma_engine"

LAYERS = (
    ("errors",),
    ("text",),
    ("syntax",),
    ("engine_client", "config", "files", "models", "secret_files"),
    ("walk", "default_model", "engine_tool"),
    ("server",),
    ("terminal", "trace", "latency", "fixing", "hub", "comparison", "quantizing"),
    ("engine_report", "doctor"),
    ("commands",),
    ("cli",),
)
"""Rooms of `dgemma_lsp`, from the ground up; one may import its own layer and those below it."""

PURE = ("text", "syntax", "errors")
IO_MODULES = {"io", "os", "shutil", "socket", "subprocess", "sys", "tempfile", "urllib", "http", "logging"}
IO_CALLS = {"open", "print", "input", "read_text", "read_bytes", "write_text", "write_bytes"}
PROTOCOL = {"pygls", "lsprotocol"}
HEAVY = {"torch", "numpy", "transformers", "tokenizers", "safetensors"}


def modules(package: Path) -> list[Path]:
    found = sorted(package.rglob("*.py"))
    assert found, f"no modules under {package}"
    return found


def module_name(path: Path) -> str:
    base = ROOT if path.is_relative_to(SERVER) else ENGINE.parent
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module a file names in an import, wherever in the file, `from a import b` as both a and a.b."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def top(name: str) -> str:
    return name.split(".")[0]


def offenders(paths: list[Path], forbidden: Callable[[str], bool]) -> list[str]:
    return [f"{path.relative_to(ROOT)} imports {name}" for path in paths for name in imports(path) if forbidden(name)]


def room(name: str) -> str:
    """The part of `dgemma_lsp` a module belongs to: its folder, or itself."""
    return name.split(".")[1]


def layer(name: str) -> int:
    for level, rooms in enumerate(LAYERS):
        if room(name) in rooms:
            return level
    raise AssertionError(f"{name} has no place in LAYERS; give it one")


def test_the_walker_sees_every_kind_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "SERVER", tmp_path / "pkg")
    (tmp_path / "pkg" / "sub").mkdir(parents=True)
    file = tmp_path / "pkg" / "sub" / "mod.py"
    file.write_text("import a.b, c\nfrom d import e\ndef f():\n    from . import g\n    from ..h.i import j\n")
    assert set(imports(file)) == {"a.b", "c", "d", "d.e", "pkg.sub", "pkg.sub.g", "pkg.h.i", "pkg.h.i.j"}


def test_the_server_imports_no_torch():
    assert offenders(modules(SERVER), lambda name: top(name) in {"torch", "transformers", "safetensors"}) == []


def test_the_server_knows_only_the_wire_of_the_engine():
    allowed = ("dgemma_engine", "dgemma_engine.wire")
    assert (
        offenders(
            modules(SERVER),
            lambda name: (
                top(name) == "dgemma_engine" and name not in allowed and not name.startswith("dgemma_engine.wire.")
            ),
        )
        == []
    )


def test_text_and_syntax_know_no_protocol_and_do_no_io():
    paths = [path for path in modules(SERVER) if module_name(path) != "dgemma_lsp"]
    pure = [path for path in paths if room(module_name(path)) in PURE]
    assert offenders(pure, lambda name: top(name) in PROTOCOL | IO_MODULES or name == "pathlib.Path") == []
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno} calls {called}"
        for path in pure
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (called := getattr(node.func, "id", getattr(node.func, "attr", ""))) in IO_CALLS
    ]
    assert calls == []


def test_only_the_server_room_knows_the_protocol():
    outside = [path for path in modules(SERVER) if not path.is_relative_to(SERVER / "server")]
    assert offenders([*outside, *modules(ENGINE)], lambda name: top(name) in PROTOCOL) == []


def test_nothing_imports_upward():
    upward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(SERVER)
        if module_name(path) != "dgemma_lsp"
        for name in imports(path)
        if top(name) == "dgemma_lsp" and name.count(".") and layer(name) > layer(module_name(path))
    ]
    assert upward == []
    assert list(imports(SERVER / "__init__.py")) == []


def test_the_engine_never_imports_the_server():
    assert offenders(modules(ENGINE), lambda name: top(name) == "dgemma_lsp") == []


def test_only_the_hub_room_knows_the_network():
    """Nothing is looked for elsewhere, unless somebody asks for a download."""
    network = {"huggingface_hub", "httpx", "httpx2", "requests", "http", "ftplib"}
    paths = [path for path in [*modules(SERVER), *modules(ENGINE)] if not path.is_relative_to(ENGINE / "hub")]
    # Training takes packages from indices, and where the cache lies the client of the hub knows without asking it.
    paths = [path for path in paths if not path.is_relative_to(ENGINE / "train") and path.name != "checkpoints.py"]
    assert offenders(paths, lambda name: top(name) in network or name == "urllib.request") == []
    hub = {name for name in imports(ENGINE / "checkpoints.py") if top(name) in network}
    assert hub == {"huggingface_hub", "huggingface_hub.constants"}


def test_the_wire_stands_alone():
    """A client has all of it without the engine's packages."""
    shared = [ENGINE / "__init__.py", *modules(ENGINE / "wire")]
    assert offenders(shared, lambda name: top(name) in HEAVY) == []
    own = {name for path in shared for name in imports(path) if top(name) == "dgemma_engine"}
    assert {name for name in own if not f"{name}.".startswith("dgemma_engine.wire.")} <= {"dgemma_engine"}


def test_the_daemon_leaves_torch_to_the_scheduler():
    """Its event loop answers at once, whatever is loaded or computed; so it starts without what that needs."""
    names = ("__main__", "connection", "daemon", "door", "errors", "frame_reader", "lock", "log", "windows")
    paths = [ENGINE / f"{name}.py" for name in names]
    assert offenders(paths, lambda name: top(name) in HEAVY) == []


def test_the_engine_starts_without_transformers():
    apart = (ENGINE / "train", ENGINE / "rival.py")  # tools with processes of their own
    started = [path for path in modules(ENGINE) if not any(path.is_relative_to(place) for place in apart)]
    assert offenders(started, lambda name: top(name) == "transformers") == []
    assert offenders(started, lambda name: name.startswith("dgemma_engine.train")) == []


@pytest.mark.parametrize(
    "module", ["dgemma_lsp.cli", "dgemma_lsp.engine_client", "dgemma_engine.__main__", "dgemma_engine.daemon"]
)
def test_a_start_loads_nothing_heavy(module):
    heavy = ("torch", "numpy", "transformers", "tokenizers", "pygls")
    code = f"import sys, {module}; print(*(name for name in {heavy!r} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == []
