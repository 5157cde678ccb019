"""A daemon without a model, for what a client has to bear, in the loop of a test; `fake_daemon` makes it a process.

Well behaved, it fills every hole with `FILLED`, or the texts of its script, in two passes; the behaviours deviate from
that.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shlex
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import attrs

from dgemma_engine import wire

FILLED = "filled\nin"

Say = Callable[[wire.Message], None]

VERSIONS = {
    "newer protocol": (99, "9.9"),
    "older protocol": (1, "9.9"),
    "newer": (wire.PROTOCOL, "9.9"),
    "older": (wire.PROTOCOL, "0.0.1"),
    "stubborn": (wire.PROTOCOL, "0.0.1"),
}
"""Protocol and package of those that are not like us."""

FAILURES = {
    "refuses": ("checkpoint", "there is no model of that name"),
    "buggy": ("internal", "KeyError: 3\nTraceback: here"),
    "missing": ("engine-missing", "No module named 'torch'"),
    "busy": ("busy", "8 requests wait already; try again"),
    "speechless": ("empty", "the model wrote nothing; ask again"),
    "uninstructed": ("instructions", "it follows no instructions; another model does"),
}
BYTES = {
    "half frame": b"\0\0\0\x10abc",
    "garbage": b"Traceback (most recent call last):\n",
    "unreadable": b"\0\0\0\x0c\x81\xa4type\xa5riddl",
}


class FakeEngine:
    """Serves an endpoint in the running loop; `received` has every message of every client."""

    def __init__(self, behaviour: str = "good") -> None:
        self.behaviour = behaviour
        self.received: list[wire.Message] = []
        self.clients = 0
        self.script: list[tuple[str, ...]] = []
        """Candidates of the fills and refinements to come; the last ones stay."""
        self.drafts: tuple[str, ...] = ("draft 1", "draft 2")
        """What is drafted on the way to any of them."""
        self.delay = 0.0
        """Seconds between two drafts."""
        self.texts: dict[str | None, tuple[int, str]] = {}
        """The pinned text of each document, and its request."""
        self.done = asyncio.Event()
        self._news = asyncio.Event()
        self._cancelled: set[int] = set()
        self._late: list[Callable[[], None]] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._endpoint: wire.Endpoint | None = None

    def play(self, path: Path) -> None:
        """Take the script from a JSON file: `candidates`, a list for each fill to come, `drafts` and `delay`."""
        told = json.loads(path.read_text(encoding="utf-8"))
        self.script = [tuple(candidates) for candidates in told["candidates"]]
        self.drafts = tuple(told.get("drafts", self.drafts))
        self.delay = told.get("delay", 0.0)

    async def listen(self, endpoint: wire.Endpoint) -> FakeEngine:
        self._endpoint = endpoint
        self._server = await asyncio.start_unix_server(self._serve, endpoint.socket)
        return self

    async def __aenter__(self) -> FakeEngine:
        return await self.listen(wire.find_endpoint())

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def close_door(self) -> None:
        """No new clients; those that are there stay."""
        if self._server is not None and self._endpoint is not None:
            self._server.close()
            self._endpoint.socket.unlink(missing_ok=True)
            self._server = None

    def tell(self, message: wire.Message) -> None:
        """Say something of its own accord, to everybody."""
        for writer in self._writers:
            writer.write(wire.encode(message))

    def answer_late(self) -> None:
        """The fills that a silent one has kept to itself."""
        while self._late:
            self._late.pop(0)()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()

    async def close(self) -> None:
        self.close_door()
        self.hang_up()
        # The handlers see the end of their streams.
        while self._writers:
            await asyncio.sleep(0)

    async def wait_for(self, kind: type[wire.Message], count: int = 1) -> None:
        """Until that many messages of a kind have come."""
        while sum(isinstance(message, kind) for message in self.received) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.clients += 1

        def say(message: wire.Message) -> None:
            writer.write(wire.encode(message))

        try:
            while self.behaviour != "deaf" and (message := await wire.read_message(reader)) is not None:
                self.received.append(message)
                self._news.set()
                if isinstance(message, wire.Hello):
                    if self.behaviour == "hangs up":
                        break
                    self._greet(say)
                elif isinstance(message, wire.Fill | wire.Refine | wire.Warm) and self.behaviour in BYTES:
                    writer.write(BYTES[self.behaviour])
                    break
                elif not self._answer(message, say):
                    break
            if self.behaviour == "deaf":
                await reader.read(1 << 20)
                await self.done.wait()
        except (OSError, wire.WireError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    def _greet(self, say: Say) -> None:
        if self.behaviour == "crowded":
            say(wire.Failed(None, "busy", "64 clients are here already; close some"))
        elif self.behaviour != "mute":
            ours = wire.PROTOCOL, wire.package_version()
            say(wire.Welcome(*VERSIONS.get(self.behaviour, ours), os.getpid()))

    def _answer(self, message: wire.Message, say: Say) -> bool:
        """Whether the connection goes on."""
        if isinstance(message, wire.Shutdown):
            if self.behaviour != "stubborn":
                self.close_door()
                say(wire.Done(message.id))
                self.done.set()
        elif isinstance(message, wire.Cancel):
            self._cancelled.add(message.id)
            say(wire.Failed(message.id, "cancelled", "the request was cancelled"))
        elif isinstance(message, wire.Status) and self.behaviour != "silent":
            say(self._report(message.id))
        elif isinstance(message, wire.Score):
            say(wire.Scored(message.id, tuple(-float(len(text)) for text in message.candidates)))
        elif isinstance(message, wire.Lease):
            say(wire.Progress(message.id, "loading", 0.5))
            say(wire.Leased(message.id, message.model, instructed=message.model != "nano"))
        elif isinstance(message, wire.Unload):
            say(wire.Done(message.id))
        elif isinstance(message, wire.Warm) and self._took(message, say):
            say(wire.Warmed(message.id, {"prefix": 7, "reused": 0}))
        elif isinstance(message, wire.Fill | wire.Refine):
            return self._fill(message, say)
        return True

    def _fill(self, request: wire.Fill | wire.Refine, say: Say) -> bool:
        if self.behaviour == "dies":
            return False
        if self.behaviour == "killed":
            os.kill(os.getpid(), 9)
        if self.behaviour in FAILURES:
            say(wire.Failed(request.id, *FAILURES[self.behaviour]))
        elif self.behaviour == "complains":
            say(wire.Failed(None, "request", "fill.candidates must be a number"))
        elif self.behaviour == "astray":
            say(wire.Done(request.id))
        elif self.behaviour in ("leaving", "leaving at once"):
            self.close_door()
            said = request.id if self.behaviour == "leaving" else None
            say(wire.Failed(said, "closing", "the engine is leaving"))
            return said is not None
        elif self.behaviour == "late":
            say(wire.Failed(request.id - 1, "cancelled", "an answer nobody waits for"))
            filled(request, say)
        elif self.behaviour == "unloaded":
            say(wire.Progress(request.id, "loading", 0.0))
        elif self.behaviour == "waits":
            say(wire.Progress(request.id, "waiting"))
        elif self.behaviour == "scripted":
            self._tell(request, say, 0)
        elif self.behaviour == "silent":
            self._late.append(lambda: filled(request, say, self._next()))
        elif self.behaviour == "rambling":
            if isinstance(request, wire.Refine) or self._took(request, say):
                # In any order, and cancelled or not: what comes late is dropped by its id.
                pinned = "" if isinstance(request, wire.Refine) else self.texts[request.document][1]
                word = f"h{zlib.crc32(pinned.encode()):08x}"
                asyncio.get_running_loop().call_later(random.random() * 0.02, filled, request, say, (word,))
        elif isinstance(request, wire.Refine) or self._took(request, say):
            filled(request, say, self._next())
        return True

    def _tell(self, request: wire.Fill | wire.Refine, say: Say, index: int) -> None:
        """The drafts one after the other, unless the request is cancelled, and then the candidates."""
        if request.id in self._cancelled:
            return
        if index == len(self.drafts):
            filled(attrs.evolve(request, drafts=False), say, self._next())
            return
        if request.drafts:
            cells = (wire.Cell(self.drafts[index], "noise", 0.5),)
            say(wire.Draft(request.id, index + 1, len(self.drafts), 10.0 * index, cells, (self.drafts[index],)))
        asyncio.get_running_loop().call_later(self.delay, self._tell, request, say, index + 1)

    def _next(self) -> tuple[str, ...]:
        return self.script.pop(0) if len(self.script) > 1 else (self.script or [()])[0]

    def _took(self, request: wire.Fill | wire.Warm, say: Say) -> bool:
        """Whether the request's text is known, now."""
        text = request.text
        if isinstance(text, wire.MaskedText):
            pinned = "".join(part for part in text.parts if isinstance(part, str))
        else:
            base, pinned = self.texts.get(request.document, (None, ""))
            if base != text.base or self.behaviour == "forgetful":
                say(wire.Failed(request.id, "text-unknown", f"the text of request {text.base} is not here"))
                return False
            pinned = pinned[: text.start] + text.insert + pinned[text.stop :]
        self.texts[request.document] = request.id, pinned
        return True

    def _report(self, id: int) -> wire.Report:
        queue = wire.QueueReport(0, 0, {"filled": 3, "cancelled": 1}, 24, 5)
        cache = wire.CacheReport(2, 900, 4_000_000, 3, 1, 0.75, 800, 100)
        model = wire.ModelReport("nano", "ready", "cpu", "float32", 16_000_000, 1.5, 900.0)
        return wire.Report(
            id,
            wire.package_version(),
            wire.PROTOCOL,
            os.getpid(),
            sys.executable,
            str(self._endpoint.door if self._endpoint else ""),
            61.0,
            300_000_000,
            len(self._writers),
            str(wire.log_file()),
            (model,),
            queue,
            cache,
        )


