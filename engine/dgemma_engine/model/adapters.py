"""LoRA adapters in PEFT's format, merged while the checkpoint is loaded.

Encoder and decoder share their weights, but a trainer that wraps modules by name gives each side an adapter of its
own: with Unsloth's defaults they differ, with a pattern that names the decoder the encoder has none. The decoder's is
merged into the shared weight. What the encoder's differs by is kept beside it, low-rank, for the encoder's rows.
A weight that the files hold in 8 bits is merged with nothing, and gets all changes beside it: most of what an adapter
changes is less than half a step of those, and rounding the sum would take it back.
Source: peft.tuners.lora.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from attrs import define, frozen
from torch import Tensor, nn

from ..errors import EngineError
from .diffusion_gemma import DiffusionGemma
from .quantized import QuantizedLinear
from .sided import SidedLinear
from .stored import Stored, TensorFile

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])(?:\.default)?\.weight")
DECODER, ENCODER = "model.decoder.", "model.encoder.language_model."
UNKNOWN = {
    "use_dora": "DoRA",
    "fan_in_fan_out": "transposed weights",
    "modules_to_save": "modules that are saved whole",
    "target_parameters": "adapters of expert parameters",
    "layer_replication": "replicated layers",
    "lora_bias": "biases",
}
"""Fields of the config that ask for more than two matrices a weight."""


@frozen
class LowRank:
    """A change of a weight `[out, in]`: `scale · up @ down`, `down` `[r, in]`, `up` `[out, r]`."""

    down: Tensor
    up: Tensor
    scale: float

    def dense(self) -> Tensor:
        return self.scale * (self.up.float() @ self.down.float())


@define
class Adapter:
    """The changes of each of our parameters by name, on both sides."""

    decoder: dict[str, LowRank]
    encoder: dict[str, LowRank]

    def change(self, name: str) -> Tensor | None:
        """What is added to the shared weight `name`, fp32."""
        one = self.decoder.get(name)
        return None if one is None else one.dense()

    def finish(self, model: DiffusionGemma, unmerged: Collection[str] = ()) -> None:
        """Give the encoder's rows what their own adapter does otherwise than the decoder's.

        The weights named in `unmerged` have none of the changes yet.
        """
        for name in sorted({*self.decoder, *self.encoder}):
            mine, other = self.encoder.get(name), self.decoder.get(name)
            every = _difference(other, None) if name in unmerged and other is not None else None
            # Self-conditioning is the decoder's alone.
            same = name.startswith("self_conditioning.") or _same(mine, other)
            encoder = None if same else _difference(mine, other)
            if every is None and encoder is None:
                continue
            owner, _, last = name.removesuffix(".weight").rpartition(".")
            module = model.get_submodule(owner)
            linear = module.get_submodule(last)
            assert isinstance(linear, nn.Linear | QuantizedLinear)
            module.add_module(last, SidedLinear(linear, every, encoder, model.sides))


def _same(one: LowRank | None, other: LowRank | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.scale == other.scale and torch.equal(one.down, other.down) and torch.equal(one.up, other.up)


def _difference(mine: LowRank | None, other: LowRank | None) -> tuple[Tensor, Tensor]:
    """`down` `[r, in]` and `up` `[out, r]` of `mine - other`, fp32."""
    signed = [(one, sign) for one, sign in ((mine, 1.0), (other, -1.0)) if one is not None]
    down = torch.cat([one.down.float() for one, _ in signed])
    return down, torch.cat([sign * one.scale * one.up.float() for one, sign in signed], dim=1)


def read_adapter(folder: Path, model: DiffusionGemma) -> Adapter:
    """The adapter in `folder` for `model`, which may be on the meta device. Raises `EngineError("checkpoint")`."""
    config = _config(folder)
    for field, what in UNKNOWN.items():
        if config.get(field):
            raise _refused(folder, f"{field} asks for {what}, which is not merged")
    if config.get("bias", "none") != "none":
        raise _refused(folder, f"bias is {config['bias']!r}; this model has none")
    path = folder / WEIGHTS
    if not path.is_file() and any(folder.glob("*.bin")):
        raise _refused(folder, "it holds a pickle that can run code; save it as safetensors")
    file = TensorFile(path)
    try:
        pairs = _pairs(folder, file.tensors())
        sides: dict[str, dict[str, LowRank]] = {DECODER: {}, ENCODER: {}}
        for module, (down, up) in pairs.items():
            side = next((side for side in sides if module.startswith(side)), None)
            name = module.removeprefix(side or "") + ".weight"
            target = dict(model.named_parameters()).get(name)
            if side is None or target is None or target.dim() != 2:
                raise _refused(folder, f"{module} is no linear layer of the text model")
            if (up.shape[0], down.shape[1]) != tuple(target.shape) or up.shape[1] != down.shape[0]:
                raise _refused(
                    folder, f"{module} changes a weight of {[up.shape[0], down.shape[1]]}, ours is {list(target.shape)}"
                )
            sides[side][name] = LowRank(down.read(), up.read(), _scale(folder, config, module, down.shape[0]))
    finally:
        file.close()
    return Adapter(sides[DECODER], sides[ENCODER])


def _pairs(folder: Path, tensors: Iterable[Stored]) -> dict[str, tuple[Stored, Stored]]:
    parts: dict[str, dict[str, Stored]] = {}
    for stored in tensors:
        found = NAME.fullmatch(stored.name)
        if found is None:
            raise _refused(folder, f"{stored.name} is not a LoRA matrix of a linear layer")
        if len(stored.shape) != 2 or stored.kind not in ("BF16", "F16", "F32"):
            raise _refused(folder, f"{stored.name} is {stored.kind} {list(stored.shape)}, not a matrix of floats")
        parts.setdefault(found["module"], {})[found["part"]] = stored
    if not parts:
        raise _refused(folder, "it changes nothing")
    alone = [module for module, pair in parts.items() if len(pair) != 2]
    if alone:
        raise _refused(folder, f"{alone[0]} has only one of lora_A and lora_B")
    return {module: (pair["A"], pair["B"]) for module, pair in parts.items()}


def _scale(folder: Path, config: dict[str, Any], module: str, rank: int) -> float:
    """alpha / r, or alpha / √r with rank-stabilised adapters; patterns override alpha for the modules they match."""
    alpha = config.get("lora_alpha")
    for pattern, own in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = own
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise _refused(folder, f"lora_alpha is {alpha!r:.60}, not a number")
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _refused(folder, f"it has no {CONFIG}") from None
    except (OSError, ValueError) as error:
        raise _refused(folder, f"{CONFIG} cannot be read ({error})") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _refused(folder, f"{CONFIG} is not that of a LoRA")
    return config


def _refused(folder: Path, why: str) -> EngineError:
    return EngineError("checkpoint", f"the adapter in {folder} cannot be merged: {why}")
