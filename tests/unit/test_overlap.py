"""How a fill is joined to the text around it. `‸` is the cursor; in a result it stands where acceptance leaves it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.text import overlap
from dgemma_lsp.text.document import Document
from dgemma_lsp.text.overlap import Offer, offer

CLOSING = {"(": ")", "[": "]", "{": "}"}
BRACKETS = st.lists(st.sampled_from(["(", ")", "[", "]", "{", "}", ", ", "1", "\n", "\r\n"]), max_size=12).map("".join)
SOURCE = st.lists(
    st.sampled_from([*"()[]{}\"'`,:;", " ", "    ", "\n", "\r\n", "x", "foo", "=", "<b>", "</b>", "**", '"""', "🎉"]),
    max_size=16,
).map("".join)


@st.composite
def balanced(draw) -> str:
    """Brackets in pairs, nested and side by side, on few lines."""
    inner = st.deferred(balanced)
    shape = draw(st.sampled_from(["", "", "1", ", ", "\n", "()", "[]", "{}", "two"]))
    if shape == "two":
        return draw(inner) + draw(inner)
    return f"{shape[0]}{draw(inner)}{shape[1]}" if shape[:1] in CLOSING else shape


def made(document: str, cursor: int, filled: str) -> Offer | None:
    start = Document.opened("file:///a", "text", 1, document).word_start(cursor)
    return offer(document, cursor, start, filled)


def accepted(document: str, cursor: int, filled: str) -> str:
    found = made(document, cursor, filled)
    return document if found is None else found.applied(document)


def shown(marked: str, filled: str) -> str | None:
    cursor = marked.index("‸")
    document = marked.replace("‸", "")
    found = made(document, cursor, filled)
    return found and document[: found.start] + found.insert + "‸" + document[found.end :]


def unclosed(text: str) -> list[str]:
    """The closers that properly nested brackets still wait for, innermost first."""
    waiting: list[str] = []
    for mark in text:
        if mark in CLOSING:
            waiting.insert(0, CLOSING[mark])
        elif waiting and mark == waiting[0]:
            waiting.pop(0)
    return waiting


def alone(text: str) -> int:
    """Brackets without a partner, each kind for itself."""
    count, opened = 0, Counter[str]()
    for mark in text:
        if mark in CLOSING:
            opened[CLOSING[mark]] += 1
        elif mark in ")]}":
            count += not opened[mark]
            opened[mark] -= opened[mark] > 0
    return count + opened.total()


