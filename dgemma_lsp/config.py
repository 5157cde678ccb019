"""The settings: one class, documented beside each field, read from three places.

`python -m dgemma_lsp.config` prints docs/configuration.md, with `--vscode` what package.json of editors/vscode
contributes.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import platformdirs

from dgemma_lsp.syntax.languages import JSONC_FILES

T = TypeVar("T")

SECTION = "dgemma"
"""The key under which editors keep the settings."""

TRIGGERS = ("auto", "manual", "off")
SCOPES = ("code", "comment", "string", "prose")

SECRET_FILES = (
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.asc",
    "*.gpg",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".htpasswd",
    "credentials",
    "credentials.*",
    "secrets.*",
    "*.secret",
    "*.secrets",
    "*.tfstate",
    "*.tfvars",
    "kubeconfig",
    "service-account*.json",
    ".ssh/*",
    ".gnupg/*",
    ".aws/*",
)


@attrs.frozen
class Reader:
    """Turns a plain value into the setting's. Raises `ValueError` that says what belongs there.

    `schema` says the same as JSON Schema.
    """

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def __call__(self, value: Any) -> Any:
        return self.read(value)


def _text(*choices: str) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"must be a string, not {_kind(value)}")
        if choices and value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    return Reader(read, {"type": "string", **_enum(choices)})


def _texts(*choices: str) -> Reader:
    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"must be a list of strings, not {_kind(value)}")
        for item in value:
            if choices and item not in choices:
                raise ValueError(f"does not know {item!r}; it knows {', '.join(choices)}")
        return tuple(value)

    return Reader(read, {"type": "array", "items": {"type": "string", **_enum(choices)}})


def _enum(choices: tuple[str, ...]) -> dict[str, Any]:
    return {"enum": list(choices)} if choices else {}


def _read_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_kind(value)}")
    return value


_flag = Reader(_read_flag, {"type": "boolean"})


def _number(least: float, whole: bool = False) -> Reader:
    def read(value: Any) -> float:
        # JSON has one kind of number, and editors send 3.0 for 3.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or (whole and value % 1 != 0):
            raise ValueError(f"must be a {'whole number' if whole else 'number'}, not {_kind(value)}")
        if not least <= value < float("inf"):
            raise ValueError(f"must be at least {least:g}, not {value:g}")
        return int(value) if whole else float(value)

    return Reader(read, {"type": "integer" if whole else "number", "minimum": least})


def _read_share(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 1:
        raise ValueError("must be a number above 0 and at most 1")
    return float(value)


_share = Reader(_read_share, {"type": "number", "exclusiveMinimum": 0, "maximum": 1})


def _setting(default: Any, read: Reader, doc: str) -> Any:
    return attrs.field(default=default, metadata={"doc": doc, "read": read, "default": default})


def _by_language(default: Any, read: Reader, doc: str) -> Any:
    def read_map(value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping):
            return {"*": default, **{str(language): read(one) for language, one in value.items()}}
        return {"*": read(value)}

    doc = f"{doc} *By language.*"
    schema = {"anyOf": [read.schema, {"type": "object", "additionalProperties": read.schema}]}
    metadata = {"doc": doc, "read": Reader(read_map, schema), "default": default}
    return attrs.field(factory=lambda: {"*": default}, metadata=metadata)


@attrs.frozen
class Settings:
    """What a user can choose. A setting "by language" is one value for all, or a map from language ids, `*` for all
    others.
    """

    model: str = _setting(
        "",
        _text(),
        "The model: `nano`, which comes with the package, a folder, or the hub id of one that was downloaded, and if "
        "you like `@bf16`, `@fp8` or `@int4`. Empty for what `dgemma-lsp model use` chose, else `nano`.",
    )
    engine_python: str = _setting(
        "", _text(), "The Python that runs the engine; empty for the one that runs the server."
    )
    idle_unload: float = _setting(
        900.0, _number(0), "Seconds without a request after which the engine unloads the model; 0 keeps it."
    )
    trigger: dict[str, str] = _by_language(
        "auto",
        _text(*TRIGGERS),
        "When ghost text comes: `auto` as you type, `manual` when you ask for it, `off` never.",
    )
    scopes: dict[str, tuple[str, ...]] = _by_language(
        SCOPES,
        _texts(*SCOPES),
        "Where ghost text comes by itself, by the syntax at the cursor. Asking for it works everywhere.",
    )
    debounce: float = _setting(
        50.0, _number(0), "Milliseconds without a keystroke before the engine is asked; 0 when you ask yourself."
    )
    deadline: float = _setting(
        1500.0, _number(1), "Milliseconds after which the best draft so far is taken, queue included."
    )
    max_tokens: int = _setting(24, _number(1, whole=True), "How many tokens ghost text may have.")
    passes: int = _setting(
        0, _number(0, whole=True), "Most denoising passes of one fill; 0 for the checkpoint's own number."
    )
    candidates: int = _setting(
        3, _number(1, whole=True), "How many different suggestions are tried for when you ask for one."
    )
    rewrite_noise: float = _setting(
        1.0,
        _share,
        "How much of a selection is forgotten before it is rewritten: 1 all of it, less keeps closer to what it is.",
    )
    completion: bool = _setting(
        False, _flag, "Also offer fills as `textDocument/completion`, for editors without ghost text."
    )
    fix_on_save: dict[str, bool] = _by_language(
        True, _flag, "Close on save what is unclosed in json, jsonc and markdown, when it is clear how."
    )
    diagnostics: dict[str, bool] = _by_language(
        True,
        _flag,
        "Show what is unclosed or broken in json, jsonc and markdown as a diagnostic, with its quick fixes.",
    )
    secret_files: tuple[str, ...] = _setting(
        SECRET_FILES,
        _texts(),
        "Files that are never read: nothing of them reaches the engine. Glob patterns of names; those with a `/` are "
        "for the end of a path.",
    )

    def of(self, values: Mapping[str, T], language: str) -> T:
        """The value of a setting by language."""
        return values.get(language, values["*"])


@attrs.frozen
class Read:
    """Settings, and what was wrong with what was given, each naming its key."""

    settings: Settings
    problems: tuple[str, ...]


def key(name: str) -> str:
    """A field's name as editors write it: `idle_unload` is `idleUnload`."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def read_settings(*layers: tuple[str, Any]) -> Read:
    """Settings from layers of (where from, plain value), later ones first in rank.

    What cannot be understood is left out and named in `problems`; everything else counts.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for source, layer in layers:
        if layer is None:
            continue
        if not isinstance(layer, Mapping):
            problems.append(f"{source}: the settings must be an object, not {_kind(layer)}")
            continue
        for name, value in layer.items():
            field = _FIELDS.get(name)
            if field is None:
                problems.append(f"{source}: there is no setting {SECTION}.{name}{_suggestion(name)}")
                continue
            try:
                values[field.name] = field.metadata["read"](value)
            except ValueError as error:
                problems.append(f"{source}: {SECTION}.{name} {error}")
    return Read(Settings(**values), tuple(problems))


def user_file() -> Path:
    """The user's settings for every editor, a JSON object; it need not exist."""
    return platformdirs.user_config_path("dgemma-lsp", appauthor=False) / "settings.json"


