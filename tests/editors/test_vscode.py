"""The VS Code client: its own tests in the real editor, and a person's way through it in a browser."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.e2e.conftest import COMMAND, Cli, Home, private_home
from tests.editors.chromium import Page, chromium
from tests.editors.code_server import Workbench, find_code_server, server_settings, workbench
from tests.editors.installed import CLIENT, find_chromium, need_client
from tests.fake_engine import interpreter

BROWSER = find_chromium()
FOUND = find_code_server()
need_client()
HOST_S = 240.0
"""All tests of the extension test host, on a busy machine."""
PATIENCE_S = 30.0
PICTURES = CLIENT.parents[1] / "build" / "screenshots"
CTRL = 2
OFFERED = "in items)"
LACKING = "total = sum(item.price for item in items\nprint(total)\n"
SHAPES = """\
// Areas and volumes.
//
// All of them take sizes in the unit that the caller uses,
// and none of them checks what it is given.

export function area(width, height) {
  return width * height
}

export function volume(width, height, depth) {
  return width * height * depth
}
"""
ARROWS = (
    SHAPES[: SHAPES.index("export")]
    + """\
export const area = (width, height) => width * height

export const volume = (width, height, depth) => width * height * depth
"""
)
"""What a model makes of it."""
GHOST = "[...document.querySelectorAll('.ghost-text-decoration')].map((one) => one.textContent).join('')"
STATUS = "document.querySelector('[id^=\"dgemma-lsp\"]')"
READY = f"{STATUS}?.textContent.includes('instructed') && {STATUS}.querySelector('.codicon-sparkle') !== null"
SAID = "[...document.querySelectorAll('.monaco-alert')].map((one) => one.textContent)"
"""The messages, as a screen reader has them."""


@pytest.fixture(scope="module")
def vsix() -> Path:
    """What `npm run package` makes."""
    subprocess.run(["npm", "run", "package"], cwd=CLIENT, check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL)
    [found] = (CLIENT / "dist").glob("*.vsix")
    return found


@pytest.fixture
def engine_home() -> Iterator[Home]:
    yield from private_home()


def script(folder: Path, *candidates: Sequence[str], drafts: Sequence[str] = (), delay: float = 0.0) -> Path:
    path = folder / "script.json"
    path.write_text(json.dumps({"candidates": candidates, "drafts": drafts, "delay": delay}), encoding="utf-8")
    return path


@contextlib.contextmanager
def window(
    folder: Path, home: Home, settings: dict[str, Any], environment: dict[str, str], vsix: Path | None = None
) -> Iterator[tuple[Workbench, Page]]:
    """A VS Code and a browser to look at it."""
    with (
        workbench(FOUND, folder, home, settings, environment, vsix) as desk,
        chromium(BROWSER, folder / "profile") as page,
    ):
        yield desk, page


def test_in_the_extension_test_host(tmp_path: Path, engine_home: Home) -> None:
    subprocess.run(["node", "build.mjs"], cwd=CLIENT, check=True, timeout=PATIENCE_S)
    subprocess.run(["node", "build.mjs", "test"], cwd=CLIENT, check=True, timeout=PATIENCE_S)
    results, added = tmp_path / "results.json", tmp_path / "added.json"
    environment = {
        "DGEMMA_SCRIPT": str(script(tmp_path, [")"])),
        "DGEMMA_RESULTS": str(results),
        "DGEMMA_ADDED": str(added),
        "DGEMMA_PYTHON": str(COMMAND.parent / "python"),
    }
    settings = server_settings(interpreter(tmp_path, "scripted"), trigger="manual", debounce=0)
    with window(tmp_path, engine_home, settings, environment) as (desk, page):
        page.visit(desk.url(extensionDevelopmentPath=str(CLIENT), extensionTestsPath=str(CLIENT / "out" / "host.js")))
        end = time.monotonic() + HOST_S
        while not results.exists() and time.monotonic() < end:
            page.run("new Promise((resolve) => setTimeout(resolve, 500))")
        picture(page, "vscode-test-host")
    part = Path(f"{results}.part")
    told = json.loads(part.read_text(encoding="utf-8")) if part.exists() else []
    for one in told:
        print(f"{one['ms']:6d} ms  {one['name']}")
    assert [f"{one['name']}: {one['failure']}" for one in told if "failure" in one] == []
    assert results.exists(), "the tests did not end"
    times = json.loads(added.read_text(encoding="utf-8"))
    print(f"the client adds {times[len(times) // 2]:.1f} ms to an answer, p95 {times[len(times) * 95 // 100]:.1f}")


def test_a_persons_way_through_it(tmp_path: Path, engine_home: Home, vsix: Path) -> None:
    environment = {"DGEMMA_SCRIPT": str(script(tmp_path, [OFFERED]))}
    settings = server_settings(interpreter(tmp_path, "scripted"), trigger={"*": "manual", "python": "auto"})
    with window(tmp_path, engine_home, settings, environment, vsix) as (desk, page):
        ghost_text(page, desk)
        script(tmp_path, [ARROWS], drafts=[noisy(ARROWS, share / 8) for share in range(9)], delay=0.4)
        # The next request starts another, which reads the script.
        Cli(tmp_path, engine_home)("engine", "stop")
        rewrite(page, desk)
        activated(page)


def test_two_windows_have_one_engine(tmp_path: Path, engine_home: Home, vsix: Path) -> None:
    environment = {"DGEMMA_SCRIPT": str(script(tmp_path, [OFFERED]))}
    settings = server_settings(interpreter(tmp_path, "scripted"))
    with (
        window(tmp_path, engine_home, settings, environment, vsix) as (desk, page),
        chromium(BROWSER, tmp_path / "other profile") as other,
    ):
        pids = set()
        for name, one in (("one", page), ("two", other)):
            (desk.work / name).mkdir()
            ghost_text(one, attrs.evolve(desk, work=desk.work / name))
            report = json.loads(Cli(tmp_path, engine_home)("engine", "status", "--json").out)
            pids.add(report["pid"])
        assert len(pids) == 1
        # Both, and the command that asks.
        assert report["clients"] >= 3


def test_a_read_only_editor(tmp_path: Path, engine_home: Home, vsix: Path) -> None:
    environment = {"DGEMMA_SCRIPT": str(script(tmp_path, [ARROWS]))}
    settings = server_settings(interpreter(tmp_path, "scripted")) | {"files.readonlyInclude": {"**/*.js": True}}
    with window(tmp_path, engine_home, settings, environment, vsix) as (desk, page):
        file = desk.work / "shapes.js"
        file.write_text(SHAPES, encoding="utf-8")
        page.visit(desk.url(openFile=str(file)), width=1000, height=620)
        until(page, READY)
        page.click(".view-line")
        page.press("a", CTRL)
        command(page, "DGemma: Rewrite Selection")
        until(page, f"{SAID}.some((text) => text.includes('read-only'))")
        until(page, lines("export function area"))
        page.press("s", CTRL)
        until(page, "document.querySelector('.tab.dirty') === null")
    assert file.read_text(encoding="utf-8") == SHAPES


def test_an_untrusted_workspace_chooses_no_server(tmp_path: Path, engine_home: Home, vsix: Path) -> None:
    marks = tmp_path / "marks"
    trap = f"#!/bin/sh\necho trapped >> {marks}\n"
    for name in ("venv/bin/dgemma-lsp", "venv/bin/python", "trap"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trap, encoding="utf-8")
        path.chmod(0o755)
    environment = {
        "DGEMMA_SCRIPT": str(script(tmp_path, [")"])),
        "VIRTUAL_ENV": str(tmp_path / "venv"),
    }
    # VS Code takes the PATH of a login shell.
    (tmp_path / ".profile").write_text(f"PATH={COMMAND.parent}:$PATH\n", encoding="utf-8")
    settings = server_settings(interpreter(tmp_path, "scripted"), interpreter="") | {
        "security.workspace.trust.enabled": True,
        "security.workspace.trust.startupPrompt": "never",
    }
    with window(tmp_path, engine_home, settings, environment, vsix) as (desk, page):
        theirs = {f"dgemma.{name}": str(tmp_path / "trap") for name in ("path", "interpreter", "enginePython", "model")}
        (desk.work / ".vscode").mkdir()
        (desk.work / ".vscode" / "settings.json").write_text(json.dumps(theirs), encoding="utf-8")
        (desk.work / "a.py").write_text(LACKING, encoding="utf-8")
        page.visit(desk.url(openFile=str(desk.work / "a.py")), width=1000, height=620)
        until(page, "document.body.textContent.includes('Restricted Mode')")
        until(page, f"{STATUS}?.getAttribute('aria-label').includes('(PATH)')")
        until(page, READY)
        picture(page, "vscode-restricted")
    assert not marks.exists()


def ghost_text(page: Page, desk: Workbench) -> None:
    file = desk.work / "basket.py"
    file.write_text(LACKING.replace(" in items\n", "\n"), encoding="utf-8")
    page.visit(desk.url(openFile=str(file)), width=1000, height=620)
    until(page, READY)
    page.click(".view-line")
    page.press("End")
    picture(page, "vscode-ghost-text-0")
    for frame, typed in enumerate([" ", *OFFERED[:3]]):
        page.type(typed)
        left = OFFERED[frame:]
        until(page, f"{GHOST}.replaceAll('\\u00a0', ' ') === {left!r}")
        picture(page, f"vscode-ghost-text-{frame + 1}")
    page.press("Tab")
    until(page, lines(OFFERED))
    picture(page, "vscode-ghost-text-5")
    save(page, file, LACKING.replace(" in items\n", f" {OFFERED}\n"))


def rewrite(page: Page, desk: Workbench) -> None:
    file = desk.work / "shapes.js"
    file.write_text(SHAPES, encoding="utf-8")
    page.visit(desk.url(openFile=str(file)), width=1000, height=620)
    until(page, READY)
    page.click(".view-line")
    # Without the explorer there is room for the drafts.
    page.press("b", CTRL)
    until(page, "!document.querySelector('.explorer-folders-view')?.offsetParent")
    page.press("a", CTRL)
    command(page, "DGemma: Rewrite Selection")
    until(page, quick_input("Add types"))
    picture(page, "vscode-presets")
    page.type("use arrow functions")
    until(page, quick_input("use arrow functions"))
    page.press("Enter")
    beside = "[...document.querySelectorAll('.view-line span')].map((one) => getComputedStyle(one, '::after').content)"
    for frame in range(9):
        shown = json.dumps(noisy(ARROWS, frame / 8).split("\n")[5].rstrip())
        until(page, f"{beside}.some((text) => JSON.parse(text.startsWith('\"') ? text : '0') === {shown})")
        picture(page, f"vscode-settling-{frame}")
    until(page, "document.querySelector('.monaco-diff-editor') !== null")
    until(page, quick_input("const volume"))
    picture(page, "vscode-review")
    page.press("Enter")
    until(page, "document.querySelector('.monaco-diff-editor') === null")
    until(page, lines("const volume"))
    save(page, file, ARROWS)


def noisy(text: str, share: float) -> str:
    """A canvas of which this share has settled."""
    draws = random.Random(7)
    return "".join(one if one.isspace() or draws.random() < share else "░" for one in text)


def activated(page: Page) -> None:
    """Says how long the activation took, as VS Code itself shows it."""
    command(page, "Developer: Show Running Extensions")
    row = "[...document.querySelectorAll('.runtime-extensions-editor .extension')].find((one) => "
    row += "one.textContent.includes('DGemma'))?.querySelector('.activation-time')?.textContent"
    until(page, f"({row} ?? '').includes('ms')")
    print(page.run(row))
    picture(page, "vscode-running-extensions")


def command(page: Page, name: str) -> None:
    """By the palette."""
    page.press("F1")
    until(page, quick_input(""))
    page.type(name)
    until(page, quick_input(name))
    page.press("Enter")


def quick_input(text: str) -> str:
    rows = "[...document.querySelectorAll('.quick-input-widget .monaco-list-row')]"
    return f"{rows}.some((row) => row.offsetParent && row.textContent.replaceAll('\\u00a0', ' ').includes({text!r}))"


def lines(text: str) -> str:
    shown = "[...document.querySelectorAll('.view-line')].map((line) => line.textContent.replaceAll('\\u00a0', ' '))"
    return f"{shown}.some((line) => line.includes({text!r}))"


def until(page: Page, expression: str) -> None:
    end = time.monotonic() + PATIENCE_S
    said: set[str] = set()
    while not page.run(expression):
        said.update(page.run(SAID))
        if time.monotonic() > end:
            raise AssertionError(f"never: {expression}; said: {said}; the picture is {picture(page, 'vscode-failed')}")
        time.sleep(0.05)


def save(page: Page, file: Path, text: str) -> None:
    page.press("s", CTRL)
    # A browser asks whether to leave a page with something unsaved.
    until(page, "document.querySelector('.tab.dirty') === null")
    assert file.read_text(encoding="utf-8") == text


def picture(page: Page, name: str) -> Path:
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    path.write_bytes(page.screenshot())
    return path
