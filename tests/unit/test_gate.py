"""The gate: what an edit does to the syntax of a document."""

from __future__ import annotations

import itertools
import json
import random
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_lsp.syntax import gate as gate_module
from dgemma_lsp.syntax.gate import Gate
from dgemma_lsp.syntax.languages import LANGUAGES
from dgemma_lsp.syntax.verdicts import Judgement, Verdict

CURSOR = "‸"
STDLIB = Path(sysconfig.get_path("stdlib"))
GATE = Gate(seconds=30)


def typed(language: str, place: str, text: str, gate: Gate = GATE) -> Verdict:
    """The verdict on typing `text` at the cursor of `place`."""
    at = place.index(CURSOR)
    return gate.verdict(language, place.replace(CURSOR, ""), at, at, text)


CLEAN = [
    ("python", "def f():\n    x = ‸\n    return x\n", "foo(a)"),
    ("python", "foo(‸)\n", "a, b"),
    ("python", "foo(‸\n", "a, b)"),
    ("python", "foo(\n    a,\n    ‸\nx = 1\n", "b,"),  # still waits for the closer it waited for
    ("python", "x = = 1\ny = ‸\n", "2"),  # somebody else's error
    ("python", "class A:\n    def f(self):\n        pass\n\n    ‸\n", "def g(self):\n        pass"),
    ("python", "s = 'it‸'\n", "em"),
    ("python", "# ‸\n", "(unbalanced in a comment"),
    ("python", "try:\n    a\n‸\nb = 1\n", "except E:\n    c"),
    ("json", '{"a": ‸}', "1"),
    ("json", "‸", '{"a": [1, 2]}'),
    ("json", '{"a": 1‸\n "b": 2}', ","),
    ("jsonc", '{"a": 1‸\n}', ", // the last"),
    ("jsonc", '{"a": [1, 2‸]}', ", /* trailing */"),
    ("markdown", "a\n\n‸\n\n# b\n", "```py\nx = (\n```"),
    ("markdown", "a\n\n‸\nx\n```\n\n# b\n", "```py"),  # the opening line of a fence whose end is there
    ("markdown", "a ‸ b\n", "`code` and [a link](https://example.org/(x))"),
    ("markdown", "a\n\n‸\n|---|---|\n| 1 | 2 |\n", "| a | b |"),
    ("html", "<ul>\n‸\n</ul>", "<li>a\n<li>b"),
    ("html", "<p>a‸</p>", "<br>"),
    ("javascript", "f(‸);", "`a ${b}`"),
    ("javascriptreact", "x = <div>‸</div>;", "<b>y</b>"),
    ("typescript", "let a‸ = 1;", ": Map<string, number[]>"),
    ("typescriptreact", "x = <div>‸</div>;", "<b/>"),
    ("rust", "fn f<'a>(x: ‸) {}", "&'a str"),
    ("go", "package a\n\nfunc f() {\n\t‸\n}\n", "for i := range 3 {\n\t}"),
    ("c", "#ifdef A\nint x[] = {\n#endif\n‸};\n", "1, 2"),
    ("c", "int f(void) {\n  ‸\n}\n", "SOME_MACRO(x)\n  return 1;"),
    ("cpp", "class EXPORT_API A ‸;\n", ": public B { int x; }"),
    ("java", "class A { ‸ }", "int f() { return 1; }"),
    ("css", "a { ‸ }", "color: red;"),
    ("css", "‸\n", "@container style(--a: b) { a { color: red; } }"),
    ("shellscript", "case $1 in\n‸\nesac\n", "a) echo a ;;"),
    ("yaml", "a:\n  ‸\n", "b: [1, 2]"),
    ("toml", "[a]\n‸\n", 'b = "c"'),
]