@pytest.mark.parametrize(
    ("marked", "filled", "result"),
    [
        ('print("‸")', 'hello")', 'print("hello")‸'),
        ('print("‸")', "hello", 'print("hello‸")'),
        ('print("‸")', 'a" + "b', 'print("a" + "b‸")'),
        ('print("‸")', 'hello") + f("x")', 'print("hello") + f("x")‸'),
        ("print('‸')", "it')", "print('it')‸"),
        ("foo(bar(‸))", "x)", "foo(bar(x)‸)"),
        ("foo(bar(‸))", "x))", "foo(bar(x))‸"),
        ("foo(‸)", "a, b()", "foo(a, b()‸)"),
        ("foo(‸)", "a, b())", "foo(a, b())‸"),
        ("foo(‸)", "bar(a) + (b)", "foo(bar(a) + (b)‸)"),
        ("def f(‸)", "a):\n    return a", "def f(a):\n    return a‸"),
        ("def f(‸):", "a):\n    return a", "def f(a):\n    return a‸"),
        ("foo(() => {‸});", "\n  x();\n});", "foo(() => {\n  x();\n})‸;"),
        ("foo(‸);", "a);", "foo(a)‸;"),
        ("x = { ‸ }", '"a": 1 }', 'x = { "a": 1 }‸'),
        ("x = (\n    foo(‸)\n)", "a)", "x = (\n    foo(a)‸\n)"),
        ("foo(\n    bar,\n‸)", "    baz)", "foo(\n    bar,\n    baz)‸"),
        ('{"a": [‸]}', '1, {"b": 2}]', '{"a": [1, {"b": 2}]‸}'),
        ('{"a": [‸]}', '1, {"b": 2}]}', '{"a": [1, {"b": 2}]}‸'),
        ('{"a": "‸"}', 'b"}', '{"a": "b"}‸'),
        ('"""‸"""', 'Doc."""', '"""Doc."""‸'),
        ('f"""‸"""', 'Doc."""\n    x = 1', 'f"""Doc."""\n    x = 1‸'),
        ("`${‸}`", "x}`", "`${x}`‸"),
        ('echo "${‸}"', 'x}"', 'echo "${x}"‸'),
        ('echo "a (‸) b"', "x)", 'echo "a (x)‸ b"'),
        ("[link‸]", "](url)", "[link](url)‸"),
        ("- [‸]", "x] done", "- [x] done‸"),
        ("a `co‸` b", "de`", "a `code`‸ b"),
        ("f(‸) # :(", "x)", "f(x)‸ # :("),
        ("# don't\nf('‸')", "x')", "# don't\nf('x')‸"),
        ("fn f<'a>(x: &'a str) { g(‸) }", "x)", "fn f<'a>(x: &'a str) { g(x)‸ }"),
        ("a(‸)\r\nb\r\n", "x)", "a(x)‸\r\nb\r\n"),
    ],
)
def test_closers_that_the_editor_put_are_replaced_by_those_of_the_fill(marked, filled, result):
    assert shown(marked, filled) == result


@pytest.mark.parametrize(
    ("marked", "filled", "result"),
    [
        ("foo(bar(‸)", "x)", "foo(bar(x)‸)"),
        ("foo(bar(‸)", "x))", "foo(bar(x))‸"),
        ("((‸)", "a)", "((a)‸)"),
        ("foo(bar(\n    x‸\n)", "\n)", "foo(bar(\n    x\n)‸\n)"),
        ('f(‸"b")', '"a", ', 'f("a", ‸"b")'),
        ('f(‸"b")', '"a", "', 'f("a", "‸b")'),
        ("f(‸)", '":)"', 'f(":)"‸)'),
        ("(‸", "a) + (b", "(a) + (b‸"),
        ("const f = (‸) => {}", "a", "const f = (a‸) => {}"),
        ("if (a‸) {", ".b()) {", "if (a.b())‸ {"),
        ("s = {'a': ‸'x', 'b': 'y'}", "'w', 'c': ", "s = {'a': 'w', 'c': ‸'x', 'b': 'y'}"),
    ],
)
def test_closers_that_something_else_needs_stay(marked, filled, result):
    assert shown(marked, filled) == result


@pytest.mark.parametrize(
    ("marked", "filled", "result"),
    [
        ("x = ‸bar", "foo + bar", "x = foo + ‸bar"),
        ("a‸, b", ", c, b", "a, c‸, b"),
        ("foo(‸, b)", "a, ", "foo(a‸, b)"),
        ("foo(‸, b)", "a, b)", "foo(a‸, b)"),
        ("foo(‸, b)", "a", "foo(a‸, b)"),
        ("x = ‸  # why", "1  # why", "x = 1‸  # why"),
        ("a = 1‸;", "0;", "a = 10‸;"),
        ("if x‸:", " > 1:", "if x > 1‸:"),
        ("if x‸:", " > 1:\n    pass", "if x > 1:\n    pass‸"),
        ("if (a‸) {", ") {\n  x", "if (a) {\n  x‸"),
        ("[0‸,\n2]", "1,\n1", "[01,\n1‸,\n2]"),
        ("word‸.", "s.", "words‸."),
        ("**bold‸** more", "er**", "**bolder‸** more"),
        ("foo‸bar", "_bar", "foo_‸bar"),
        ("<div‸>", ' class="a">', '<div class="a"‸>'),
        ("<b>‸</b>", "text</b>", "<b>text‸</b>"),
        ("<p><b>‸</b>", "<b>x</b>", "<p><b><b>x</b>‸</b>"),
    ],
)
def test_the_rest_of_the_line_is_not_repeated(marked, filled, result):
    assert shown(marked, filled) == result


