"""Reading a checkpoint folder in the Hugging Face layout, each matrix straight to its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from attrs import frozen
from torch import Tensor, nn

from .. import kernels
from ..errors import EngineError
from .adapters import Adapter, read_adapter
from .config import ModelConfig, read_config
from .diffusion_gemma import DiffusionGemma
from .grain import grain_for
from .joined import join_projections
from .packing import group_size
from .progress import Progress
from .quantized import DenseForm, Form, Quantized, QuantizedLinear, empty_bank, quantize
from .sources import BANKS, DENSE, Matrix, Plain, find_bank, find_matrix, refused
from .stored import Stored, read_tensors

Precision = Literal["bf16", "fp8", "int4"]
FORMS: dict[Precision, tuple[Form, DenseForm]] = {
    "bf16": ("plain", "plain"),
    "fp8": ("fp8", "fp8"),
    "int4": ("int4", "int8"),
}
"""Of the experts, which are nine tenths of the weights, and of the linear layers beside them (`sources.DENSE`). All
else is held in the model's dtype."""
IN_8_BITS = ("fp8", "int8")
DECODER = "model.decoder."
ENCODER_SCALAR = "model.encoder.language_model.layers.{}.layer_scalar"
STAGE = 1 << 26
"""Bytes that are read at once on the way to another device or dtype."""


def load_model(
    folder: Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] | None = None,
    precision: Precision | None = None,
    adapter: Path | None = None,
    dense: DenseForm | None = None,
) -> DiffusionGemma:
    """Load `folder` (config.json and safetensors, one file or an indexed set) for inference.

    `dtype` None keeps the stored one, bf16 where the checkpoint is quantised. `precision` None keeps experts and dense
    layers as they are stored (4-bit dense layers are widened); else they are widened or quantised on the way, see
    `FORMS`. `dense` says otherwise of the dense layers alone; where 8 bits are asked for, what is stored in 8 bits of
    either form stays in those. `adapter` is a folder with a LoRA in PEFT's format, which is merged before anything is
    quantised. Vision tensors are skipped unread. `on_progress` hears which share of the
    bytes is loaded. Beside the model one matrix is in memory at a time. Raises `EngineError("checkpoint")` naming the
    file, tensor or field that is wrong.
    """
    if not folder.is_dir():
        raise EngineError("checkpoint", f"{folder} is not a folder: name one with config.json and *.safetensors")
    config, tensors = read_config(folder), read_tensors(folder)
    with torch.device("meta"):
        model = DiffusionGemma(config)
    merged = None if adapter is None else read_adapter(adapter, model)
    try:
        plan = _plan(model, tensors)
        forms = FORMS[precision] if precision else (None, None)
        filling = _Filling(plan, Progress(plan.size, on_progress), dtype, torch.device(device), merged)
        filling.fill(model, forms[0], dense or forms[1])
    except EngineError as error:
        if error.code != "checkpoint" or str(error).startswith(str(folder.parent)):
            raise
        raise EngineError("checkpoint", f"{folder}: {error}") from None
    finally:
        for stored in tensors.values():
            stored.file.close()
    join_projections(model)
    model.grain = grain_for(torch.device(device), model.dtype)
    if kernels.usable(torch.device(device)):
        kernels.use(model)
    return model.eval().requires_grad_(False)


def stored_name(name: str) -> str:
    """Our parameter's name in the file: everything lives under the decoder but the encoder's layer scalars."""
    if name.endswith(".encoder_scalar"):
        return ENCODER_SCALAR.format(name.split(".")[1])
    return DECODER + name


@frozen
class _Plan:
    """What is to be read for each of our parameters: one matrix, or for a bank those of its experts, top to bottom."""

    dense: dict[str, Matrix]
    banks: dict[str, list[list[Matrix]]]

    @property
    def size(self) -> int:
        """Bytes."""
        banks = sum(matrix.size for bank in self.banks.values() for expert in bank for matrix in expert)
        return banks + sum(matrix.size for matrix in self.dense.values())

    @property
    def dtype(self) -> torch.dtype:
        """What is not quantised has: the embedding's."""
        embedding = self.dense["embed_tokens.weight"]
        return embedding.stored.dtype if isinstance(embedding, Plain) else torch.bfloat16


def _plan(model: DiffusionGemma, tensors: Mapping[str, Stored]) -> _Plan:
    plan, missing = _Plan({}, {}), []
    for name, value in model.state_dict().items():
        if name.rpartition(".")[2] in BANKS:
            count, rows, width = value.shape
            plan.banks[name], lacking = find_bank(tensors, stored_name(name), (count, rows, width))
            missing += lacking
        elif (found := find_matrix(tensors, stored_name(name), tuple(value.shape))) is None:
            missing.append(stored_name(name))
        else:
            plan.dense[name] = found
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise refused(f"the checkpoint lacks {', '.join(sorted(missing)[:3])}{more}")
    return plan


