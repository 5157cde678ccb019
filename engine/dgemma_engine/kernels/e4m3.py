"""Numbers in e4m3 as kernels read them: by the device's own instructions, or with their bits put into place."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CONVERTS = (8, 9)
"""The least compute capability whose instructions widen e4m3."""


def readable(numbers: Tensor) -> Tensor:
    """`numbers` as `read` takes them: e4m3 as bytes where the device cannot widen it, all else as it is."""
    if numbers.dtype != torch.float8_e4m3fn or converts(numbers.device):
        return numbers
    return numbers.view(torch.uint8)


def converts(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= CONVERTS


@triton.jit
def read(at, mask):
    """The numbers at `at`, zeros outside of `mask`: in their own dtype, or in fp32 where they are the bytes of e4m3."""
    if at.dtype.element_ty == tl.uint8:
        bits = tl.load(at, mask=mask, other=0).to(tl.int32)
        # Exponent and fraction where fp32 has them; its exponents count from 127, those of e4m3 from 7.
        numbers = (((bits & 128) << 24) | ((bits & 127) << 20)).to(tl.float32, bitcast=True) * 1.329227995784916e36
    else:
        numbers = tl.load(at, mask=mask, other=0.0)
    return numbers
