"""A hub over HTTP on this machine: model info, files, redirects to a store of large files, tokens, and its troubles.

What it answers follows the hub's own: `X-Repo-Commit`, `X-Linked-Etag` and `X-Linked-Size` on a `resolve`, a redirect
to another host for what is kept by its sha256, `X-Error-Code` and `X-Error-Message` on refusals.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from attrs import Factory, define

COMMIT = "ab" * 20
NO_TOKEN_NEEDED = None


@define
class Repo:
    """Files by name; those that end like weights are kept by their sha256. `token` may read it, None everybody."""

    files: dict[str, bytes]
    card: dict[str, str] = Factory(lambda: {"license": "apache-2.0"})
    token: str | None = NO_TOKEN_NEEDED
    gated: bool = False
    commit: str = COMMIT

    @classmethod
    def of(cls, folder: Path, **options: object) -> Repo:
        return cls({path.name: path.read_bytes() for path in folder.iterdir()}, **options)  # type: ignore[arg-type]


@define
class Served:
    """A request for content: which file, from which byte, with which token, and how much was sent."""

    name: str
    start: int
    token: str | None
    sent: int = 0


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class FakeHub:
    """Serves `repos`; `cut` and `stall` are how many bytes of a large file go out before trouble, by its name."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.tokens = {"good", "other"}
        self.served: list[Served] = []
        self.cut: dict[str, int] = {}
        self.stall: dict[str, int] = {}
        self.corrupt: set[str] = set()
        self.status: int | None = None
        self.stalled = threading.Event()
        self.leave = threading.Event()
        self.requests: list[str] = []
        hub = self

        class Handler(_Handler):
            fake = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, name: str) -> list[Served]:
        return [one for one in self.served if one.name == name]

    def close(self) -> None:
        self.leave.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def _token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.fake.requests.append(f"{self.command} {path}")
        if self.fake.status is not None:
            self._say(self.fake.status)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._info(*match.groups())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*match.groups(), body=body)
        elif match := re.fullmatch(r"/store/([^/]+)/([^/]+)", path):
            self._store(*match.groups())
        else:
            self._say(404)

    def _repo(self, hub_id: str, content: bool) -> Repo | None:
        """The repository, or None once a refusal was sent."""
        if self._token is not None and self._token not in self.fake.tokens:
            self._say(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
            return None
        repo = self.fake.repos.get(hub_id)
        if repo is None or (repo.token not in (None, self._token) and not repo.gated):
            self._say(401 if self._token is None else 404, {"X-Error-Code": "RepoNotFound"})
            return None
        if content and repo.token not in (None, self._token):
            self._say(401 if self._token is None else 403, {"X-Error-Code": "GatedRepo"})
            return None
        return repo

    def _info(self, hub_id: str, _revision: str | None) -> None:
        repo = self._repo(hub_id, content=False)
        if repo is None:
            return
        siblings = []
        for name, content in repo.files.items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": sha256(content)[:40]}
            if is_large(name):
                entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        info = {"id": hub_id, "sha": repo.commit, "siblings": siblings, "cardData": repo.card, "tags": []}
        self._say(200, {}, json.dumps({**info, "gated": "manual" if repo.gated else False}).encode())

    def _resolve(self, hub_id: str, _revision: str, name: str, body: bool) -> None:
        repo = self._repo(hub_id, content=True)
        if repo is None:
            return
        if name not in repo.files:
            self._say(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
            return
        content = repo.files[name]
        headers = {"X-Repo-Commit": repo.commit}
        if is_large(name):
            headers |= {
                "X-Linked-Etag": f'"{sha256(content)}"',
                "X-Linked-Size": str(len(content)),
                # Another name for this machine: to a client another host.
                "Location": f"http://localhost:{self.fake.port}/store/{sha256(content)}/{name}",
            }
            self._say(302, headers)
            return
        if body:
            self.fake.served.append(Served(name, 0, self._token, len(content)))
        self._say(200, {**headers, "ETag": f'"{sha256(content)[:40]}"'}, content)

    def _store(self, digest: str, name: str) -> None:
        content = next(
            content for repo in self.fake.repos.values() for content in repo.files.values() if sha256(content) == digest
        )
        if name in self.fake.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        start = int(match[1]) if match else 0
        served = Served(name, start, self._token)
        self.fake.served.append(served)
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content)
        trouble = self.fake.cut.pop(name, None)
        if trouble is not None:
            end = min(end, start + trouble)
        if name in self.fake.stall:
            end = min(end, start + self.fake.stall[name])
        self.wfile.write(content[start:end])
        self.wfile.flush()
        served.sent = end - start
        if name in self.fake.stall:
            self.fake.stalled.set()
            self.fake.leave.wait(60)
        if end < len(content):
            self.close_connection = True

    def _say(self, status: int, headers: dict[str, str] | None = None, content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
