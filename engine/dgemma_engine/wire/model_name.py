"""What a user writes to name a model: a checkpoint, and optionally `@` and the precision it is to run in."""

from __future__ import annotations

import re
from typing import Literal, get_args

import attrs

Precision = Literal["bf16", "fp8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""From the most exact to the smallest. `bf16` is short for unquantised: weights keep the floats they are stored in."""
AUTO = "auto"
"""The first of them that fits the free memory."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@attrs.frozen
class ModelName:
    """`name` is `nano`, a folder or a hub id such as `google/diffusiongemma-26B-A4B-it`; `str` gives the text back."""

    name: str
    precision: str = attrs.field(default=AUTO, validator=attrs.validators.in_((AUTO, *PRECISIONS)))

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Only a precision behind the last `@` counts: a path may hold an `@` of its own."""
        name, at, precision = text.rpartition("@")
        return cls(name, precision) if at and precision in (AUTO, *PRECISIONS) else cls(text)

    def __str__(self) -> str:
        # A folder that itself ends like a precision is only told from one by a suffix of ours.
        ambiguous = ModelName.parse(self.name).name != self.name
        return f"{self.name}@{self.precision}" if ambiguous or self.precision != AUTO else self.name

    @property
    def is_hub_id(self) -> bool:
        """Whether it has the form of a hub id; a folder of that name comes first."""
        return _HUB_ID.fullmatch(self.name) is not None