@frozen
class _Filling:
    """Gives parameters and buffers on the meta device their storage and their values."""

    plan: _Plan
    progress: Progress
    asked: torch.dtype | None
    device: torch.device
    adapter: Adapter | None

    def fill(self, model: DiffusionGemma, form: Form | None, dense: DenseForm | None) -> None:
        """Experts in `form` and dense layers in `dense`, each as it is stored where that is None."""
        unmerged = []
        for name, matrix in self.plan.dense.items():
            held: Form = (dense or matrix.form) if DENSE.fullmatch(name) else "plain"
            small = held in IN_8_BITS
            _place(model, name, self._in_8_bits(name, matrix, held) if small else self._wide(name, matrix))
            if small and matrix.form in IN_8_BITS:
                unmerged.append(name)
        for name, experts in self.plan.banks.items():
            _place(model, name, self._bank(experts, form or self._stored_form(experts)))
        if self.adapter is not None:
            self.adapter.finish(model, unmerged)

    def _dtype(self, matrix: Matrix) -> torch.dtype:
        return self.asked or (matrix.stored.dtype if isinstance(matrix, Plain) else self.plan.dtype)

    def _wide(self, name: str, matrix: Matrix) -> Tensor:
        dtype = self._dtype(matrix)
        if self._is_changed(name) or not isinstance(matrix, Plain):
            return self._merged(name, matrix, torch.float32 if self._is_changed(name) else dtype).to(dtype)
        return self._read(matrix, dtype)

    def _in_8_bits(self, name: str, matrix: Matrix, form: Form) -> QuantizedLinear:
        """In `form`, but for what is in 8 bits already: rounded a second time it would lose more and gain no room."""
        dtype = self._dtype(matrix)
        if matrix.form in IN_8_BITS:
            values, scales = (part.to(self.device) for part in matrix.parts())
            self.progress.add(matrix.size)
            return QuantizedLinear(values, scales.contiguous(), dtype)
        values, scales = quantize(self._merged(name, matrix, torch.float32), form)
        return QuantizedLinear(values, scales, dtype)

    def _is_changed(self, name: str) -> bool:
        return self.adapter is not None and name in self.adapter.decoder

    def _merged(self, name: str, matrix: Matrix, dtype: torch.dtype) -> Tensor:
        """The weight in floating point with what the adapter changes of it."""
        if isinstance(matrix, Plain):
            wide = self._read(matrix, matrix.stored.dtype).to(dtype)
        else:
            wide = self._widened(matrix, dtype)
            self.progress.add(matrix.size)
        change = None if self.adapter is None else self.adapter.change(name)
        return wide if change is None else wide + change.to(wide.device)

    def _read(self, matrix: Plain, dtype: torch.dtype) -> Tensor:
        out = torch.empty(matrix.shape, dtype=dtype, device=self.device)
        self._copy(matrix.stored, out)
        return out

    def _copy(self, stored: Stored, out: Tensor) -> None:
        """A tensor of any size, in stages where it does not go straight to its place."""
        straight = out.device.type == "cpu" and out.dtype == stored.dtype
        stage = max(1, STAGE * stored.rows // max(stored.size, 1))
        for first in range(0, stored.rows, stage):
            count = min(stage, stored.rows - first)
            place = out[first : first + count] if stored.shape else out
            if straight:
                stored.read_into(place, first)
            else:
                place.copy_(stored.read(first, count))
            self.progress.add(count * (stored.size // stored.rows))

    def _stored_form(self, experts: list[list[Matrix]]) -> Form:
        forms: set[Form] = {matrix.form for expert in experts for matrix in expert}
        groups = {matrix.group for expert in experts for matrix in expert}
        # Where experts differ, which no known checkpoint does, all are widened.
        return forms.pop() if len(forms) == len(groups) == 1 else "plain"

    def _bank(self, experts: list[list[Matrix]], form: Form) -> Tensor | Quantized:
        rows, width = sum(matrix.shape[0] for matrix in experts[0]), experts[0][0].shape[1]
        shape = (len(experts), rows, width)
        dtype = self._dtype(experts[0][0])
        if form == "plain":
            bank = torch.empty(shape, dtype=dtype, device=self.device)
        else:
            group = experts[0][0].group if experts[0][0].form == form else group_size(width)
            bank = empty_bank(form, shape, group, dtype, self.device)
        for expert, matrices in enumerate(experts):
            first = 0
            for matrix in matrices:
                self._put(bank, expert, first, matrix, form)
                self.progress.add(matrix.size)
                first += matrix.shape[0]
        return bank

    def _put(self, bank: Tensor | Quantized, expert: int, first: int, matrix: Matrix, form: Form) -> None:
        if isinstance(bank, Tensor):
            place = bank[expert, first : first + matrix.shape[0]]
            if isinstance(matrix, Plain) and place.device.type == "cpu" and place.dtype == matrix.stored.dtype:
                matrix.read_into(place)
            else:
                place.copy_(self._widened(matrix, bank.dtype))
        elif matrix.form == form:
            bank.put(expert, first, matrix.parts())
        else:
            bank.put(expert, first, quantize(self._widened(matrix, torch.float32), form))

    def _widened(self, matrix: Matrix, dtype: torch.dtype) -> Tensor:
        """Arithmetic is the device's: a GPU quantises a checkpoint in the time that it takes to read it."""
        return matrix.widened(tuple(part.to(self.device) for part in matrix.parts()), dtype)


def _place(model: nn.Module, name: str, value: Tensor | Quantized | QuantizedLinear) -> None:
    """Put `value` where `model` has a tensor without storage, or a linear layer that has one."""
    owner, _, last = name.rpartition(".")
    if isinstance(value, QuantizedLinear):
        owner, _, last = owner.rpartition(".")
        model.get_submodule(owner).add_module(last, value)
        return
    module = model.get_submodule(owner)
    if isinstance(value, Quantized):
        delattr(module, last)
        module.add_module(last, value)
    elif last in module._buffers:
        module.register_buffer(last, value)
    else:
        module.register_parameter(last, nn.Parameter(value, requires_grad=False))


__all__ = ["ModelConfig", "Precision", "load_model", "stored_name"]
