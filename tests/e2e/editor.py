"""An editor for the tests: speaks to `dgemma-lsp` over stdio, and answers what a server may ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

TIMEOUT = 60.0

FULL: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-16"]},
    "textDocument": {
        "inlineCompletion": {"dynamicRegistration": True},
        "completion": {"dynamicRegistration": True},
    },
    "workspace": {
        "applyEdit": True,
        "configuration": True,
        "workspaceEdit": {"documentChanges": True},
        "didChangeConfiguration": {"dynamicRegistration": True},
    },
    "window": {"workDoneProgress": True},
}
"""What VS Code says of itself, as far as this server reads it."""


class LspError(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]


class Editor:
    """One server process and the documents that are open in it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.notifications: list[tuple[str, Any]] = []
        self.complaints: list[int] = []
        """Codes of errors that are the answer to nothing in particular."""
        self.applied: list[dict[str, Any]] = []
        self.settings: Any = None
        self.capabilities: dict[str, Any] = {}
        """The server's."""
        self.errors = ""
        """What the server wrote to stderr."""
        self.apply: Callable[[dict[str, Any]], bool] = lambda edit: True
        self._environment = environment or dict(os.environ)
        self._ids = iter(range(1, 10**9))
        self._open: dict[Any, asyncio.Future[Any]] = {}
        self._news = asyncio.Event()
        self.process: asyncio.subprocess.Process

    async def start(self, capabilities: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Start a server and greet it; `options` are its initializationOptions. Returns the answer."""
        await self.spawn()
        answer = await self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": None,
                "capabilities": FULL if capabilities is None else capabilities,
                "clientInfo": {"name": "tests"},
                "initializationOptions": options,
            },
        )
        self.capabilities = answer["capabilities"]
        self.notify("initialized", {})
        return answer

    async def spawn(self, *arguments: str) -> None:
        """Start the server, or what the interpreter makes of other arguments."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(arguments or ("-m", "dgemma_lsp.cli")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            limit=1 << 24,
        )
        self._reader = asyncio.ensure_future(self._read())
        self._errors = asyncio.ensure_future(self._read_errors())

    async def ready(self) -> dict[str, Any]:
        """Wait until the engine has its model."""
        return await self.notification("dgemma/status", lambda params: params["state"] == "ready")

    async def stop(self) -> int:
        """Shut the server down as the protocol says; its exit status."""
        if self.process.returncode is None:
            await self.request("shutdown", None)
            self.notify("exit", None)
        return await self.ended()

    async def ended(self) -> int:
        await asyncio.wait_for(asyncio.gather(self._reader, self._errors), TIMEOUT)
        assert self.process.stdin is not None
        # asyncio says that a process has ended when its last pipe is closed.
        self.process.stdin.close()
        return await asyncio.wait_for(self.process.wait(), TIMEOUT)

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()

    def begin(self, method: str, params: Any) -> tuple[int, asyncio.Future[Any]]:
        """Send a request; its id, and the answer to be."""
        id_ = next(self._ids)
        answer = self._open[id_] = asyncio.get_running_loop().create_future()
        self.send({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})
        return id_, answer

    async def request(self, method: str, params: Any) -> Any:
        """The result. Raises `LspError`."""
        return await asyncio.wait_for(self.begin(method, params)[1], TIMEOUT)

    def notify(self, method: str, params: Any) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def send(self, message: dict[str, Any]) -> None:
        self.write(json.dumps(message).encode())

    def write(self, body: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def notification(self, method: str, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """The parameters of the first notification that fits, of those that came or will come."""
        seen = 0
        while True:
            for name, params in self.notifications[seen:]:
                seen += 1
                if name == method and fits(params):
                    return params
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), TIMEOUT)

    def open(self, uri: str, language: str, text: str, version: int = 1) -> None:
        item = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, uri: str, version: int, *changes: dict[str, Any]) -> None:
        params = {"textDocument": {"uri": uri, "version": version}, "contentChanges": list(changes)}
        self.notify("textDocument/didChange", params)

    def inline(self, uri: str, line: int, character: int, invoked: bool = True, **context: Any) -> dict[str, Any]:
        """Parameters of an inlineCompletion request."""
        return {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
            "context": {"triggerKind": 1 if invoked else 2, **context},
        }

    async def command(self, name: str, *arguments: Any) -> Any:
        return await self.request("workspace/executeCommand", {"command": name, "arguments": list(arguments)})

    async def barrier(self) -> None:
        """Until the server has read everything sent so far."""
        with contextlib.suppress(LspError):
            await self.request("dgemma/nothing", None)

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.errors += line.decode(errors="replace")

    async def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while header := await stream.readline():
            length = 0
            while header.strip():
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                header = await stream.readline()
            self._take(json.loads(await stream.readexactly(length)))
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the server has ended"))

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message:
            if "id" in message:
                self.send({"jsonrpc": "2.0", "id": message["id"], "result": self._answer(message)})
            self.notifications.append((message["method"], message.get("params")))
            self._news.set()
            return
        if message["id"] is None:
            self.complaints.append(message["error"]["code"])
            return
        answer = self._open.pop(message["id"])
        assert not answer.done() or answer.cancelled(), "a request was answered twice"
        if answer.cancelled():
            return
        if "error" in message:
            answer.set_exception(LspError(message["error"]))
        else:
            answer.set_result(message.get("result"))

    def _answer(self, message: dict[str, Any]) -> Any:
        if message["method"] == "workspace/configuration":
            return [self.settings for _ in message["params"]["items"]]
        if message["method"] == "workspace/applyEdit":
            edit = message["params"]["edit"]
            applied = self.apply(edit)
            self.applied += [edit] if applied else []
            return {"applied": applied}
        return None


@contextlib.asynccontextmanager
async def editor(
    environment: Mapping[str, str], capabilities: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Editor]:
    """An editor whose server was greeted, and ends as it should: with status 0 and without a bug in its log."""
    one = Editor(environment)
    try:
        await one.start(capabilities, **options)
        yield one
        assert await one.stop() == 0
        assert "bug:" not in one.errors
        assert "Traceback" not in one.errors
    finally:
        one.kill()


def played(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Runs a coroutine as a test."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 3 * TIMEOUT))

    return run