INCOMPLETE = [
    ("python", "def f():\n    x = ‸\n    return x\n", "foo(a, [b", "[b"),
    ("python", "‸\n", "def f():", "def f():"),
    ("python", "‸\nx = 1\n", "try:\n    a", "try:"),
    ("python", "x = ‸\n", "a +", "a +"),
    ("python", "x = ‸\ny = 1\n", 'f("abc', '"'),
    ("python", "def f():\n    ‸\n    return 1\n", '"""What', '"""'),
    ("json", '{"a": ‸}', '{"b": [1, "c', "c"),
    ("json", '{"a": 1‸}', ', "b"', '"b"'),
    ("markdown", "a\n\n‸\n\n# b\n", "```py\nx", "```"),
    ("markdown", "a ‸b `c` d\n", "`x", "`"),
    ("markdown", "a ‸\n\nb\n", "[x](http", "]("),
    ("markdown", "‸\n\nb\n", "<!-- a", "<!--"),
    ("html", "<div>‸</div>", "<b>x", "<b>"),
    ("javascript", "function f() {\n  ‸\n}\n", "if (a) {\n    g(", "{"),
    ("typescriptreact", "x = (\n  ‸\n);", "<div>", "<div>"),
    ("rust", "fn main() {\n    ‸\n}\n", "match x {\n        A =>", "{"),
    ("go", "package a\n\n‸\n", "func f() {", "{"),
    ("c", "‸\nint x;\n", "/* what", "/*"),
    ("c", "‸\nint x;\n", "#ifdef A", "#ifdef"),
    ("cpp", "int f() {\n  ‸\n}\n", "return a.b(", "("),
    ("java", "class A {\n  ‸\n}\n", "void f() {", "{"),
    ("css", "‸\n\nb { c: d }\n", "a { color:", "{"),
    ("shellscript", "‸\n\necho a\n", "if true; then", "if"),
    ("toml", "[a]\n‸\n[c]\n", "b = [1, ", "["),
    ("yaml", "‸\nb: c\n", "a: [1, ", "["),
]

BROKEN = [
    ("python", "def f():\n    x = ‸\n    return x\n", "foo(a]", "]"),
    ("python", "foo(‸)\n", "a)", "a)"),
    ("python", "x = 1\n‸\ny = 2\n", "  z = 3", "z"),
    ("python", "def f():\n    a = 1\n‸    b = 2\n", "  z = 3\n", "z"),
    ("python", "if a:\n    b = 1\n‸\nc = 2\n", "else if d:", "if"),
    ("json", '{"a": ‸}', "01", "01"),
    ("json", '{"a": 1‸\n}', " // no", "//"),
    ("json", "{}‸", " {}", "{}"),
    ("json", '{"a": 1,\n‸\n "b": 2}', '"c": 1', '"c"'),
    ("json", '{"a": 1,\n‸\n "b": 2}', "'c': 1,", "'c'"),
    ("json", '["a‸"]', "\n", "\n"),
    ("jsonc", '{"a": 1‸\n}', " }", "}"),
    ("markdown", "a\n\n‸| a | b |\n|---|---|\n", "foo | ", "foo"),
    ("html", "<div>‸</div>", "<p>x</div>", "</div>"),
    ("html", "<div>‸</div>", "</section>", "</section>"),
    ("javascript", "function f() {‸\n}\n", " a }", "}"),
    ("typescriptreact", "x = <div>‸</div>;", "<b>x</i>", "</i>"),
    ("rust", "fn main() {\n    ‸\n}\n", "let x = vec![1, 2};", "}"),
    ("go", "package a\n\nvar x = ‸\n", "f(1, 2))", ")"),
    ("c", "int f(void) {\n  ‸\n}\n", "return (1;", ";"),
    ("cpp", "int f() {\n  ‸\n}\n", "a.b(c;", ";"),
    ("java", "class A {\n  ‸\n}\n", "int f() { return 1; } }", "}"),
    ("css", "a { ‸ }", "color: red; }", "}"),
    ("shellscript", "if a; then\n  b‸\nfi\n", "\nfi", "fi"),
    ("toml", "[a]\n‸\n", "b = 1]", "]"),
    ("yaml", "a:\n  b: c\n‸\n", "d: [1, 2}", "}"),
]


