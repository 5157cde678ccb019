"""What two texts have in common at their ends."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.text.ends import common_end, common_start

texts = st.text("ab🙂", max_size=12)


@given(texts, texts)
def test_no_more_and_no_less_than_is_common(one: str, other: str) -> None:
    pairs: list[tuple[Any, Any]] = [(one, other), (one.encode(), other.encode())]
    for first, second in pairs:
        start = common_start(first, second)
        assert first[:start] == second[:start]
        assert first[start : start + 1] != second[start : start + 1] or start == min(len(first), len(second))
        most = min(len(first), len(second)) - start
        end = common_end(first, second, most)
        assert end <= most
        assert first[len(first) - end :] == second[len(second) - end :]
        if end < most:
            assert first[len(first) - end - 1] != second[len(second) - end - 1]