def read_user_file(path: Path) -> tuple[Any, str | None]:
    """The plain settings of a file, None when it is not there, and what is wrong with it."""
    try:
        return json.loads(path.read_text(encoding="utf-8")), None
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError) as error:
        return None, f"{path} cannot be read: {error}"


_FIELDS = {key(field.name): field for field in attrs.fields(Settings)}


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, _FIELDS, n=1)
    return f"; did you mean {SECTION}.{close[0]}?" if close else ""


def _kind(value: Any) -> str:
    names = {bool: "a boolean", str: "a string", type(None): "null", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def markdown() -> str:
    """docs/configuration.md."""
    lines = [
        "# Settings",
        "",
        "Made by `python -m dgemma_lsp.config`. Three places, each overriding the ones before it:",
        "",
        "1. a file of yours for every editor, `settings.json` in the user's configuration folder",
        "   (Linux: `~/.config/dgemma-lsp/settings.json`): a JSON object with the keys below;",
        "2. `initializationOptions` of the language server, the same object;",
        f"3. the editor's settings, section `{SECTION}` (`workspace/configuration`).",
        "",
        "A setting that does not exist or has the wrong type is named in a message and left out; the others count.",
        "Settings *by language* take one value for all languages, or an object from language ids to values, `*` for",
        "all others.",
        "",
        "| setting | default | what it does |",
        "|---|---|---|",
    ]
    for name, field in _FIELDS.items():
        default = field.metadata["default"]
        shown = "see below" if default == SECRET_FILES else f"`{json.dumps(default)}`"
        lines.append(f"| `{SECTION}.{name}` | {shown} | {field.metadata['doc']} |")
    lines += ["", "Secret files by default:", "", *(f"- `{pattern}`" for pattern in SECRET_FILES), ""]
    lines += [
        "## What is jsonc",
        "",
        "Comments are legal in a document that its editor calls `jsonc`, and in files of these names, also where the",
        "editor calls them `json`; `dgemma-lsp fix` goes by the name alone:",
        "",
        *(f"- `{pattern}`" for pattern in JSONC_FILES),
        "",
    ]
    return "\n".join(lines)


RUNS_CODE = ("model", "engine_python")
"""Settings that name what is loaded or run: a workspace that is not trusted must not choose them."""


def vscode() -> dict[str, Any]:
    """The settings as VS Code's `contributes.configuration.properties` has them."""
    return {
        f"{SECTION}.{name}": {
            **field.metadata["read"].schema,
            "default": field.metadata["default"],
            "markdownDescription": field.metadata["doc"],
            **({"scope": "machine-overridable"} if field.name in RUNS_CODE else {}),
        }
        for name, field in _FIELDS.items()
    }


if __name__ == "__main__":
    print(json.dumps(vscode(), indent=2) + "\n" if "--vscode" in sys.argv[1:] else markdown(), end="")