@pytest.mark.parametrize(("language", "place", "text"), CLEAN)
def test_clean(language, place, text):
    verdict = typed(language, place, text)
    assert verdict.judgement is Judgement.CLEAN, verdict
    assert (verdict.spans, verdict.places, verdict.reason) == ((), (), "")
    assert verdict.allows(unfinished=False)


@pytest.mark.parametrize(("language", "place", "text", "opener"), INCOMPLETE)
def test_incomplete(language, place, text, opener):
    verdict = typed(language, place, text)
    assert verdict.judgement is Judgement.INCOMPLETE, verdict
    assert verdict.allows(unfinished=True)
    assert not verdict.allows(unfinished=False)
    assert opener in "".join(text[begin:end] for begin, end in verdict.spans)
    if verdict.completion:
        assert not typed(language, place, text + verdict.completion).broken


@pytest.mark.parametrize(("language", "place", "text", "culprit"), BROKEN)
def test_broken(language, place, text, culprit):
    verdict = typed(language, place, text)
    assert verdict.judgement is Judgement.BROKEN, verdict
    assert not verdict.allows(unfinished=True)
    assert culprit in "".join(text[begin:end] for begin, end in verdict.spans)
    assert verdict.reason


@pytest.mark.parametrize(
    ("place", "text", "reason"),
    [
        ("x = ‸\n", "foo(a]", "`]` cannot stand after `a`"),
        ("x = ‸\ny = 1\n", "foo(a", "`(` opened here is never closed"),
        ("foo(‸)\n", "a)", "it does not join what follows: `)` after `)`"),
        ("‸\n", "def f():", "it leaves a block without a statement"),
        ("x = 1\n‸\n", "  y = 2", "it leaves odd indentation"),
    ],
)
def test_a_reason_is_one_line_for_people(place, text, reason):
    assert typed("python", place, text).reason == reason


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("text", "judgement"),
    [("y = 2\n    z = 3", "clean"), ("if a:\n        y = 2", "clean"), ("if a:\n  y\n    z", "broken")],
)
def test_every_line_end_is_one(newline, text, judgement):
    place = f"def f(a):\n    x = 1\n    {CURSOR}\n    return x\n"
    verdict = typed("python", place.replace("\n", newline), text.replace("\n", newline))
    assert verdict.judgement.value == judgement


def test_an_edit_may_replace_text():
    document = "def f(a):\n    return [a]\n"
    start = document.index("[a]")

    def replaced(text: str) -> Judgement:
        return GATE.verdict("python", document, start, start + 3, text).judgement

    assert replaced("{a: [a]}") is Judgement.CLEAN
    assert replaced("[a]]") is Judgement.BROKEN
    assert replaced("[a}") is Judgement.BROKEN
    assert replaced("") is Judgement.CLEAN


def test_what_an_edit_keeps_is_not_judged():
    document = "x = (1\ny = foo\n"
    start = document.index("foo")
    assert GATE.verdict("python", document, start, start + 3, "foo").clean
    # The typed word is part of the edit, the error before it is not.
    assert GATE.verdict("python", document, start, start + 3, "foobar").clean
    verdict = GATE.verdict("python", "x = foo\n", 4, 7, "foo + bar]")
    assert verdict.broken
    assert verdict.spans == ((3, 10),)


def test_a_language_without_a_grammar_is_ungated():
    verdict = typed("cobol", "‸", "x")
    assert (verdict.judgement, verdict.reason) == (Judgement.UNGATED, "no grammar reads cobol")
    assert verdict.allows(unfinished=False)


