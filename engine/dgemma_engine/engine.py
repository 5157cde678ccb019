"""A loaded checkpoint that fills and scores text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, frozen

from . import wire
from .canvas import prefix_ids
from .errors import EngineError
from .fill import Fill
from .likelihood import log_likelihoods, prefill
from .model import DiffusionGemma, load_model
from .request import Options
from .sampler import PINNED_SIGNALS, Schedule
from .tokenizer import Tokenizer

DEFAULT_CONTEXT = 8192
DEFAULT_PASSES = 16


@frozen
class Engine:
    """One checkpoint in memory. Not thread-safe: one request at a time."""

    model: DiffusionGemma
    tokenizer: Tokenizer
    schedule: Schedule
    load_ms: float

    @classmethod
    def load(cls, model: str = "nano", dtype: torch.dtype | None = None) -> Engine:
        """Load the packaged `nano` or a folder in the Hugging Face layout; raises `EngineError("checkpoint")`."""
        started = time.monotonic()
        folder = find_checkpoint(model)
        network = load_model(folder, dtype)
        tokenizer = Tokenizer.load(folder, network.config)
        if network.config.traits.pinned_signal not in PINNED_SIGNALS:
            raise EngineError("checkpoint", f"{folder}: dgemma.pinned_signal must be one of {PINNED_SIGNALS}")
        schedule = read_schedule(folder)
        return cls(network, tokenizer, schedule, 1000 * (time.monotonic() - started))

    @property
    def context(self) -> int:
        """Prefix tokens that a request may use: what the checkpoint was trained on, or a bound."""
        config = self.model.config
        return min(config.traits.context or DEFAULT_CONTEXT, config.max_positions - config.canvas_length)

    @torch.inference_mode()
    def fill(
        self,
        text: wire.MaskedText,
        *,
        passes: int | None = None,
        deadline_ms: float | None = None,
        candidates: int = 1,
        seed: int | None = None,
        length: str = "auto",
        on_draft: Callable[[wire.Draft], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> wire.Filled:
        """Fill the holes of `text`; see `wire.Fill` for the arguments. The answer's id is 0.

        `cancelled` is asked between passes and prefill chunks. Raises `EngineError` with code `cancelled` or
        `request`.
        """
        received = time.monotonic()
        if length not in wire.LENGTHS or candidates < 1:
            raise EngineError("request", f"length is one of {', '.join(wire.LENGTHS)}; candidates are 1 or more")
        fill = Fill(
            self.model,
            self.tokenizer,
            Options(
                schedule=evolve(self.schedule, passes=passes or self.schedule.passes),
                length=length,
                candidates=candidates,
                deadline_ms=deadline_ms,
                seed=seed,
                on_draft=on_draft,
                cancelled=cancelled,
                received=received,
                context=self.context,
                pinned_signal=self.model.config.traits.pinned_signal,  # type: ignore[arg-type]
            ),
        )
        found = fill.run(text)
        total = 1000 * (time.monotonic() - received)
        return wire.Filled(
            0, tuple(found), {"load": self.load_ms, **fill.progress.ms, "total": total}, fill.progress.tokens
        )

    @torch.inference_mode()
    def score(self, prefix: str, candidates: Sequence[str], suffix: str = "") -> list[float]:
        """log P(candidate + suffix | prefix) in nats for each candidate, exact, by the causal encoder."""
        config = self.model.config
        ids = prefix_ids(self.tokenizer, prefix, config.bos_id, self.context)
        cache = self.model.new_cache(len(ids) + config.canvas_length)
        last = prefill(self.model, ids, cache)
        after = self.tokenizer.encode(suffix)
        texts = [self.tokenizer.encode(text) + after for text in candidates]
        return log_likelihoods(self.model, cache, last, texts)


def find_checkpoint(model: str) -> Path:
    """The folder that `model` names: `nano`, or a path."""
    if model == "nano":
        return Path(str(resources.files("dgemma_engine"))) / "nano"
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise EngineError("checkpoint", f"no checkpoint at {model}: name a folder, or 'nano' for the packaged one")
    return folder


def read_schedule(folder: Path) -> Schedule:
    """`generation_config.json`'s schedule; what it leaves out is the reference's default, but for the passes."""
    path = folder / "generation_config.json"
    raw: Any = {}
    if path.is_file():
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise EngineError("checkpoint", f"{path} is not JSON: {error}") from None
    sampler = (raw.get("sampler_config") or {}) if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(sampler, dict):
        raise EngineError("checkpoint", f"{path}: the file and its sampler_config must be JSON objects")
    given = {
        "passes": raw.get("max_denoising_steps") or DEFAULT_PASSES,
        "entropy_bound": sampler.get("entropy_bound"),
        "t_min": raw.get("t_min"),
        "t_max": raw.get("t_max"),
        "stability": raw.get("stability_threshold"),
        "confidence": raw.get("confidence_threshold"),
    }
    try:
        return Schedule(**{name: value for name, value in given.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise EngineError("checkpoint", f"{path}: {error.args[0]}") from None
