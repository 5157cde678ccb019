"""An engine process without a model, for what a client has to bear: `fake_engine.py BEHAVIOUR`.

Well behaved, it fills every hole with `FILLED` in two passes; the behaviours deviate from that.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import IO

from dgemma_engine import wire

FILLED = "filled\nin"


def interpreter(folder: Path, behaviour: str) -> str:
    """An executable that runs this engine whatever its arguments, as a configured interpreter would."""
    path = folder / f"python-{behaviour}"
    command = shlex.join([sys.executable, str(Path(__file__)), behaviour])
    path.write_text(f"#!/bin/sh\nexec {command}\n")
    path.chmod(0o755)
    return str(path)


def answer(request: wire.Fill, send) -> None:
    hole = request.text.holes[0]
    if request.drafts:
        send(wire.Progress(request.id, "loading", 0.5))
        for index, state in enumerate(("noise", "accepted"), 1):
            cells = (wire.Cell("before", "pinned"), wire.Cell("x\x1b[2J\n", state, 0.5))
            send(wire.Draft(request.id, index, 2, 10.0 * index, cells, (f"draft {index}",)))
    texts = [f"{FILLED}{number or ''}" for number in range(request.candidates)]
    found = tuple(wire.Candidate((text,), -float(index), 2, "passes") for index, text in enumerate(texts))
    tokens = {"hole": hole.max_tokens, "seed": request.seed or 0, "passes": request.passes or 0}
    send(wire.Filled(request.id, found, {"load": 5.0, "prefill": 1.0, "passes": 2.0, "total": 8.0}, tokens))


def misbehave(behaviour: str, outgoing: IO[bytes]) -> None:
    """What happens instead of an answer to a request."""
    if behaviour == "dies":
        print("RuntimeError: out of luck", file=sys.stderr, flush=True)
        os._exit(3)
    if behaviour == "killed":
        os.kill(os.getpid(), 9)
    if behaviour == "half-frame":
        outgoing.write(b"\0\0\0\x10abc")
        outgoing.flush()
        os._exit(0)
    if behaviour == "garbage":
        outgoing.write(b"Traceback (most recent call last):\n")
        outgoing.flush()


def main(behaviour: str) -> None:
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer

    def send(message: wire.Message) -> None:
        wire.write_frame(outgoing, message)

    if behaviour == "silent":
        time.sleep(60)
    if behaviour == "broken":
        sys.exit("ModuleNotFoundError: No module named 'msgpack'")
    while (message := wire.read_frame(incoming)) is not None:
        if isinstance(message, wire.Hello):
            send(wire.Welcome(99 if behaviour == "newer" else wire.PROTOCOL, "9.9"))
        elif isinstance(message, wire.Fill):
            if behaviour == "missing":
                send(wire.Failed(message.id, "engine-missing", "No module named 'torch'"))
            elif behaviour == "refuses":
                send(wire.Failed(message.id, "checkpoint", "there is no model of that name"))
            elif behaviour == "buggy":
                send(wire.Failed(message.id, "internal", "KeyError: 3\nTraceback: here"))
            elif behaviour == "waits":
                send(wire.Progress(message.id, "waiting"))
            elif behaviour == "late":
                send(wire.Failed(message.id - 1, "cancelled", "an answer nobody waits for"))
                answer(message, send)
            else:
                misbehave(behaviour, outgoing)
                answer(message, send)
        elif isinstance(message, wire.Score):
            send(wire.Scored(message.id, tuple(-float(len(text)) for text in message.candidates)))
        elif isinstance(message, wire.Cancel):
            send(wire.Failed(message.id, "cancelled", "the request was cancelled"))
        elif isinstance(message, wire.Shutdown):
            break
    if behaviour == "stubborn":
        time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1])
