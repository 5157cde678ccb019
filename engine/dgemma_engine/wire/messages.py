"""The messages a client and the engine exchange.

Everything a peer sends is checked against the annotations and validators below before it becomes a message, so the
code behind the wire never meets a wrong type. Fields that this version does not know are ignored, so that a newer
peer's `Hello` can still be read and answered with a clear refusal. docs/engine-protocol.md tells who says what when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import attrs
from attrs import validators as check

PROTOCOL = 3

LENGTHS = ("auto", "elastic", "probe", "exact")
PRIORITIES = ("interactive", "rewrite", "warm-up")
CELL_STATES = ("pinned", "accepted", "noise")
FINISHES = ("converged", "passes", "deadline")

MAX_HOLE_TOKENS = 65536
MAX_PASSES = 1000
MAX_CANDIDATES = 64
"""Of a fill; of a score four times as many. Larger wishes are mistakes, and would hold up everybody else."""
MAX_INSTRUCTION = 8192
MAX_OUTLINE = 65536
MAX_PROBLEMS = 64
MAX_PROBLEM = 1024
MAX_NAME = 1024
"""Of a prompt: how many problems, the others in characters."""

_positive = check.and_(check.gt(0.0), check.lt(math.inf))
_not_negative = check.and_(check.ge(0.0), check.lt(math.inf))
_share = check.and_(check.ge(0), check.le(1))
_passes = check.optional(check.and_(check.ge(1), check.le(MAX_PASSES)))


@attrs.frozen
class Hole:
    """A gap to fill with at most `max_tokens` tokens; `noise` 1.0 forgets the draft, less edits it."""

    max_tokens: int = attrs.field(validator=check.and_(check.ge(1), check.le(MAX_HOLE_TOKENS)))
    draft: str | None = None
    noise: float = attrs.field(default=1.0, validator=check.and_(check.gt(0), check.le(1)))


@attrs.frozen
class MaskedText:
    """Pinned text and holes, in document order. Texts come back as one string per hole, in the same order."""

    parts: tuple[str | Hole, ...] = attrs.field(converter=tuple)

    def __attrs_post_init__(self) -> None:
        if not self.holes:
            raise ValueError("a masked text needs at least one hole")

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(part for part in self.parts if isinstance(part, Hole))


@attrs.frozen
class Place:
    """A hole `at` an offset into the pinned text, in characters."""

    at: int = attrs.field(validator=check.ge(0))
    hole: Hole


@attrs.frozen
class TextDelta:
    """A masked text as a change of one that was sent before.

    The pinned text is that of request `base` of the same document with its characters `[start, stop)` replaced by
    `insert`; `places`, in ascending order, are the holes in the result.
    """

    base: int
    start: int = attrs.field(validator=check.ge(0))
    stop: int = attrs.field(validator=check.ge(0))
    insert: str
    places: tuple[Place, ...] = attrs.field(converter=tuple, validator=check.min_len(1))


@attrs.frozen
class Hello:
    """The first message of a client: `token` where the connection is no private socket, `client` for people."""

    protocol: int
    package: str
    token: str = ""
    client: str = ""


def _says_something(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value.strip():
        raise ValueError(f"'{attribute.name}' is blank")


@attrs.frozen
class Prompt:
    """What a checkpoint that follows instructions is to make of the hole of a fill.

    `language` and `file` are names, `outline` tells what stands in the rest of the file, `problems` are diagnostics of
    what stands in the hole, a line each.
    """

    instruction: str = attrs.field(validator=[check.max_len(MAX_INSTRUCTION), _says_something])
    language: str = attrs.field(default="", validator=check.max_len(MAX_NAME))
    file: str = attrs.field(default="", validator=check.max_len(MAX_NAME))
    outline: str = attrs.field(default="", validator=check.max_len(MAX_OUTLINE))
    problems: tuple[str, ...] = attrs.field(
        default=(),
        converter=tuple,
        validator=[check.max_len(MAX_PROBLEMS), check.deep_iterable(check.max_len(MAX_PROBLEM))],
    )


@attrs.frozen
class Fill:
    """Fill the holes of `text`.

    `document` names what is edited, for this client alone: a newer interactive request of a document supersedes the
    one before it, and a `TextDelta` refers to it; a model that follows instructions is told the last part of its path.
    `deadline_ms` counts from the receipt of the message, waiting included, loading a model not. `length` is the policy
    for how much of a hole is used; with `spares`, what its other lengths came to is answered too, behind the
    `candidates` asked for. With a `seed` the fill is the same every time on the same device; that takes it past the
    prefix cache. With `drafts`, a `Draft` comes after every pass; with `trace`, one of every canvas, with what each row
    might have become.

    With a `prompt` the text has one hole, and its draft is rewritten as the prompt says: one candidate, whatever the
    `length`. A model that follows no instructions fails that with `instructions` before anything is loaded.
    """

    id: int
    text: MaskedText | TextDelta
    model: str = "nano"
    document: str | None = None
    priority: str = attrs.field(default="interactive", validator=check.in_(PRIORITIES))
    passes: int | None = attrs.field(default=None, validator=_passes)
    deadline_ms: float | None = attrs.field(default=None, validator=check.optional(_positive))
    candidates: int = attrs.field(default=1, validator=check.and_(check.ge(1), check.le(MAX_CANDIDATES)))
    seed: int | None = attrs.field(default=None, validator=check.optional(check.ge(0)))
    length: str = attrs.field(default="auto", validator=check.in_(LENGTHS))
    spares: bool = False
    drafts: bool = False
    trace: bool = False
    prompt: Prompt | None = None


@attrs.frozen
class Span:
    """Characters `[start, stop)` of the text of hole number `hole`."""

    hole: int = attrs.field(validator=check.ge(0))
    start: int = attrs.field(validator=check.ge(0))
    stop: int = attrs.field(validator=check.ge(0))


@attrs.frozen
class Refine:
    """Write `spans` of a candidate of the earlier request `fill` anew, the rest of it pinned.

    A fill is remembered for ten seconds or until the next request of its document. Answered by `Filled`, with the
    texts of the fill's own holes.
    """

    id: int
    fill: int
    spans: tuple[Span, ...] = attrs.field(converter=tuple, validator=check.min_len(1))
    candidate: int = attrs.field(default=0, validator=check.ge(0))
    passes: int | None = attrs.field(default=None, validator=_passes)
    deadline_ms: float | None = attrs.field(default=None, validator=check.optional(_positive))
    candidates: int = attrs.field(default=1, validator=check.and_(check.ge(1), check.le(MAX_CANDIDATES)))
    seed: int | None = attrs.field(default=None, validator=check.optional(check.ge(0)))
    drafts: bool = False


@attrs.frozen
class Score:
    """Ask for the exact log-likelihood of each candidate between `prefix` and `suffix`."""

    id: int
    prefix: str
    candidates: tuple[str, ...] = attrs.field(converter=tuple, validator=check.max_len(4 * MAX_CANDIDATES))
    suffix: str = ""
    model: str = "nano"
    document: str | None = None
    priority: str = attrs.field(default="interactive", validator=check.in_(PRIORITIES))


@attrs.frozen
class Warm:
    """Load the model and encode what stands before the first hole, when there is nothing better to do."""

    id: int
    text: MaskedText | TextDelta
    model: str = "nano"
    document: str | None = None


@attrs.frozen
class Lease:
    """Load `model` now, and keep it for `idle_s` seconds after every use; 0 keeps it until it is unloaded."""

    id: int
    model: str = "nano"
    idle_s: float | None = attrs.field(default=None, validator=check.optional(_not_negative))


@attrs.frozen
class Status:
    """Ask for a `Report`."""

    id: int


@attrs.frozen
class Unload:
    """Give the memory of `model`, or of all models, back at once; what runs on it is cancelled."""

    id: int
    model: str | None = None


@attrs.frozen
class Shutdown:
    """End the daemon. With `finish`, what runs is finished first; a new daemon can start at once either way."""

    id: int
    finish: bool = True


@attrs.frozen
class Cancel:
    """Stop the request `id`; it still ends in exactly one answer."""

    id: int


@attrs.frozen
class Welcome:
    """The answer to `Hello`; `pid` is the daemon's."""

    protocol: int
    package: str
    pid: int = 0