@pytest.mark.parametrize(
    ("marked", "filled", "result"),
    [
        ("a[0‸.9]", "1.", "a[01.‸.9]"),
        ("# ---‸---\n", "----", "# -------‸---\n"),
        ("x = a ‸/ b", "/", "x = a /‸/ b"),
        ("clas‸s\n", "ses", "classes‸s\n"),
        ('class="‸btn-primary"', "btn ", 'class="btn ‸btn-primary"'),
        ("x‸   = 1", "y ", "xy ‸   = 1"),
        ("f(‸) * 2", "a * ", "f(a * ‸) * 2"),
    ],
)
def test_what_only_looks_like_a_repetition_stays(marked, filled, result):
    assert shown(marked, filled) == result


@pytest.mark.parametrize(
    ("marked", "filled", "result"),
    [
        ("def f():\n    ‸\n    return x\n", "x = 1\n    return x", "def f():\n    x = 1‸\n    return x\n"),
        ("def f():\n    ‸\n\n    return x\n", "x = 1\n    return x\n", "def f():\n    x = 1‸\n\n    return x\n"),
        ("def f(‸):\n    return a", "a):\n    return a", "def f(a)‸:\n    return a"),
        ("x = [‸]\nyes = 2\n", "1, 2]\nyes = 2", "x = [1, 2]‸\nyes = 2\n"),
        ("{\n  ‸\n}", "x\n}", "{\n  x‸\n}"),
        ("f(‸\n)", "\n    a\n)", "f(\n    a‸\n)"),
        ("<ul>\n  ‸\n</ul>", "<li>a</li>\n</ul>", "<ul>\n  <li>a</li>‸\n</ul>"),
        ("# T‸\n\ntext", "itle\n\ntext", "# Title‸\n\ntext"),
        ("  a‸\r\n  return b\r\n", "1\r\n  return b", "  a1‸\r\n  return b\r\n"),
        ("a‸\rreturn b\r", "1\rreturn b", "a1‸\rreturn b\r"),
        ("if a:\n    ‸\nreturn x", "b()\n    return x", "if a:\n    b()\n    return x‸\nreturn x"),
        ("a‸\nb\nc\n", "1\nb\n\nd", "a1\nb\n\nd‸\nb\nc\n"),
        ("a = 1‸\nfoo({\n})\n})\n", "0\nfoo({", "a = 10‸\nfoo({\n})\n})\n"),
        ("/**\n * a‸\n *\n * b", "c\n *", "/**\n * ac\n *‸\n *\n * b"),
    ],
)
def test_lines_below_are_not_repeated(marked, filled, result):
    assert shown(marked, filled) == result


@pytest.mark.parametrize(
    ("marked", "filled", "result"),
    [
        ("pri‸", "print(x)", "print(x)‸"),
        ("    return ‸", "return x", "    return x‸"),
        ("x = ‸", "x = 5", "x = 5‸"),
        ("a‸", "ab", "aab‸"),
        ("((‸", "((a", "((((a‸"),
        ("foo.foo‸", ".foo", "foo.foo.foo‸"),
        ("1000‸", "1000", "10001000‸"),
        ("    ‸", "    x", "        x‸"),
    ],
)
def test_what_stands_before_is_not_repeated(marked, filled, result):
    assert shown(marked, filled) == result


@pytest.mark.parametrize(
    ("marked", "filled"),
    [
        ("x‸", ""),
        ("x‸", " \t"),
        ("x‸", "\n\n"),
        ("f(‸)", ")"),
        ('print("a‸")', '")'),
        ("return‸ a", " a"),
        ("pri‸nt(x)", "nt(x)"),
        ("‸\nx = 1", "x = 1"),
        ("if a:\n    ‸\n    return b", "return b"),
        ("foo‸", "foo"),
        ("{\n  a‸\n}", "\n}"),
    ],
)
def test_nothing_is_offered_where_nothing_is_left(marked, filled):
    assert shown(marked, filled) is None


