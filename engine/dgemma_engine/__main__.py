"""`python -m dgemma_engine`: starts the daemon of this user, unless it runs.

Prints one line on stdout when clients may connect, `ready PID` or `held`, and ends while the daemon goes on as a
process of its own; whatever hinders it is one line on stderr and exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

    from .door import Door

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(f"{message}; see python -m dgemma_engine --help")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    try:
        from . import wire
        from .door import Door
    except ImportError as error:
        if (error.name or "").startswith("dgemma_engine"):
            raise
        _fail(f"{error}; install it with: {sys.executable} -m pip install 'dgemma-lsp[engine]'")
    if options.version:
        print(wire.package_version())
        return
    try:
        door = Door.claim(wire.find_endpoint())
    except wire.EndpointError as error:
        _fail(str(error))
    if door is None:
        _say("held")
        return
    _serve(door, wire.log_file(), options)


def _serve(door: Door, log_path: Path, options: argparse.Namespace) -> NoReturn:
    import asyncio

    from .daemon import Daemon
    from .log import log, start_log
    from .scheduler import Scheduler

    ready = _stay() if options.foreground or not hasattr(os, "fork") else _detach(door, log_path)
    start_log(log_path, terminal=options.foreground and sys.stderr.isatty())
    scheduler = Scheduler(idle_s=options.idle, memory=options.memory)
    status = 0
    try:
        asyncio.run(Daemon(door, scheduler, log_path, ready).run())
    except Exception:
        log.critical("ended by a bug", exc_info=True)
        status = 1
    finally:
        door.close()
    # There is nothing left to say, and taking torch down would take longer than all before.
    os._exit(status)


def _stay() -> Callable[[], None]:
    """Says that the daemon is ready where our stdout goes now, which the log takes over."""
    stdout = os.dup(1)

    def ready() -> None:
        with contextlib.suppress(OSError):
            os.write(stdout, b"ready %d\n" % os.getpid())
        os.close(stdout)

    return ready


def _detach(door: Door, log_path: Path) -> Callable[[], None]:
    """Go on in a process that is nobody's child: an editor that ends takes its process tree along.

    The parent stays until it hears that the daemon is ready, says so and exits.
    """
    hear, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        if not os.read(hear, 1):
            _fail(f"the engine ended while it started; see {log_path}")
        _say(f"ready {pid}")
        os._exit(0)
    os.close(hear)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    door.sign()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def ready() -> None:
        with contextlib.suppress(OSError):
            os.write(tell, b"+")
        os.close(tell)

    return ready


def _parser() -> _Parser:
    parser = _Parser(prog="python -m dgemma_engine", description="Start the engine of this user, unless it runs.")
    parser.add_argument(
        "--idle",
        type=_seconds,
        default=900.0,
        metavar="SECONDS",
        help="unload a model that was not used for this long; 0 keeps it (default 900)",
    )
    parser.add_argument(
        "--memory",
        type=_bytes,
        metavar="BYTES",
        help="what all models together may take, as 6000000000 or 6G (default: what the machine has free)",
    )
    parser.add_argument("--foreground", action="store_true", help="stay a child of who started it")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _bytes(text: str) -> int:
    number, unit = (text[:-1], _UNITS[text[-1].upper()]) if text[-1:].upper() in _UNITS else (text, 1)
    try:
        size = int(float(number) * unit)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size in bytes, such as 6000000000, 6000M or 6G")
    return size


def _say(line: str) -> None:
    """For who started us, if he still listens."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def _fail(message: str) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        print(f"dgemma_engine: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
