"""Where the daemon is looked for: one private place, and a clear word about every place that is none."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from dgemma_engine.wire import Endpoint, EndpointError, endpoint, find_endpoint, log_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and owners as POSIX has them")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A private folder with a path short enough for a socket, however long the test's own is."""
    made = tmp_path / "run"
    made.mkdir(mode=0o700)
    return made


def find(folder: Path | str, **variables: str) -> Endpoint:
    return find_endpoint({"XDG_RUNTIME_DIR": str(folder), **variables})


def test_the_users_runtime_folder_is_the_place(folder):
    found = find(folder)
    assert found == Endpoint(folder)
    assert [found.socket.parent, found.lock.parent, found.address_file.parent] == [folder] * 3
    assert len({found.socket, found.lock, found.address_file}) == 3
    assert found.door == found.socket


def test_a_port_takes_the_place_of_the_socket_when_asked_for(folder, monkeypatch):
    found = find(folder, DGEMMA_ENGINE_TCP="1")
    assert found.tcp
    assert found.door == found.address_file
    assert not find(folder, DGEMMA_ENGINE_TCP="0").tcp
    monkeypatch.delattr(socket, "AF_UNIX")
    assert find(folder).tcp


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda folder: folder.chmod(0o755), r"open to other users \(mode 755\); chmod 700 .*run, or set XDG_RUNTIME"),
        (lambda folder: folder.chmod(0o710), r"open to other users \(mode 710\)"),
        (lambda folder: folder.rmdir(), "cannot be used: No such file or directory; set XDG_RUNTIME_DIR to"),
        (lambda folder: (folder.rmdir(), folder.write_text("x")), "is no folder; set XDG_RUNTIME_DIR to"),
    ],
)
def test_a_place_that_is_not_private_is_refused(folder, make, complaint):
    make(folder)
    with pytest.raises(EndpointError, match=complaint):
        find(folder)


def test_a_folder_of_somebody_else_is_refused(folder, monkeypatch):
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(EndpointError, match=rf"belongs to another user \(id {owner}\); set XDG_RUNTIME_DIR"):
        find(folder)


def test_a_relative_folder_is_refused():
    with pytest.raises(EndpointError, match="XDG_RUNTIME_DIR is run/me, which is no absolute path"):
        find("run/me")


def test_a_path_too_long_for_a_socket_is_refused_unless_there_is_none(tmp_path):
    long = tmp_path / ("x" * endpoint.SOCKET_PATH_BYTES)
    long.mkdir(mode=0o700)
    with pytest.raises(EndpointError, match=r"bytes long, a socket's path may have 10[37]; set XDG_RUNTIME_DIR to a"):
        find(long)
    assert find(long, DGEMMA_ENGINE_TCP="1").folder == long


def test_the_longest_path_that_is_let_through_can_be_bound(tmp_path):
    room = endpoint.SOCKET_PATH_BYTES - len(os.fsencode(Endpoint(tmp_path).socket))
    if room < 2:
        pytest.skip("the temporary folder's path is too long for this")
    long = tmp_path / ("x" * (room - 1))
    long.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(find(long).socket))


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Stands for /tmp, on a system without a runtime folder for the user."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: not str(path).startswith("/run/user") and is_dir(path))
    return tmp_path


def test_without_a_runtime_folder_a_private_one_is_made(temporary):
    found = find_endpoint({})
    assert found.folder == temporary / f"dgemma-{os.getuid()}"
    assert found.folder.stat().st_mode & 0o777 == 0o700
    assert find_endpoint({}) == found


@pytest.mark.parametrize(
    ("squat", "complaint"),
    [
        (lambda path: path.mkdir(mode=0o777) or path.chmod(0o777), "open to other users .*, or remove it"),
        (lambda path: path.symlink_to(path.parent), "is no folder; remove it"),
        (lambda path: path.write_text(""), "cannot make .*File exists; set XDG_RUNTIME_DIR"),
    ],
)
def test_what_others_put_in_a_shared_temporary_folder_is_not_trusted(temporary, squat, complaint):
    squat(temporary / f"dgemma-{os.getuid()}")
    with pytest.raises(EndpointError, match=complaint):
        find_endpoint({})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"port": 1}', '{"port": "1", "token": "x"}', '{"port": 1, "token": 2}']
)
def test_an_address_that_is_none_says_what_to_do(folder, text):
    found = Endpoint(folder, tcp=True)
    found.address_file.write_text(text)
    with pytest.raises(EndpointError, match="is no address of a daemon; delete it"):
        found.address()


def test_an_address_is_a_port_and_a_token(folder):
    found = Endpoint(folder, tcp=True)
    with pytest.raises(FileNotFoundError):
        found.address()
    found.address_file.write_text('{"port": 4711, "token": "secret"}')
    assert found.address() == (4711, "secret")


def test_the_log_is_in_the_users_own_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert log_file().name == "engine.log"
    if sys.platform == "linux":
        assert log_file().is_relative_to(tmp_path)