def test_an_offer_goes_on_from_the_word_that_is_typed():
    assert made("x = pri\n", 7, "nt(a)  \n\n") == Offer(4, 7, "print(a)")
    assert made("x = pri)", 7, "nt(a)") == Offer(4, 8, "print(a)")
    assert made("x = pri()", 8, "a)") == Offer(8, 9, "a)")


@given(st.data(), SOURCE, SOURCE)
def test_an_offer_touches_its_line_and_nothing_else(data, document, filled):
    cursor = data.draw(st.integers(0, len(document)).filter(lambda at: document[max(0, at - 1) : at + 1] != "\r\n"))
    found = made(document, cursor, filled)
    if found is None:
        return
    assert found.start <= cursor <= found.end
    assert not set(document[found.start : found.end]) & {"\n", "\r"}
    assert found.insert.startswith(document[found.start : cursor])
    after = found.applied(document)
    assert after != document
    stop = found.start + len(found.insert)
    assert after[: found.start] + document[found.start : found.end] + after[stop:] == document


@given(st.data(), BRACKETS, BRACKETS)
def test_a_join_leaves_no_more_brackets_alone_than_plain_insertion(data, document, filled):
    cursor = data.draw(st.integers(0, len(document)))
    plain = document[:cursor] + filled + document[cursor:]
    if made(document, cursor, filled) is not None:
        assert alone(accepted(document, cursor, filled)) <= alone(plain)


@given(st.data(), balanced())
def test_closers_put_by_the_editor_are_never_doubled(data, text):
    """Cut a hole into balanced text, put after the cursor what the hole would close, and fill the hole."""
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    before, filled, after = text[:start], text[start:end], text[end:]
    waiting = unclosed(before)
    put = "".join(waiting[: len(waiting) - (len(unclosed(before + filled)) - len(unclosed(filled)))])
    assert alone(accepted(before + put + after, start, filled)) == 0


@given(
    st.lists(st.sampled_from(["", "    ", "a = 1", "foo()", "if b:"]), min_size=1, max_size=4).map("\n".join),
    st.lists(st.sampled_from(["", "return x", "    total += 1", "print(y)"]), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_telling_lines_below_are_never_repeated(filled, below, count):
    document = "\n".join(["z = ", *below])
    repeated = "\n".join([filled, *below[:count]])
    assert accepted(document, 4, repeated) == accepted(document, 4, filled)


@pytest.mark.parametrize("put", [False, True], ids=["plain", "with the closers an editor puts"])
def test_the_true_end_of_a_line_is_given_back(put):
    """On our own source, from the middle of every line, but for one line in 50."""
    total, wrong = 0, []
    for path in sorted(Path(overlap.__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for line in re.finditer(r"[^\n]*[^\s\n]", text):
            cursor = (line.start() + line.end()) // 2
            waiting = unclosed(text[line.start() : cursor]) if put else []
            closed = "".join(waiting[: len(waiting) - len(unclosed(line[0]))])
            total += 1
            if accepted(text[:cursor] + closed + text[line.end() :], cursor, text[cursor : line.end()]) != text:
                wrong.append(line[0])
    assert len(wrong) <= total / 50, wrong


@pytest.mark.parametrize(
    ("around", "filled"),
    [('\\"a\\":', 'x")'), ("(", "x)"), (")", ")" * 500), ('"', '"' * 500), ("x", "x" * 500), ("\n", "\n" * 500 + "x")],
)
def test_an_endless_line_or_page_is_no_obstacle(around, filled):
    document = around * 40_000
    found = made(document, len(document) // 2, filled)
    assert found is None or found.applied(document) != document
