"""A loaded checkpoint that fills and scores text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import Factory, evolve, field, frozen

from . import graphs, heap, wire
from .canvas import CHARS_PER_TOKEN_AT_MOST, prefix_ids
from .checkpoints import find_checkpoint, no_instructions
from .errors import EngineError
from .fill import Fill
from .likelihood import log_likelihoods
from .model import DiffusionGemma, load_model
from .prefix_cache import PrefixCache
from .prompts.chat import ChatTemplate, Turn
from .prompts.voice import Voice
from .quantized_cache import find_quantized
from .refine import refinement
from .request import Options
from .rewrite import Rewrite
from .sampler import PINNED_SIGNALS, Schedule
from .steps import Forward, Steps, drive
from .tokenizer import Tokenizer
from .wire.model_name import AUTO, PRECISIONS

DEFAULT_CONTEXT = 8192
DEFAULT_PASSES = 16


@frozen
class Engine:
    """One checkpoint in memory. Not thread-safe; several requests may be under way, one step of one at a time."""

    model: DiffusionGemma
    tokenizer: Tokenizer
    schedule: Schedule
    prefixes: PrefixCache
    load_ms: float
    template: ChatTemplate | None = None
    window: int = DEFAULT_CONTEXT
    """Prefix tokens that there is memory for."""
    voice: Voice | None = field(default=Factory(lambda self: self._voice(), takes_self=True))
    runner: Forward = field(default=Factory(lambda self: graphs.runner(self.model), takes_self=True))
    """What runs the passes: the model, or on a GPU what replays them."""

    @classmethod
    def load(
        cls,
        model: str = "nano",
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        on_progress: Callable[[float], None] | None = None,
        precision: str = AUTO,
        window: int = DEFAULT_CONTEXT,
    ) -> Engine:
        """Load what `model` names, see `wire.ModelName`; raises `EngineError("checkpoint")`.

        `precision` is by default what the name asks for, else that of the files; see `load_model`. A prefix never has
        more than `window` tokens. `on_progress` hears which share of the weights is there.
        """
        started = time.monotonic()
        if torch.device(device).type == "cpu":
            heap.keep_freed()
        found = find_checkpoint(model)
        folder, asked = found.folder, found.precision if precision == AUTO else precision
        form = asked if asked in PRECISIONS else None
        kept = None if form in (None, "bf16") else find_quantized(folder, form)
        network = load_model(kept or folder, dtype, device, on_progress, form, found.adapter)
        tokenizer = Tokenizer.load(folder, network.config)
        if network.config.traits.pinned_signal not in PINNED_SIGNALS:
            raise EngineError("checkpoint", f"{folder}: dgemma.pinned_signal must be one of {PINNED_SIGNALS}")
        schedule = read_schedule(folder)
        template = ChatTemplate.read(folder)
        took = 1000 * (time.monotonic() - started)
        return cls(network, tokenizer, schedule, PrefixCache(network), took, template, window)

    def relieve(self) -> None:
        """Give back the memory that only makes passes faster."""
        if isinstance(self.runner, graphs.Runner):
            self.runner.drop()

    @property
    def size(self) -> int:
        """Bytes of memory beside the weights: of prefixes, and of their copies for replayed passes."""
        return self.prefixes.size + (self.runner.size if isinstance(self.runner, graphs.Runner) else 0)

    @property
    def context(self) -> int:
        """Prefix tokens that a request may use: what the checkpoint was trained on, or a bound."""
        config = self.model.config
        return min(config.traits.context or self.window, self.window, config.max_positions - config.canvas_length)

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
        prompt: wire.Prompt | None = None,
        on_draft: Callable[[wire.Draft], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> wire.Filled:
        """Fill the holes of `text`; see `wire.Fill` for the arguments. The answer's id is 0.

        `cancelled` is asked between passes and prefill chunks. Raises `EngineError` with code `cancelled`, `request`
        or `empty`, or with a prompt `instructions`.
        """
        options = {"passes": passes, "deadline_ms": deadline_ms, "candidates": candidates, "seed": seed}
        try:
            request = wire.Fill(0, text, "this checkpoint", **options, length=length, prompt=prompt)
        except ValueError as error:
            raise EngineError("request", str(error.args[0])) from None
        return drive(self.runner, self.filling(request, on_draft=on_draft), cancelled)

    @torch.inference_mode()
    def score(self, prefix: str, candidates: Sequence[str], suffix: str = "") -> list[float]:
        """log P(candidate + suffix | prefix) in nats for each candidate, exact, by the causal encoder.

        A checkpoint with a chat template is asked for a repair of what the candidates have in common; what it answers
        is compared.
        """
        return drive(self.runner, self.scoring(wire.Score(0, prefix, tuple(candidates), suffix)))

    def filling(
        self,
        request: wire.Fill,
        *,
        received: float | None = None,
        owner: Hashable = None,
        on_draft: Callable[[wire.Draft], None] | None = None,
    ) -> Steps[wire.Filled]:
        """The steps of a fill; its text must be a `MaskedText`.

        The deadline counts from `received`, by default from now. `owner` tells whose document it is, for the prefix
        cache. Raises `EngineError`: `request`, `empty` where a checkpoint that is spoken to says nothing, and with a
        prompt `instructions`.
        """
        assert isinstance(request.text, wire.MaskedText)
        turn = None if request.prompt is None else self._asked(request)
        # Keys and values depend, in their last bits, on how many rows were encoded at once: what is to come out the
        # same every time starts from nothing.
        prefixes = self.prefixes if request.seed is None else PrefixCache(self.model)
        options = Options(
            schedule=evolve(self.schedule, passes=request.passes or self.schedule.passes),
            length=request.length,
            candidates=request.candidates,
            spares=request.spares,
            deadline_ms=request.deadline_ms,
            seed=request.seed,
            on_draft=on_draft,
            trace=request.trace,
            received=time.monotonic() if received is None else received,
            context=self.context,
            pinned_signal=self.model.config.traits.pinned_signal,  # type: ignore[arg-type]
            # A prompt is another text than its document, and is not to take the place of what is typed there.
            owner=owner if turn is None else (owner, "prompt"),
        )
        if turn is None or request.prompt is None:
            remembers = request.seed is None
            prompt = self.voice and self.voice.infill(request.document, owner, remembers=remembers)
            work = Fill(self.model, self.tokenizer, prefixes, options, prompt)
            found = yield from work.run(request.text)
        else:
            work = Rewrite(self.model, self.tokenizer, prefixes, options, turn)
            found = yield from work.run(request.text, request.prompt)
        ms = {"queue": 0.0, "load": 0.0, **work.progress.ms, "total": work.progress.elapsed}
        return wire.Filled(request.id, tuple(found), ms, work.progress.tokens)

    def refining(
        self,
        request: wire.Refine,
        fill: wire.Fill,
        filled: wire.Filled,
        *,
        on_draft: Callable[[wire.Draft], None] | None = None,
        **options: Any,
    ) -> Steps[wire.Filled]:
        """The steps that write spans of a finished fill anew; options as for `filling`."""
        assert isinstance(fill.text, wire.MaskedText)
        if request.candidate >= len(filled.candidates):
            raise EngineError("request", f"there is no candidate {request.candidate} of {len(filled.candidates)}")
        texts = filled.candidates[request.candidate].texts
        opened = refinement(fill.text, texts, request.spans, self.tokenizer)
        names = ("id", "passes", "deadline_ms", "candidates", "seed", "drafts")
        own = {name: getattr(request, name) for name in names}
        # What is written anew in a rewrite is written as in any text: an instruction is for all of it.
        asked = evolve(fill, text=opened.text, spares=False, trace=False, prompt=None, **own)

        def joined_draft(draft: wire.Draft) -> None:
            if on_draft is not None:
                on_draft(evolve(draft, texts=opened.joined(draft.texts)))

        found = yield from self.filling(asked, on_draft=joined_draft if on_draft else None, **options)
        candidates = [evolve(one, texts=opened.joined(one.texts)) for one in found.candidates]
        return evolve(found, candidates=candidates)

    def scoring(self, request: wire.Score, owner: Hashable = None) -> Steps[list[float]]:
        """The steps of a score: log-likelihoods in nats. Raises `EngineError("request")` for too long a candidate.

        Of the suffix as much counts as the context holds behind the longest candidate, the same for all of them.
        """
        if self.voice is not None and request.candidates:
            return (yield from self._scored(*self.voice.repair(request), (owner, "prompt")))
        texts = [self.tokenizer.encode(text) for text in request.candidates]
        room = self.context - max(map(len, texts), default=0)
        if room < 0:
            raise EngineError("request", f"a candidate is longer than the {self.context} tokens that can be scored")
        after = self.tokenizer.encode(request.suffix[: self.context * CHARS_PER_TOKEN_AT_MOST])[:room]
        texts = [text + after for text in texts]
        ids = self._prefix_ids(request.prefix)
        return (yield from self._scored(ids, texts, owner))

    def _scored(self, ids: list[int], texts: list[list[int]], owner: Hashable) -> Steps[list[float]]:
        with self.prefixes.borrowed(ids, owner, max(map(len, texts), default=0)) as prefix:
            yield from prefix.extend(ids[len(prefix.ids) :])
            return (yield from log_likelihoods(self.model, prefix, texts))

    def warming(
        self, text: wire.MaskedText, owner: Hashable = None, document: str | None = None
    ) -> Steps[dict[str, int]]:
        """The steps that encode what stands before the first hole; counts of tokens, as in `wire.Warmed`.

        What a prompt has frozen of the document is read anew.
        """
        place = text.parts.index(text.holes[0])
        before, after = (
            "".join(part for part in parts if isinstance(part, str))
            for parts in (text.parts[:place], text.parts[place:])
        )
        if self.voice is None:
            ids = self._prefix_ids(before)
        else:
            ids = self.voice.infill(document, owner, refresh=True).opening(before, after).ids
        with self.prefixes.borrowed(ids, owner, self.model.config.canvas_length) as prefix:
            reused = len(prefix.ids)
            yield from prefix.extend(ids[reused:])
        return {"prefix": len(ids), "reused": reused}

    def _asked(self, request: wire.Fill) -> Turn:
        """How the checkpoint is spoken to, for a fill with a prompt."""
        assert isinstance(request.text, wire.MaskedText)
        if self.voice is None:
            raise no_instructions(request.model)
        if len(request.text.holes) != 1 or request.candidates != 1:
            asked = f"{len(request.text.holes)} holes and {request.candidates} candidates"
            raise EngineError("request", f"a fill with a prompt has one hole and one candidate, not {asked}")
        return self.voice.turn()

    def _voice(self) -> Voice | None:
        return self.template and Voice.of(self.template, self.tokenizer, self.model.config, self.context)

    def _prefix_ids(self, text: str) -> list[int]:
        return prefix_ids(self.tokenizer, text, self.model.config.bos_id, self.context)


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
