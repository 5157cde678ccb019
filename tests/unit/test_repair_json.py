"""JSON repair: what is mended and how, what is left alone, and what is said about it."""

from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_lsp.syntax.repair.diagnosis import Diagnosis
from dgemma_lsp.syntax.repair.json import diagnose_json
from dgemma_lsp.text.edits import apply_edits

FOREVER = math.inf


def diagnosed(document: str, comments: bool = False) -> Diagnosis:
    return diagnose_json(document, comments, FOREVER)


def repaired(document: str, comments: bool = False) -> str:
    """The document as settled; itself when nothing is."""
    settled = diagnosed(document, comments).settled
    return apply_edits(document, settled.edits) if settled else document


PACKAGE = """{
  "name": "a",
  "scripts": {
    "build": "tsc",
    "test": "jest"
  },
  "files": [
    "lib",
    "src"
  ],
  "license": "MIT"
}
"""

DELETIONS = [
    (PACKAGE.replace('"scripts": {', '"scripts": '), "a `{` is missing here"),
    (PACKAGE.replace('"files": [', '"files": '), "a `[` is missing here"),
    (PACKAGE.replace('"jest"\n  }', '"jest"\n  '), "`{` opened here is never closed"),
    (PACKAGE.replace('"src"\n  ]', '"src"\n  '), "`[` opened here is never closed"),
    (PACKAGE.replace('"tsc",', '"tsc"'), "a comma is missing here"),
    (PACKAGE.replace('"build":', '"build"'), "a colon is missing here"),
    (PACKAGE.replace('"name"', 'name"'), "this string has no opening quote"),
    (PACKAGE.replace('"name"', '"name'), "this string is never closed"),
    (PACKAGE.replace('"tsc"', 'tsc"'), "this string has no opening quote"),
    (PACKAGE.replace('"tsc"', '"tsc'), "this string is never closed"),
    (PACKAGE.replace('"src"', '"src'), "this string is never closed"),
    (PACKAGE.removesuffix("}\n") + "\n", "`{` opened here is never closed"),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(("damaged", "message"), DELETIONS)
def test_a_deleted_character_comes_back(damaged, message, line_end):
    damaged = damaged.replace("\n", line_end)
    assert repaired(damaged) == PACKAGE.replace("\n", line_end)
    assert [fault.message for fault in diagnosed(damaged).faults] == [message]


@pytest.mark.parametrize(
    ("damaged", "mended"),
    [
        ("[1, 2,]", "[1, 2]"),
        ('{"a": 1,}', '{"a": 1}'),
        ('{\n  "a": [\n    1,\n  ],\n}\n', '{\n  "a": [\n    1\n  ]\n}\n'),
        ("[1,,2]", "[1,2]"),
        ('{"a": 1,, "b": 2}', '{"a": 1, "b": 2}'),
        ('{"a":: 1}', '{"a": 1}'),
        ('{\n  "a": 1\n}\n}\n', '{\n  "a": 1\n}\n'),
    ],
)
def test_what_is_too_many_goes(damaged, mended):
    assert repaired(damaged) == mended


@pytest.mark.parametrize(
    ("damaged", "mended"),
    [
        ('{"a": [1, {"b": "c"', '{"a": [1, {"b": "c"}]}'),
        ('{"a": [1, {"b": "c', '{"a": [1, {"b": "c"}]}'),
        ('{\n  "a": [\n    {\n      "b": 1', '{\n  "a": [\n    {\n      "b": 1\n    }\n  ]\n}'),
        ('{\n\t"a": [\n\t\t1\n', '{\n\t"a": [\n\t\t1\n\t]\n}'),
        ("[[[", "[[[]]]"),
        ("[" * 12, "[" * 12 + "]" * 12),
    ],
)
def test_what_is_open_at_the_end_is_closed(damaged, mended):
    assert repaired(damaged) == mended


ROWS = (
    '[{"id":1,"tags":["x"],"at":{"x":1,"y":2}},{"id":2,"tags":[],"at":{"x":3,"y":4}},'
    '{"id":3,"tags":["y"],"at":{"x":5,"y":6}}]'
)


@pytest.mark.parametrize("place", [place for place, mark in enumerate(ROWS) if mark in '{}[]",:' and 40 < place < 90])
def test_neighbours_tell_where_a_minified_file_is_broken(place):
    result = repaired(ROWS[:place] + ROWS[place + 1 :])
    assert result == ROWS


def test_several_faults_are_mended_at_once():
    damaged = PACKAGE.replace('"scripts": {', '"scripts": ').replace('"lib",', '"lib"').replace('"license"', 'license"')
    assert repaired(damaged) == PACKAGE
    assert len(diagnosed(damaged).faults) == 3


@pytest.mark.parametrize(
    "clean",
    [
        "",
        " \n",
        "\ufeff",
        "{}",
        "[]",
        "1",
        '"a"',
        "null",
        PACKAGE,
        "\ufeff" + PACKAGE,
        '{"a": 1, "a": 2}',
        '["\\ud800"]',
    ],
)
def test_clean_files_are_clean(clean):
    assert diagnosed(clean).clean
    assert diagnosed(clean, comments=True).clean


@pytest.mark.parametrize(
    "clean", ["{} // a", "/* a */ [1, // b\n]", '{"a": "// no comment", /* , */ "b": [1,],}', "// a\n{}\n"]
)
def test_comments_and_trailing_commas_are_fine_in_jsonc(clean):
    assert diagnosed(clean, comments=True).clean


def test_comments_survive_a_repair():
    damaged = '{\n  // the {first}\n  "a": 1 // one\n  "b": 2\n}\n'
    assert repaired(damaged, comments=True) == damaged.replace('"a": 1', '"a": 1,')


@pytest.mark.parametrize("document", [",,", "[,]", '{"a": 1,,}', "[/* a */,]"])
def test_a_comma_after_nothing_is_a_fault_in_jsonc(document):
    assert not diagnosed(document, comments=True).clean


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{} // a", "comments are not JSON"),
        ('{\n  /* a */ "a": 1,\n}', "comments are not JSON"),
        ('{"a": NaN}', "'NaN' is no value in JSON"),
        ("{'a': 1}", "double quotes"),
        ("{a: 1}", "double quotes"),
        ('["\\x"]', "an escape or a character"),
        ('["a\tb"]', "an escape or a character"),
        ("[012]", "no value in JSON"),
        ('{"a": 1}\n{"a": 2}\n', "several documents"),
        ('{"a": 1}{"a": 2}', "several documents"),
        ('{"a": 1}\n{"a": 2\n{"a": 3}\n', "several documents"),
        ("[[1]" * 100_000, "too large"),
        ("[" * 450 + ",", "nested too deeply"),
    ],
)
def test_other_faults_are_named_and_left_alone(document, reason):
    diagnosis = diagnosed(document)
    assert diagnosis.faults
    assert diagnosis.settled is None
    assert diagnosis.candidates == ()
    assert reason in diagnosis.reason


