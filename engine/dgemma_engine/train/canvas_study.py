"""Single canvases under the studies' control: what the engine decides by itself is given here."""

from __future__ import annotations

import torch
from attrs import define, evolve, frozen
from torch import Tensor

from ..canvas import Canvas, prefix_ids
from ..draws import SeededDraws
from ..engine import Engine
from ..model import KVCache
from ..sampler import Denoising
from .tasks import Item


@frozen
class End:
    """The hole's text by the argmax of the last pass, and by a sample of it."""

    argmax: str
    sample: str


@define
class RememberingDraws:
    """Seeded draws that keep the last sample of every free row."""

    draws: SeededDraws
    sampled: Tensor | None = None

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        return self.draws.noise(shape)

    def sample(self, probabilities: Tensor) -> Tensor:
        self.sampled = self.draws.sample(probabilities)
        return self.sampled


@torch.inference_mode()
def fill_exactly(engine: Engine, item: Item, passes: int, seed: int, typed: int = 0) -> End:
    """Fill a hole of the true length on one canvas; the last `typed` tokens before it are pinned on the canvas."""
    canvas, cache = _laid(engine, item, item.tokens, typed)
    draws = RememberingDraws(SeededDraws(engine.model.config.vocab_size, engine.model.device, seed))
    forbidden = torch.zeros(engine.model.config.vocab_size, dtype=torch.bool)
    forbidden[[id_ for id_ in engine.tokenizer.control_ids if id_ < len(forbidden)]] = True
    free = torch.tensor([canvas.free])
    run = Denoising(
        model=engine.model,
        cache=cache,
        canvas=torch.tensor([canvas.ids]),
        free=free,
        kept=torch.zeros_like(free),
        schedule=evolve(engine.schedule, passes=passes),
        draws=draws,
        forbidden=forbidden,
        signal_at_pinned=engine.model.config.traits.pinned_signal,  # type: ignore[arg-type]
        filler=engine.model.config.traits.filler_id,
    )
    state = run.advance()
    for _ in range(passes - 1):
        if bool(state.done.all()):
            break
        state = run.advance()
    assert draws.sampled is not None
    return End(engine.tokenizer.decode(state.readout[free].tolist()), engine.tokenizer.decode(draws.sampled.tolist()))


@torch.inference_mode()
def canvas_confidence(engine: Engine, item: Item, candidates: tuple[str, ...]) -> list[float]:
    """Mean log-probability of each candidate's tokens in a hole of its length, on the first pass from noise."""
    scores = []
    draws = SeededDraws(engine.model.config.vocab_size, engine.model.device, 0)
    for candidate in candidates:
        ids = torch.tensor(engine.tokenizer.encode(candidate))
        canvas, cache = _laid(engine, item, len(ids), 0)
        rows, free = torch.tensor([canvas.ids]), torch.tensor([canvas.free])
        rows = torch.where(free, draws.noise(tuple(rows.shape)), rows)
        signal = engine.model.embed(rows) * ~free[..., None]
        logits = engine.model.logits(engine.model.decode(rows, cache, signal)[free])
        scores.append(logits.log_softmax(-1).gather(1, ids[:, None]).mean().item())
    return scores


def _laid(engine: Engine, item: Item, slots: int, typed: int) -> tuple[Canvas, KVCache]:
    """A canvas with the hole on it, and the cache of the text before."""
    config = engine.model.config
    ids = prefix_ids(engine.tokenizer, item.prefix, config.bos_id, engine.context)
    typed = min(typed, len(ids) - 1, config.canvas_length // 2)
    cache = engine.model.new_cache(len(ids) + config.canvas_length)
    engine.model.encode(torch.tensor([ids[: len(ids) - typed]]), cache)
    canvas = Canvas(config.canvas_length)
    canvas.pin(ids[len(ids) - typed :])
    canvas.open(slots, [], None)
    canvas.pin(engine.tokenizer.encode(item.suffix))
    return canvas, cache