def test_a_grammar_that_is_not_installed_is_ungated(monkeypatch):
    monkeypatch.setattr("dgemma_lsp.syntax.trees.languages.load", lambda grammar: None)
    verdict = typed("python", "‸", "x", Gate())
    assert (verdict.judgement, verdict.reason) == (Judgement.UNGATED, "the grammar for python is not installed")


def test_a_document_that_takes_too_long_is_ungated():
    verdict = typed("python", "‸" + "f(x)[y] = {z: 1}\n" * 10_000, "x = 1\n", Gate(seconds=0))
    assert (verdict.judgement, verdict.reason) == (Judgement.UNGATED, "the document takes too long to parse")


def test_a_document_too_large_is_judged_by_a_window(monkeypatch):
    monkeypatch.setattr(gate_module, "LARGEST", 2_000)
    monkeypatch.setattr(gate_module, "WINDOW", 500)
    body = "def f(a):\n    return [a]\n\n\n"
    document = "x = (\n" + body * 100
    at = document.index("[a]", 1_500) + 2
    assert GATE.verdict("python", document, at, at, ", a") == Verdict(Judgement.CLEAN, windowed=True)
    verdict = GATE.verdict("python", document, at, at, ", a)")
    assert verdict.broken
    assert verdict.windowed
    assert verdict.spans == ((0, 4),)
    assert all(at - 500 <= start <= stop <= at + 504 for start, stop in verdict.places)
    assert not GATE.verdict("python", "[1]\n", 2, 2, ", 2").windowed


@pytest.mark.parametrize("before", ["", "é", "🎉" * 3, "\ud83c", "a\u2028b", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_offsets_count_characters(before, newline):
    document = f"# {before}{newline}x = y{newline}z = 1{newline}"
    at = document.index("y")
    text = f"f('{before}'] + "
    verdict = GATE.verdict("python", document, at, at, text)
    assert verdict.broken
    assert verdict.spans == ((0, len(text)),)
    edited = document[:at] + text + document[at:]
    assert [edited[begin:end] for begin, end in verdict.places] == [f"= {text}y{newline}z"]


PIECES = st.sampled_from(
    [
        "(", ")", "[", "]", "{", "}", "<", ">", "</", "<!--", "-->", '"', "'", "`", "```", '"""', "/*", "*/", "//", "#",
        "\\", "\n", "\r\n", "\r", "\n\n", "  ", "\t", " ", "a", "b1", "0", "1.5", "=", ":", ",", ";", "=>", "->", "@",
        "def f():", "if", "fi", "do", "case", "esac", "#if", "#endif", "|---|---|", "| a |", "~~~", "é", "🎉", "\ud83c",
        "\u2028", "\x0c", "\x00", "\ufeff", "<p>", "</p>", "${", "f'{", "<<EOF\n", "- ", "&", "*", "\\u12",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=14).map("".join)


@given(st.sampled_from(sorted(LANGUAGES)), TEXTS, TEXTS, TEXTS, TEXTS)
@settings(max_examples=400)
def test_any_edit_of_any_text_has_a_verdict(language, before, old, text, after):
    document = before + old + after
    verdict = GATE.verdict(language, document, len(before), len(before) + len(old), text)
    assert verdict.judgement is not Judgement.UNGATED
    edited = len(document) - len(old) + len(text)
    for spans, end in ((verdict.spans, len(text)), (verdict.places, edited)):
        assert all(0 <= begin <= stop <= end for begin, stop in spans)
        assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))
    assert bool(verdict.spans) == bool(verdict.reason) == (not verdict.clean)
    assert GATE.verdict(language, document, len(before), len(before) + len(old), old) == Verdict(Judgement.CLEAN)


@given(st.sampled_from(sorted(LANGUAGES)), TEXTS, TEXTS, TEXTS)
@settings(max_examples=100)
def test_a_verdict_does_not_depend_on_what_was_judged_before(language, before, text, after):
    gate = Gate(seconds=30)
    gate.warm(language, before + after)
    for other in (before, before + text, after + before):
        gate.verdict(language, other, len(other), len(other), text)
    at = len(before)
    fresh = Gate(seconds=30).verdict(language, before + after, at, at, text)
    assert gate.verdict(language, before + after, at, at, text).judgement is fresh.judgement


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
        max_leaves=6,
    ),
    st.data(),
)
@settings(max_examples=150)
def test_strict_json_stays_strict(value, data):
    document = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    start = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(start, len(document)))
    text = data.draw(st.text(alphabet='{}[]":,1-.e\\u0 \n/tnf', max_size=4))
    verdict = GATE.verdict("json", document, start, end, text)
    edited = document[:start] + text + document[end:]
    try:
        json.loads(edited, parse_constant=lambda constant: 1 / 0)
    except (json.JSONDecodeError, ZeroDivisionError):
        assert verdict.judgement in (Judgement.BROKEN, Judgement.INCOMPLETE)
    else:
        assert verdict.clean


