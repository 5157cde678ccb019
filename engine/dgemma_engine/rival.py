"""An autoregressive checkpoint for `dgemma_engine.compare`, run by transformers, which nothing else here imports."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from .errors import EngineError


class Rival:
    """An autoregressive checkpoint, run by transformers; unlike ours it encodes the prefix while the clock runs."""

    _loaded: ClassVar[dict[str, Any]] = {}

    def __init__(self, model: Any, ids: Tensor, tokens: int) -> None:
        self._model, self._ids, self._tokens = model, ids, tokens

    @classmethod
    def at(cls, name: str, prefix: list[int], device: torch.device, batch: int, tokens: int) -> Rival:
        from transformers import AutoModelForCausalLM

        if name not in cls._loaded:
            try:
                loaded: Any = AutoModelForCausalLM.from_pretrained(name, local_files_only=True, dtype=torch.bfloat16)
            except (OSError, ValueError) as error:
                said = str(error).splitlines()[0]
                raise EngineError("checkpoint", f"{name} is no autoregressive checkpoint here: {said}") from None
            cls._loaded[name] = loaded.to(device).eval()
        model = cls._loaded[name]
        return cls(
            model, torch.tensor([prefix] * batch, device=device) % model.config.get_text_config().vocab_size, tokens
        )

    def write(self) -> object:
        return self._model.generate(
            self._ids, max_new_tokens=self._tokens, min_new_tokens=self._tokens, do_sample=False, pad_token_id=0
        )
