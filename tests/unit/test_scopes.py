"""What is at a place of a document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.syntax.languages import LANGUAGES
from dgemma_lsp.syntax.scopes import Scope, scope_at
from dgemma_lsp.syntax.trees import Trees

CURSOR = "‸"
TREES = Trees()


def scope(language: str, place: str) -> str | None:
    at = place.index(CURSOR)
    found = scope_at(TREES, language, place.replace(CURSOR, ""), at, seconds=30)
    return None if found is None else found.value


@pytest.mark.parametrize(
    ("language", "place", "expected"),
    [
        ("python", "‸", "code"),
        ("python", "x = ‸", "code"),
        ("python", "x = 1 # fo‸o", "comment"),
        ("python", "x = 1 # foo‸", "comment"),
        ("python", "x = 1 # foo‸\ny = 2\n", "comment"),
        ("python", "x = 1 # foo\n‸y = 2\n", "code"),
        ("python", 'x = "a‸b"', "string"),
        ("python", 'x = ‸"ab"', "code"),
        ("python", 'x = "ab"‸', "code"),
        ("python", 'x = "ab‸\ny = 1\n', "string"),  # not closed yet
        ("python", 'x = "ab\ny = ‸1\n', "code"),
        ("python", 'x = """ab\nc‸\n', "string"),
        ("python", 'def f():\n    """do‸c"""\n', "string"),
        ("python", 'x = f"a{b‸}c"', "code"),
        ("python", 'x = f"a{b}c‸"', "string"),
        ("python", "é = '🎉‸'", "string"),
        ("javascript", "x = `a${b‸}`", "code"),
        ("javascript", "x = `a‸${b}`", "string"),
        ("javascript", "/* a ‸*/", "comment"),
        ("javascript", "/* a */‸", "code"),
        ("javascript", "// a‸\nb", "comment"),
        ("typescriptreact", "x = <div>he‸llo</div>", "prose"),
        ("typescriptreact", "x = <div>{a‸}</div>", "code"),
        ("rust", "fn f<'‸a>() {}", "code"),
        ("rust", "// foo‸", "comment"),
        ("c", "char c = '‸a';", "string"),
        ("go", "x := `a‸b`", "string"),
        ("html", "<p>he‸llo</p>", "prose"),
        ("html", '<p class="f‸oo">x</p>', "string"),
        ("html", "<!-- f‸oo -->", "comment"),
        ("html", "<script>va‸r</script>", "code"),
        ("css", 'a { content: "f‸oo" }', "string"),
        ("css", "a { /* ‸ */ }", "comment"),
        ("yaml", 'a: "f‸oo"', "string"),
        ("yaml", "a: ‸", "code"),
        ("shellscript", 'echo "a $(l‸s)"', "code"),
        ("shellscript", 'echo "a‸ $(ls)"', "string"),
        ("json", '{"a": "b‸"}', "string"),
        ("json", '{"a": ‸}', "code"),
        ("toml", 'a = "b‸"', "string"),
        ("markdown", "he‸llo", "prose"),
        ("markdown", "```py\nx‸\n```", "code"),
        ("markdown", "```py\nx\n```\n‸", "prose"),
        ("markdown", "```py\nx‸", "code"),
        ("markdown", "<!-- x‸ -->", "comment"),
        ("cobol", "‸", None),
    ],
)
def test_scope(language, place, expected):
    assert scope(language, place) == expected


def test_no_time_is_no_answer():
    assert scope_at(Trees(), "python", "f(x)[y] = {z: 1}\n" * 10_000, 5, seconds=0) is None


@given(
    st.sampled_from(sorted(LANGUAGES)),
    st.lists(
        st.sampled_from(['"', "'", "`", "#", "//", "/*", "*/", "\n", "\r\n", "a ", "(", "${", "}", "é", "🎉", "\ud83c"])
    ),
    st.data(),
)
def test_every_place_of_every_text_has_a_scope(language, parts, data):
    document = "".join(parts)
    offset = data.draw(st.integers(0, len(document)))
    assert scope_at(TREES, language, document, offset, seconds=30) in Scope
