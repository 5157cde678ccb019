"""The kernels run in Triton's interpreter here, on any machine; it has to be asked for before Triton is imported.

On a GPU `kernels.use` proves them before it lets a model run on them, and `bench/gpu.py` times what came of it.
"""

from __future__ import annotations

import os

import pytest

os.environ["TRITON_INTERPRET"] = "1"

pytest.importorskip("triton", reason="Triton is there on Linux only")


@pytest.fixture(autouse=True)
def own_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention's kernels are switched on by device, not by model: what is switched on here is nobody else's."""
    from dgemma_engine.kernels import families
    from dgemma_engine.model import attention

    monkeypatch.setattr(attention, "GATHERS", {})
    monkeypatch.setattr(families, "GATHERS", attention.GATHERS)
