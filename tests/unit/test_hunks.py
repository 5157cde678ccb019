"""A change as a unified diff that `patch` would apply."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_lsp.text.edits import Edit, apply_edits
from dgemma_lsp.text.hunks import edits_diff, replaced, unified_diff

DOCUMENTS = st.text("ab\n\r", max_size=25)


def applied(document: str, diff: list[str]) -> str:
    """`document` after a diff, by the rules of the format."""
    if not diff:
        return document
    old = document.split("\n")
    old = [line + "\n" for line in old[:-1]] + ([old[-1]] if old[-1] else [])
    header, body = diff[2], list(diff[3:])
    start, count = (int(part) for part in (header.split()[1].lstrip("-") + ",1").split(",")[:2])
    for index, line in enumerate(body):
        if line.startswith("\\"):
            body[index - 1] = body[index - 1].removesuffix("\n")
    body = [line for line in body if not line.startswith("\\")]
    at = start - 1 if count else start
    removed = [line[1:] for line in body if line[0] in " -"]
    assert old[at : at + count] == removed
    return "".join(old[:at] + [line[1:] for line in body if line[0] in " +"] + old[at + count :])


@given(DOCUMENTS, DOCUMENTS, st.data())
def test_a_diff_carries_the_change(document, replacement, data):
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(document))] * 2)))
    diff = unified_diff("f.py", document, start, end, replacement)
    assert applied(document, diff) == replaced(document, start, end, replacement)
    assert all(line.endswith("\n") for line in diff)
    changed = [line[1:] for line in diff[3:] if line[0] in "+-"]
    assert bool(changed) == (replaced(document, start, end, replacement) != document)


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("ab"), min_size=2, max_size=40), st.data())
def test_patch_applies_many_changes(tmp_path_factory, lines, data):
    document = "\n".join(lines) + data.draw(st.sampled_from(["", "\n"]))
    places = data.draw(st.lists(st.integers(0, len(document)), min_size=2, max_size=8, unique=True).map(sorted))
    edits = [
        Edit(start, end, data.draw(st.sampled_from(["", "x", "\n", "x\ny"])))
        for start, end in zip(places[::2], places[1::2], strict=False)
    ]
    path = tmp_path_factory.mktemp("patch") / "f.py"
    path.write_bytes(document.encode())
    diff = "".join(edits_diff("f.py", document, edits))
    subprocess.run(
        ["patch", "-p1", "--quiet", "--binary"], input=diff.encode(), cwd=path.parent, check=True, timeout=30
    )
    assert (path.read_bytes() if path.exists() else b"") == apply_edits(document, edits).encode()


def test_changes_far_apart_are_hunks_of_their_own():
    document = "".join(f"{number}\n" for number in range(30))
    diff = edits_diff("f", document, [Edit(0, 0, "x\n"), Edit(len(document) - 3, len(document), "")])
    assert [line for line in diff if line.startswith("@@")] == ["@@ -1,3 +1,4 @@\n", "@@ -27,4 +28,3 @@\n"]


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
@settings(max_examples=30, deadline=None)
@given(st.text("ab\n", max_size=25), st.text("xb\n", max_size=8), st.data())
def test_patch_applies_it(tmp_path_factory, document, replacement, data):
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(document))] * 2)))
    path = tmp_path_factory.mktemp("patch") / "f.py"
    path.write_bytes(document.encode())
    diff = "".join(unified_diff("f.py", document, start, end, replacement))
    subprocess.run(
        ["patch", "-p1", "--quiet", "--binary"], input=diff.encode(), cwd=path.parent, check=True, timeout=30
    )
    after = replaced(document, start, end, replacement)
    assert (path.read_bytes() if path.exists() else b"") == after.encode()


@pytest.mark.parametrize(
    ("document", "start", "end", "replacement", "diff"),
    [
        ("a\n", 0, 1, "a", ""),
        ("a\nb\nc\n", 2, 3, "x", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"),
        ("x\n", 1, 1, "\ny", "@@ -1 +1,2 @@\n x\n+y\n"),
        (
            "a",
            1,
            1,
            "b",
            "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+ab\n\\ No newline at end of file\n",
        ),
        ("", 0, 0, "a\n", "@@ -0,0 +1 @@\n+a\n"),
        ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", 8, 9, "five", "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"),
    ],
)
def test_only_what_changes_is_marked(document, start, end, replacement, diff):
    lines = unified_diff("dir/f.py", document, start, end, replacement)
    assert "".join(lines[2:]) == diff
    assert lines[:2] in ([], ["--- a/dir/f.py\n", "+++ b/dir/f.py\n"])
