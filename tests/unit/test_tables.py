"""The tables of the model card, from figures made up here."""

from __future__ import annotations

import pytest

from dgemma_engine.train.tables import history_table, quality_table, study_tables


def test_quality_stands_beside_the_former_checkpoint() -> None:
    own = {"task": "closers", "exact": 97.5, "first_line": 98.0, "empty": 0.5, "passes": 2}
    rows = [{**own, "column": "own rule"}, {"task": "closers", "column": "ranked", "exact": 99.0}]
    former = [{"task": "closers", "column": "ranked", "exact": 90.0}]
    last = quality_table(rows, former).splitlines()[-1]
    assert last == "| closers |  |  | 97.5 | 99.0 (90.0) | 98.0 | 0.5 | 2 |"


@pytest.mark.parametrize("evaluated", [True, False])
def test_history_has_a_row_for_each_quarter(evaluated: bool) -> None:
    history = {
        "tokens": 40_000_000,
        "history": [{"tokens": n * 1_000_000, "canvas": 3 - n / 20, "causal": 2.0} for n in range(1, 41)],
        "evaluations": [{"tokens": n * 10_000_000, "exact": {"closers": 10.0 * n}} for n in (1, 2, 4)],
    }
    if not evaluated:
        history["evaluations"] = []
    lines = history_table(history).splitlines()
    assert len(lines) == 6
    assert lines[2].startswith("| 10.0 | 2.50 | 2.00 |")
    if evaluated:
        assert [line.split("|")[4].strip() for line in lines[2:]] == ["10", "20", "", "40"]


def test_studies_are_a_table_each() -> None:
    rows = [
        {"setting": "2 passes", "task": "closers", "exact": 90.4, "busy": 61.2},
        {"setting": "4 passes", "task": "closers", "exact": 91.0},
        {"setting": "4 passes", "task": "words", "exact": 20.0, "mean_passes": 1.26},
    ]
    lines = study_tables({"Passes": rows}).splitlines()
    assert lines[0] == "### Passes"
    assert lines[3:] == ["| 2 passes | 90 · 61 ms |  |", "| 4 passes | 91 | 20 · 1.3 passes |"]