def test_no_container_is_made_up():
    assert diagnosed('{"a":{"b":1},"c":2},"d":3}').settled is None


def test_nothing_is_settled_where_readings_are_equally_good():
    diagnosis = diagnosed('{"a":1,"b":2]')
    assert diagnosis.settled is None
    assert diagnosis.reason
    assert len({apply_edits('{"a":1,"b":2]', one.edits) for one in diagnosis.candidates}) > 1


def test_what_is_open_at_the_end_is_closed_there_whatever_else_fits():
    diagnosis = diagnosed('{"a":{"b":1,"c":2,"d":3,"e":4}')
    assert diagnosis.settled == diagnosis.candidates[0]
    results = [apply_edits('{"a":{"b":1,"c":2,"d":3,"e":4}', one.edits) for one in diagnosis.candidates]
    assert results[0] == '{"a":{"b":1,"c":2,"d":3,"e":4}}'
    assert '{"a":{"b":1},"c":2,"d":3,"e":4}' in results


def test_no_repair_after_the_deadline():
    diagnosis = diagnose_json(PACKAGE.replace("{", "", 1), False, time.monotonic() - 1)
    assert diagnosis.faults
    assert diagnosis.settled is None
    assert "time" in diagnosis.reason


def test_what_cannot_be_read_in_time_is_left_alone():
    diagnosis = diagnosed("[[1]" * 500_000)
    assert diagnosis.clean
    assert "too large" in diagnosis.reason


def test_nesting_beyond_every_parser_is_left_alone():
    assert diagnosed("[" * 100_000).settled is None
    assert diagnosed('[{"a":' * 50_000).settled is None


def check_promises(document: str, comments: bool) -> None:
    diagnosis = diagnosed(document, comments)
    assert all(0 <= fault.start < fault.stop <= len(document) for fault in diagnosis.faults)
    assert len(diagnosis.candidates) <= 8
    assert [one.cost for one in diagnosis.candidates] == sorted(one.cost for one in diagnosis.candidates)
    assert diagnosis.settled in (None, *diagnosis.candidates[:1])
    assert diagnosis.clean or diagnosis.settled or diagnosis.reason
    for candidate in diagnosis.candidates:
        assert list(candidate.edits) == sorted(candidate.edits, key=lambda edit: edit.start)
        assert all(set(edit.text) <= set('{}[]",: \t\r\n') for edit in candidate.edits)
        assert diagnosed(apply_edits(document, candidate.edits), comments).clean


@given(st.text(alphabet='{}[]",:1a \n\\/*\ufeff\ud800\x00', max_size=40), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_text_gets_a_diagnosis_that_keeps_its_promises(document, comments):
    check_promises(document, comments)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(alphabet='ab, :{"', max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 2, "\t"]), st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_document_keeps_the_promises(value, indent, data):
    text = json.dumps(value, indent=indent)
    assert diagnosed(text).clean
    place = data.draw(st.integers(0, len(text) - 1))
    check_promises(text[:place] + text[place + data.draw(st.integers(0, 2)) :], comments=False)
