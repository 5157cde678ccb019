"""Which files a command means."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_lsp.config import SECRET_FILES
from dgemma_lsp.files import MAX_BYTES
from dgemma_lsp.walk import Found, Left, Walk

LANGUAGES = ("json", "jsonc", "markdown")


def tree(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(folder: Path, *names: str) -> list[str]:
    """Paths that are found below a folder, relative to it."""
    paths = [folder / name for name in names] or [folder]
    met = Walk(LANGUAGES, SECRET_FILES).files(paths)
    return [one.path.relative_to(folder).as_posix() for one in met if isinstance(one, Found)]


def left(folder: Path, *names: str) -> dict[str, tuple[str, bool]]:
    met = Walk(LANGUAGES, SECRET_FILES).files([folder / name for name in names] or [folder])
    return {one.path.relative_to(folder).as_posix(): (one.why, one.wrong) for one in met if isinstance(one, Left)}


def test_files_by_their_names_in_order(tmp_path: Path):
    tree(tmp_path, dict.fromkeys(["b.json", "a.md", "c.py", ".vscode/x.json", "d/e.jsonc", "Makefile"], ""))
    met = list(Walk(LANGUAGES, ()).files([tmp_path]))
    assert met == [
        Found(tmp_path / ".vscode" / "x.json", "jsonc"),
        Found(tmp_path / "a.md", "markdown"),
        Found(tmp_path / "b.json", "json"),
        Found(tmp_path / "d" / "e.jsonc", "jsonc"),
    ]


def test_a_file_is_found_once(tmp_path: Path):
    tree(tmp_path, {"a.json": "", "d/b.json": ""})
    assert found(tmp_path, "a.json", ".", "d", "d/../a.json") == ["a.json", "d/b.json"]


IGNORED = {
    ".gitignore": "build/\n*.gen.json\n!keep.gen.json\n/top.json\n# a comment\nnode_modules\n",
    ".git/info/exclude": "private.json\n",
    "a.json": "",
    "top.json": "",
    "x.gen.json": "",
    "keep.gen.json": "",
    "private.json": "",
    "build/a.json": "",
    "node_modules/p/package.json": "",
    "sub/top.json": "",
    "sub/.gitignore": "*.md\n!x.gen.json\n",
    "sub/a.md": "",
    "sub/x.gen.json": "",
    ".git/a.json": "",
    ".hidden/a.json": "",
}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], [".hidden/a.json", "a.json", "keep.gen.json", "sub/top.json", "sub/x.gen.json"]),
        (["sub"], ["sub/top.json", "sub/x.gen.json"]),
        (["build"], ["build/a.json"]),
        (["build/a.json", "sub/a.md"], ["build/a.json", "sub/a.md"]),
    ],
)
def test_what_git_ignores_has_to_be_named(tmp_path: Path, names: list[str], expected: list[str]):
    tree(tmp_path, IGNORED)
    assert found(tmp_path, *names) == expected


NAMES = ("a.json", "b.json", "d/a.json", "d/b.json", "d/e/a.json")
PATTERNS = ("a.json", "/a.json", "d/", "d/*.json", "**/e", "!a.json", "!d/", "*.json", "e/", "", "#x", "!b.json")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(PATTERNS), max_size=4), st.lists(st.sampled_from(PATTERNS), max_size=3))
def test_git_has_it_the_same(tmp_path_factory: pytest.TempPathFactory, top: list[str], inner: list[str]):
    folder = tmp_path_factory.mktemp("repository")
    tree(folder, dict.fromkeys(NAMES, ""))
    tree(folder, {".gitignore": "\n".join(top), "d/.gitignore": "\n".join(inner)})
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    listed = git("ls-files", "--others", "--exclude-standard").split()
    assert found(folder) == sorted(name for name in listed if name.endswith(".json"))


def test_what_is_left_and_why(tmp_path: Path):
    tree(tmp_path, {"a.json": "", "a.py": "", "secrets.json": "", "d/b.json": ""})
    (tmp_path / "big.json").write_bytes(b" " * (MAX_BYTES + 1))
    (tmp_path / "link.json").symlink_to("a.json")
    (tmp_path / "gone.json").symlink_to("nowhere")
    (tmp_path / "folder-link").symlink_to("d")
    assert left(tmp_path) == {
        "big.json": ("has 4.0 MB; files above 4 MB are not read", False),
        "gone.json": ("is a link; name the file it leads to", False),
        "link.json": ("is a link; name the file it leads to", False),
        "secrets.json": ("looks like it holds secrets", False),
    }
    assert found(tmp_path) == ["a.json", "d/b.json"]
    assert left(tmp_path, "a.py", "nowhere") == {
        "a.py": ("is not json or jsonc or markdown, by its name", False),
        "nowhere": ("does not exist; check the path", True),
    }


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path):
    tree(tmp_path, {"d/a.json": "", "e.json": ""})
    (tmp_path / "d").chmod(0)
    try:
        assert left(tmp_path)["d"][1]
        assert found(tmp_path) == ["e.json"]
    finally:
        (tmp_path / "d").chmod(0o755)


@pytest.mark.parametrize("content", [b"\xff\xfe*.json\n", b"[\n*.gen.json\n", b"\xef\xbb\xbf*.gen.json\n"])
def test_strange_ignore_files_are_read_as_far_as_they_go(tmp_path: Path, content: bytes):
    tree(tmp_path, {"a.json": ""})
    (tmp_path / ".gitignore").write_bytes(content)
    assert found(tmp_path) == ["a.json"]