@attrs.frozen
class Progress:
    """Something slow is under way; `fraction` in [0, 1] when it is known."""

    id: int
    stage: str
    fraction: float | None = attrs.field(default=None, validator=check.optional(_share))


@attrs.frozen
class Choice:
    """A token a row might become, with its probability."""

    text: str
    probability: float = attrs.field(validator=_share)


@attrs.frozen
class Cell:
    """A stretch of the canvas as it stands after a pass; `entropy` in nats where the model read it.

    A free cell is one row. `choices`, the likeliest first, come with a trace.
    """

    text: str
    state: str = attrs.field(validator=check.in_(CELL_STATES))
    entropy: float | None = None
    choices: tuple[Choice, ...] = attrs.field(default=(), converter=tuple)


@attrs.frozen
class Draft:
    """The canvas after pass `pass_index` (from 1) of `passes`, `ms` after the start; one text per hole.

    `canvas` tells the canvases of a trace apart: a fill may try several lengths and go on to further holes.
    """

    id: int
    pass_index: int = attrs.field(validator=check.ge(1))
    passes: int = attrs.field(validator=check.ge(1))
    ms: float
    cells: tuple[Cell, ...] = attrs.field(converter=tuple)
    texts: tuple[str, ...] = attrs.field(converter=tuple)
    canvas: int = attrs.field(default=0, validator=check.ge(0))


