"""Files come and go byte for byte, and what is no text file says so."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp import files
from dgemma_lsp.files import FileError, read_source, shown, write_source

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
as_user = pytest.mark.skipif(ROOT, reason="root may read and write everything; run as another user")


@given(st.binary(max_size=40).filter(lambda data: b"\0" not in data))
def test_every_readable_file_is_written_back_as_it_was(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("files") / "f"
    path.write_bytes(data)
    try:
        source = read_source(path)
    except FileError:
        with pytest.raises(UnicodeDecodeError):
            data.decode()
        return
    write_source(source, source.text)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("data", "text", "written"),
    [
        (b"", "", b"x"),
        (b"\xef\xbb\xbf", "", b"\xef\xbb\xbfx"),
        (b"\xef\xbb\xbfa\r\nb", "a\r\nb", b"\xef\xbb\xbfa\r\nbx"),
        (b"a\r\nb\nc\r", "a\r\nb\nc\r", b"a\r\nb\nc\rx"),
        ("é🎉\u2028".encode(), "é🎉\u2028", "é🎉\u2028x".encode()),
        (b"a\xef\xbb\xbf", "a\ufeff", b"a\xef\xbb\xbfx"),
    ],
)
def test_bom_line_ends_and_the_last_line_stay(tmp_path, data, text, written):
    path = tmp_path / "f"
    path.write_bytes(data)
    source = read_source(path)
    assert source.text == text
    write_source(source, source.text + "x")
    assert path.read_bytes() == written
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o664])
def test_the_mode_stays(tmp_path, mode):
    path = tmp_path / "f"
    path.write_text("a")
    path.chmod(mode)
    write_source(read_source(path), "b")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "f", tmp_path / "link"
    target.write_text("a")
    link.symlink_to(target)
    write_source(read_source(link), "b")
    assert link.is_symlink()
    assert target.read_text() == "b"


def test_a_file_changed_in_between_is_left_alone(tmp_path):
    path = tmp_path / "f"
    path.write_text("a")
    source = read_source(path)
    path.write_text("someone else's")
    with pytest.raises(FileError, match="changed while it was worked on"):
        write_source(source, "b")
    assert path.read_text() == "someone else's"


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("a")
    source = read_source(path)

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(FileError, match="No space left on device; nothing was written"):
        write_source(source, "b")
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
    assert path.read_text() == "a"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x7fELF\x02\x00", "is a binary file"),
        (b"a\xff", "is not UTF-8 (byte 0xff at offset 1)"),
        (b"caf\xe9", "is not UTF-8 (byte 0xe9 at offset 3)"),
        (b"\xed\xa0\x80", "is not UTF-8"),
        ("a".encode("utf-16"), "is UTF-16, not UTF-8; convert it"),
        ("a".encode("utf-32"), "is UTF-32, not UTF-8; convert it"),
    ],
)
def test_what_is_no_utf8_text_is_refused(tmp_path, data, complaint):
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(FileError) as caught:
        read_source(path)
    assert complaint in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        read_source(tmp_path / "missing")
    with pytest.raises(FileError, match="is a directory"):
        read_source(tmp_path)
    with pytest.raises(FileError, match="cannot read"):
        read_source(tmp_path / ("x" * 300))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="is not a regular file"):
        read_source(tmp_path / "pipe")


@as_user
def test_missing_permissions_are_named(tmp_path):
    path = tmp_path / "f"
    path.write_text("a")
    source = read_source(path)
    path.chmod(0o400)
    with pytest.raises(FileError, match="no permission to write"):
        write_source(source, "b")
    path.chmod(0)
    with pytest.raises(FileError, match="no permission to read"):
        read_source(path)


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "f"
    with path.open("wb") as stream:
        stream.truncate(files.MAX_BYTES + 1)
    with pytest.raises(FileError, match="above 4 MB"):
        read_source(path)


@pytest.mark.parametrize(
    ("path", "line"),
    [("a b.py", "a b.py"), ("é.py", "é.py"), ("a\nb\x1b[0m", "a\\nb\\x1b[0m"), ("a\udcff", "a\\xff")],
)
def test_a_path_is_shown_on_one_line(path, line):
    assert shown(path) == line