def filled(request: wire.Fill | wire.Refine, say: Say, script: tuple[str, ...] = ()) -> None:
    """Two passes and the answer: the script's texts, or as many of ours as were asked for."""
    if request.drafts:
        say(wire.Progress(request.id, "loading", 0.5))
        for index, state in enumerate(("noise", "accepted"), 1):
            cells = (wire.Cell("before", "pinned"), wire.Cell("x\x1b[2J\n", state, 0.5))
            say(wire.Draft(request.id, index, 2, 10.0 * index, cells, (f"draft {index}",)))
    texts = script or [f"{FILLED}{number or ''}" for number in range(request.candidates)]
    found = tuple(wire.Candidate((text,), -float(index), 2, "passes") for index, text in enumerate(texts))
    tokens = {"seed": request.seed or 0, "passes": request.passes or 0}
    if isinstance(request, wire.Fill):
        tokens["hole"] = next(iter(_holes(request.text))).max_tokens
    say(wire.Filled(request.id, found, {"load": 5.0, "prefill": 1.0, "passes": 2.0, "total": 8.0}, tokens))


def _holes(text: wire.MaskedText | wire.TextDelta) -> list[wire.Hole]:
    return list(text.holes) if isinstance(text, wire.MaskedText) else [place.hole for place in text.places]


def interpreter(folder: Path, behaviour: str) -> str:
    """An executable that runs this engine whatever its arguments, as a configured interpreter would."""
    path = folder / f"python-{behaviour.replace(' ', '-')}"
    root = shlex.quote(str(Path(__file__).parent.parent))
    command = shlex.join([sys.executable, "-m", "tests.fake_daemon", behaviour])
    path.write_text(f"#!/bin/sh\nPYTHONPATH={root}:$PYTHONPATH exec {command}\n")
    path.chmod(0o755)
    return str(path)
