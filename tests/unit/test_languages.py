"""Which languages are gated, by identifiers and file names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tree_sitter

from dgemma_lsp.syntax.languages import ALIASES, GRAMMARS, LANGUAGES, Grammar, grammar_of, language_of_file, load


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("a.py", "python"),
        ("/home/x/a.pyi", "python"),
        ("C:\\code\\A.PY", "python"),
        ("package.json", "json"),
        ("tsconfig.json", "jsonc"),
        ("tsconfig.build.json", "jsonc"),
        (".eslintrc.json", "jsonc"),
        ("x.code-workspace", "jsonc"),
        ("README.md", "markdown"),
        ("a.mjs", "javascript"),
        ("a.jsx", "javascriptreact"),
        ("a.d.ts", "typescript"),
        ("a.tsx", "typescriptreact"),
        ("a.rs", "rust"),
        ("a.go", "go"),
        ("a.c", "c"),
        ("a.h", "cpp"),
        ("a.java", "java"),
        ("index.html", "html"),
        ("a.min.css", "css"),
        ("a.sh", "shellscript"),
        (".bashrc", "shellscript"),
        ("a.yml", "yaml"),
        ("Cargo.toml", "toml"),
        ("Cargo.lock", "toml"),
        ("a.cob", None),
        ("Makefile", None),
        (".py", None),
        ("py", None),
        ("folder.py/a", None),
        ("", None),
    ],
)
def test_a_file_has_a_language_by_its_name(name, language):
    assert language_of_file(name) == language


@pytest.mark.parametrize("language", [*LANGUAGES, *ALIASES])
def test_every_gated_language_has_a_grammar_that_loads(language):
    grammar = grammar_of(language)
    assert grammar is not None
    assert isinstance(load(grammar), tree_sitter.Language)


def test_every_grammar_is_loaded_once():
    for grammar in GRAMMARS.values():
        assert load(grammar) is load(grammar)


@pytest.mark.parametrize("language", ["", "cobol", "plaintext", "Python"])
def test_other_languages_have_none(language):
    assert grammar_of(language) is None


@pytest.mark.parametrize(
    "grammar",
    [Grammar("a", "tree_sitter_that_nobody_has"), Grammar("b", "tree_sitter_json", "other"), Grammar("c", "json")],
)
def test_a_grammar_that_cannot_be_loaded_is_none(grammar):
    assert load(grammar) is None


def test_grammars_are_loaded_when_they_are_used():
    code = (
        "import sys\n"
        "from dgemma_lsp.syntax.gate import Gate\n"
        "gate = Gate()\n"
        "before = [name for name in sys.modules if name.startswith('tree_sitter_')]\n"
        "gate.warm('json', '{}')\n"
        "print(before, [name for name in sys.modules if name.startswith('tree_sitter_') and '.' not in name])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[] ['tree_sitter_json']"