def stdlib_files() -> list[Path]:
    rng = random.Random(4)
    found = sorted(
        path for path in STDLIB.glob("*/*.py") if "test" not in path.parts[-2] and 500 < path.stat().st_size < 20_000
    )
    return rng.sample(
        [path for path in found if "lib2to3" not in path.parts and "packages" not in str(path.parent)], 25
    )


@pytest.mark.parametrize("path", stdlib_files(), ids=lambda path: "/".join(path.parts[-2:]))
def test_the_true_text_of_a_sound_file_is_clean(path):
    text = path.read_text(encoding="utf-8")
    rng = random.Random(path.name)
    for _ in range(12):
        start = rng.randrange(len(text))
        end = min(len(text), start + rng.choice((1, 10, 60, 300)))
        verdict = GATE.verdict("python", text[:start] + text[end:], start, start, text[start:end])
        assert verdict.clean, (start, end, verdict)


@pytest.mark.parametrize(
    ("language", "document"),
    [
        ("json", "[" + ", ".join(map(str, range(40_000))) + "]"),
        ("javascript", "x = [" + "f(1), " * 40_000 + "];"),
        ("python", "x = '" + "a(" * 100_000 + "'\n"),
        ("markdown", "`a` [b](c) " * 20_000),
        ("html", "<p>" + "<b>a</b> " * 25_000 + "</p>"),
        ("css", "a{b:c}" * 35_000),
    ],
)
def test_a_line_of_200_kilobytes(language, document):
    at = len(document) // 2
    assert GATE.verdict(language, document, at, at, "") == Verdict(Judgement.CLEAN)
    assert GATE.verdict(language, document, at, at, "(").judgement is not Judgement.UNGATED
    mended = GATE.verdict(language, document[:at] + document[at + 5 :], at, at, document[at : at + 5])
    assert mended.clean


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_syntax_errors_everywhere(language):
    document = "foo ) = ] x {{ ' \" }} <<< ;; ->\n\tif ( [ @@ \\ `` :\r\n" * 100
    at = document.index("\n", 2_000)
    for text in ("x = 1", "(", ")", "\n\n", "'"):
        assert GATE.verdict(language, document, at, at, text).judgement in Judgement


def test_deep_nesting():
    for language, document in (("json", "[" * 5_000), ("javascript", "(" * 5_000), ("html", "<div>" * 2_000)):
        verdict = GATE.verdict(language, document, len(document), len(document), "x")
        assert verdict.judgement in Judgement


def test_several_threads_may_ask():
    cases = [(language, place, text) for language, place, text, *_ in CLEAN + INCOMPLETE] * 3
    gate = Gate(seconds=30)

    def judged(case: tuple[str, str, str]) -> Judgement:
        language, place, text = case
        return typed(language, place, text, gate).judgement

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(judged, cases))
    assert together == [typed(language, place, text).judgement for language, place, text in cases]
