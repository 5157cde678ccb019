"""What a model takes in memory, from its shape alone: weights by precision, keys and values, the work of a pass.

No torch: what does not fit is known before anything is loaded. All sizes in bytes.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from .errors import EngineError
from .model.config import ModelConfig, read_config
from .shards import stored_dtype, stored_form
from .wire.model_name import AUTO, PRECISIONS

PREFILL_ROWS = 512
"""Tokens of a prefix that are encoded together, see `prefix_cache.CHUNK_ROWS`."""
READ_OUT_ROWS = 64
"""Rows whose logits are in memory at once; sampler and likelihood read it here."""
VOCABULARY_COPIES = 4
"""fp32 values by row and token that a read-out holds at once: logits, log-probabilities, probabilities, sums."""
WINDOW = 8192
"""Tokens of the text window, where neither checkpoint nor memory asks for fewer."""
LEAST_WINDOW = 1024
"""`choose` goes no further down."""


@frozen
class Layout:
    """How the experts, which are nine tenths of the weights, are held; `group` of them share a scale, else a row does.

    `dense_bits` are those of the linear layers beside them (attention, dense MLPs, self-conditioning), which have an
    fp32 scale a row where they are 8; None is as many as a plain weight has. All else is never quantised in memory: an
    8-bit embedding flattens the tail of the logits.
    """

    bits: int
    group: int | None = None
    scale_bits: int = 16
    dense_bits: int | None = None


EMBEDDING = "model.decoder.embed_tokens.weight"
"""Its dtype is that of everything which is not quantised."""

LAYOUTS = {
    "fp8": Layout(8, scale_bits=32, dense_bits=8),
    "int4": Layout(4, group=64, dense_bits=8),
    "nvfp4": Layout(4, group=16, scale_bits=8),
}
"""Of the quantised forms; NVFP4 is never made here, and its dense layers are as in its files. At the released shape
26.0, 15.3 and 17.7 GB."""


@frozen
class Footprint:
    """A model's sizes; `element` is the bytes of an unquantised weight, a key or a value.

    `stored` is the form in which the files have the experts, when that is a quantised one, and `group` how many of them
    share a scale there, when that is int4.
    """

    config: ModelConfig
    element: int = 2
    stored: str | None = None
    group: int | None = None

    @property
    def expert_weights(self) -> int:
        """How many weights all experts of all layers have."""
        config = self.config
        return len(config.layers) * config.experts * 3 * config.hidden_size * config.expert_size

    @property
    def linear_weights(self) -> int:
        """Of attention, dense MLPs and self-conditioning."""
        config = self.config
        heads = sum(
            (2 * config.heads + (2 if layer.value_proj else 1) * layer.kv_heads) * layer.head_dim
            for layer in config.layers
        )
        return config.hidden_size * (heads + 3 * config.intermediate_size * (len(config.layers) + 1))

    @property
    def linear_rows(self) -> int:
        """Of the matrices that `linear_weights` counts: as many scales they have in 8 bits."""
        config = self.config
        heads = sum(
            (config.heads + (2 if layer.value_proj else 1) * layer.kv_heads) * layer.head_dim + config.hidden_size
            for layer in config.layers
        )
        return heads + (2 * config.intermediate_size + config.hidden_size) * (len(config.layers) + 1)

    @property
    def embedding_weights(self) -> int:
        """Input and output share them."""
        return self.config.vocab_size * self.config.hidden_size

    @property
    def plain_weights(self) -> int:
        """Routers, norms and scalars."""
        config = self.config
        by_layer = config.experts * (config.hidden_size + 1) + 8 * config.hidden_size + 2
        return sum(by_layer + 2 * layer.head_dim for layer in config.layers) + 2 * config.hidden_size

    def weights(self, precision: str) -> int:
        """Of all weights with their scales."""
        plain = self.element * (self.embedding_weights + self.plain_weights)
        return self.expert_bytes(precision) + self.linear_bytes(precision) + plain

    def expert_bytes(self, precision: str) -> int:
        """Of all experts with their scales."""
        layout = LAYOUTS.get(precision)
        if layout is None:
            return self.element * self.expert_weights
        config, group = self.config, layout.group
        if precision == self.stored:
            group = self.group or group
        rows = len(config.layers) * config.experts * (2 * config.expert_size + config.hidden_size)
        scales = self.expert_weights // group if group else rows
        return (layout.bits * self.expert_weights + layout.scale_bits * scales) // 8

    def linear_bytes(self, precision: str) -> int:
        """Of `linear_weights` with their scales."""
        layout = LAYOUTS.get(precision)
        if layout is None or layout.dense_bits is None:
            return self.element * self.linear_weights
        return (layout.dense_bits * self.linear_weights + 32 * self.linear_rows) // 8

    @property
    def kv(self) -> int:
        """Of a token's keys and values, full length in every layer."""
        return 2 * self.element * sum(layer.kv_heads * layer.head_dim for layer in self.config.layers)

    @property
    def window(self) -> int:
        """Tokens before a canvas that a request may use at most."""
        config = self.config
        return max(0, min(config.traits.context or WINDOW, config.max_positions - config.canvas_length))

    def work(self, window: int) -> int:
        """What a step holds beside weights and prefix: a pass over a free canvas, or a piece of a long prefix.

        Of an attention no scores are held: torch's fused kernels take every head size here, on a GPU the
        memory-efficient one, on a CPU the flash one. What they are given is held: the mask of the rows that share keys,
        as booleans, as floats, and again with its rows padded.
        Source: ATen/native/transformers/{attention,cuda/sdp_utils}.cpp.
        """
        config = self.config
        read_out = 4 * VOCABULARY_COPIES * min(config.canvas_length, READ_OUT_ROWS) * config.vocab_size
        sharing = max(config.heads // layer.kv_heads for layer in config.layers)
        rows, keys = sharing * min(PREFILL_ROWS, window), window + config.canvas_length
        return max(read_out, (1 + 2 * self.element) * rows * keys)

    def peak(self, precision: str, window: int) -> int:
        """Of a fill with `window` tokens before its canvas, the model's weights included."""
        return self.weights(precision) + self.kv * (window + self.config.canvas_length) + self.work(window)

    def widest(self, precision: str, free: float) -> int | None:
        """The window that `free` bytes leave room for, in halves of the largest; None when not even the least fits."""
        window = self.window
        while self.peak(precision, window) > free:
            if window <= LEAST_WINDOW:
                return None
            window = max(LEAST_WINDOW, window // 2)
        return window


def read_footprint(folder: Path) -> Footprint:
    """Of the checkpoint in `folder`, by its config and its files' headers. Raises `EngineError("checkpoint")`."""
    element = 4 if stored_dtype(folder, EMBEDDING) == "F32" else 2
    return Footprint(read_config(folder), element, *stored_form(folder))


@frozen
class Choice:
    """A precision and a window that fit: `need` bytes of `free` ones. `reason` is a sentence for people."""

    precision: str
    window: int
    need: int
    free: float
    reason: str


def choose(
    precision: str, free: float, footprint: Footprint, window: int | None = None, offered: tuple[str, ...] = PRECISIONS
) -> Choice:
    """What to load into `free` bytes: `precision`, where it is `auto` the most exact one of `offered` that fits.

    A checkpoint whose files are quantised is no more exact in another form: `auto` keeps theirs.

    Where nothing fits with `window` (by default the model's), the last one of them is tried with smaller windows.
    Raises `EngineError("memory")`, which says how much is missing and what would fit.
    """
    window = footprint.window if window is None else window
    offered = (footprint.stored,) if footprint.stored else offered
    tried = offered if precision == AUTO else (precision,)
    for one in tried:
        need = footprint.peak(one, window)
        if need <= free:
            return Choice(one, window, need, free, _reason(tried, one, window, need, free, footprint))
    last = tried[-1]
    if (less := footprint.widest(last, free)) is not None and less < window:
        need = footprint.peak(last, less)
        return Choice(last, less, need, free, _reason(tried, last, less, need, free, footprint))
    raise EngineError("memory", _refusal(last, free, footprint, offered))


def gigabytes(size: float) -> str:
    """A size for people: `50.5 GB`, or `7.9 MB` where it is small."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:.0f} MB"


def _reason(tried: tuple[str, ...], chosen: str, window: int, need: float, free: float, footprint: Footprint) -> str:
    room = "" if free == float("inf") else f" of {gigabytes(free)} free"
    text = f"{chosen}: {gigabytes(need)}{room} with a window of {window} tokens"
    better = tried[: tried.index(chosen)]
    if better:
        wide = footprint.window
        needs = ", ".join(f"{one} {gigabytes(footprint.peak(one, wide))}" for one in better)
        text += f" ({needs} with {wide})"
    return text


def _refusal(precision: str, free: float, footprint: Footprint, offered: tuple[str, ...]) -> str:
    least = min(LEAST_WINDOW, footprint.window)
    need = footprint.peak(precision, least)
    text = (
        f"{precision} needs {gigabytes(need)} even with a window of {least} tokens, {gigabytes(free)} are free: "
        f"{gigabytes(need - free)} too little"
    )
    fits = [one for one in offered if footprint.widest(one, free) is not None]
    return f"{text}; {fits[0]} would fit" if fits else text