@attrs.frozen
class Candidate:
    """One way to fill all holes; a higher `score` is better."""

    texts: tuple[str, ...] = attrs.field(converter=tuple)
    score: float | None
    passes: int = attrs.field(validator=check.ge(0))
    finish: str = attrs.field(validator=check.in_(FINISHES))


@attrs.frozen
class Filled:
    """The answer to `Fill` and `Refine`, best candidate first.

    `ms` by stage: queue, load, prefill, passes, rank, total. `tokens`: prefix, reused (of the prefix, from the
    cache), canvas, canvases.
    """

    id: int
    candidates: tuple[Candidate, ...] = attrs.field(converter=tuple, validator=check.min_len(1))
    ms: dict[str, float]
    tokens: dict[str, int]


@attrs.frozen
class Scored:
    """The answer to `Score`, in nats, in the order of the candidates."""

    id: int
    log_probs: tuple[float, ...] = attrs.field(converter=tuple)


@attrs.frozen
class Warmed:
    """The answer to `Warm`; `tokens`: prefix, reused."""

    id: int
    tokens: dict[str, int]


@attrs.frozen
class Leased:
    """The answer to `Lease`, when the model is loaded; `instructed` tells whether it takes a `Prompt`."""

    id: int
    model: str
    instructed: bool = False


@attrs.frozen
class Done:
    """The answer to `Unload` and `Shutdown`."""

    id: int


MODEL_STATES = ("loading", "ready")


@attrs.frozen
class ModelReport:
    """One model: `size` in bytes of memory; `idle_s` since its last use; `unload_s` is the idle limit, 0 for none.

    `instructed` tells whether it takes a `Prompt`.
    """

    name: str
    state: str = attrs.field(validator=check.in_(MODEL_STATES))
    device: str
    dtype: str
    size: int
    idle_s: float
    unload_s: float
    fraction: float | None = None
    instructed: bool = False


@attrs.frozen
class QueueReport:
    """Requests `waiting` and `running` (paused ones included) now, and how many ended in which way so far.

    `passes` counts denoising passes, one of a batch once; `chunks` prefill pieces.
    """

    waiting: int
    running: int
    ended: dict[str, int]
    passes: int
    chunks: int


@attrs.frozen
class CacheReport:
    """Prefix caches held now, and what they were good for: `hit_rate` of requests, tokens reused and encoded."""

    entries: int
    tokens: int
    size: int
    hits: int
    misses: int
    hit_rate: float
    tokens_saved: int
    tokens_encoded: int


@attrs.frozen
class Report:
    """The answer to `Status`: `uptime_s` in seconds, `memory` in bytes of the process, `log` a path."""

    id: int
    package: str
    protocol: int
    pid: int
    python: str
    endpoint: str
    uptime_s: float
    memory: int
    clients: int
    log: str
    models: tuple[ModelReport, ...] = attrs.field(converter=tuple)
    queue: QueueReport
    cache: CacheReport


@attrs.frozen
class Failed:
    """The answer to a request that could not be served; without an id it concerns the connection."""

    id: int | None
    code: str
    message: str


Request = Fill | Refine | Score | Warm | Lease | Status | Unload | Shutdown
Answer = Filled | Scored | Warmed | Leased | Done | Report | Failed
Message = Hello | Request | Cancel | Welcome | Progress | Draft | Answer
MESSAGES: Mapping[str, type[Message]] = {kind.__name__.lower(): kind for kind in get_args(Message)}
