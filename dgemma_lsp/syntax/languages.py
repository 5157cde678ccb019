"""Which grammar reads which language, by the language ids of LSP and by file name."""

from __future__ import annotations

import functools
import importlib

import attrs
import tree_sitter


@attrs.frozen
class Grammar:
    """One parser of a wheel: `module` is the wheel's module, `function` what returns its language."""

    name: str
    module: str
    function: str = "language"


GRAMMARS = {
    grammar.name: grammar
    for grammar in (
        Grammar("bash", "tree_sitter_bash"),
        Grammar("c", "tree_sitter_c"),
        Grammar("cpp", "tree_sitter_cpp"),
        Grammar("css", "tree_sitter_css"),
        Grammar("go", "tree_sitter_go"),
        Grammar("html", "tree_sitter_html"),
        Grammar("java", "tree_sitter_java"),
        Grammar("javascript", "tree_sitter_javascript"),
        Grammar("json", "tree_sitter_json"),
        Grammar("markdown", "tree_sitter_markdown"),
        Grammar("markdown_inline", "tree_sitter_markdown", "inline_language"),
        Grammar("python", "tree_sitter_python"),
        Grammar("rust", "tree_sitter_rust"),
        Grammar("toml", "tree_sitter_toml"),
        Grammar("tsx", "tree_sitter_typescript", "language_tsx"),
        Grammar("typescript", "tree_sitter_typescript", "language_typescript"),
        Grammar("yaml", "tree_sitter_yaml"),
    )
}

LANGUAGES = {
    "c": "c",
    "cpp": "cpp",
    "css": "css",
    "go": "go",
    "html": "html",
    "java": "java",
    "javascript": "javascript",
    "javascriptreact": "javascript",
    "json": "json",
    "jsonc": "json",
    "markdown": "markdown",
    "python": "python",
    "rust": "rust",
    "shellscript": "bash",
    "toml": "toml",
    "typescript": "typescript",
    "typescriptreact": "tsx",
    "yaml": "yaml",
}
"""The gated languages, by the identifiers that VS Code and the protocol use, and the grammar of each."""

ALIASES = {
    "bash": "shellscript",
    "c++": "cpp",
    "golang": "go",
    "js": "javascript",
    "jsx": "javascriptreact",
    "md": "markdown",
    "py": "python",
    "sh": "shellscript",
    "ts": "typescript",
    "tsx": "typescriptreact",
    "yml": "yaml",
    "zsh": "shellscript",
}
"""What Vim, Emacs and Helix call some of them."""

_ENDINGS = {
    "bash": "shellscript", "c": "c", "c++": "cpp", "cc": "cpp", "cjs": "javascript", "code-workspace": "jsonc",
    "cpp": "cpp", "css": "css", "cts": "typescript", "cxx": "cpp", "go": "go", "h": "cpp", "h++": "cpp",
    "hh": "cpp", "hpp": "cpp", "htm": "html", "html": "html", "hxx": "cpp", "i": "c", "inl": "cpp", "ipp": "cpp",
    "java": "java", "js": "javascript", "json": "json", "jsonc": "jsonc", "jsx": "javascriptreact",
    "markdown": "markdown", "md": "markdown", "mjs": "javascript", "mts": "typescript", "py": "python",
    "pyi": "python", "pyw": "python", "rs": "rust", "sh": "shellscript", "toml": "toml", "ts": "typescript",
    "tsx": "typescriptreact", "webmanifest": "json", "xhtml": "html", "yaml": "yaml", "yml": "yaml",
    "zsh": "shellscript",
}  # fmt: skip

_NAMES = {
    ".bash_profile": "shellscript", ".bashrc": "shellscript", ".babelrc": "jsonc", ".clang-format": "yaml",
    ".eslintrc": "jsonc", ".eslintrc.json": "jsonc", ".jshintrc": "jsonc", ".prettierrc": "json",
    ".profile": "shellscript", ".swcrc": "jsonc", ".zshrc": "shellscript", "cargo.lock": "toml",
    "jsconfig.json": "jsonc", "language-configuration.json": "jsonc", "pipfile": "toml", "pkgbuild": "shellscript",
    "poetry.lock": "toml", "sconstruct": "python", "tsconfig.json": "jsonc", "uv.lock": "toml",
}  # fmt: skip


def language_of_file(name: str) -> str | None:
    """The language id of a file by its name or path, with `/` or `\\\\`; None for one that is not gated."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
    if base in _NAMES:
        return _NAMES[base]
    if base.startswith("tsconfig.") and base.endswith(".json"):
        return "jsonc"
    stem, dot, ending = base.rpartition(".")
    return _ENDINGS.get(ending) if dot and stem else None


def known_as(language: str) -> str:
    """The identifier that VS Code has for what another editor calls `language`."""
    return ALIASES.get(language, language)


def grammar_of(language: str) -> Grammar | None:
    """The grammar of a language id; None for a language that is not gated."""
    name = LANGUAGES.get(known_as(language))
    return None if name is None else GRAMMARS[name]


@functools.cache
def load(grammar: Grammar) -> tree_sitter.Language | None:
    """The grammar's parse table, loaded at the first call; None where its wheel is missing or does not fit."""
    try:
        module = importlib.import_module(grammar.module)
        return tree_sitter.Language(getattr(module, grammar.function)())
    except (ImportError, AttributeError, ValueError):
        # ValueError: a wheel whose ABI this tree-sitter does not read.
        return None
