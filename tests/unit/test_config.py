"""Settings from three places: what counts, and what is said of the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.config import SCOPES, Settings, key, markdown, read_settings, read_user_file

ROOT = Path(__file__).parents[2]

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = [key(name) for name in Settings.__annotations__]


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({}, "trigger", {"*": "auto"}),
        ({"trigger": "manual"}, "trigger", {"*": "manual"}),
        ({"trigger": {"markdown": "off"}}, "trigger", {"*": "auto", "markdown": "off"}),
        ({"scopes": {"*": [], "python": ["code"]}}, "scopes", {"*": (), "python": ("code",)}),
        ({"maxTokens": 8.0}, "max_tokens", 8),
        ({"idleUnload": 0}, "idle_unload", 0.0),
        ({"secretFiles": []}, "secret_files", ()),
        ({"enginePython": "/usr/bin/python3"}, "engine_python", "/usr/bin/python3"),
    ],
)
def test_what_is_given_counts(given: dict, field: str, value: object) -> None:
    read = read_settings(("editor", given))
    assert read.problems == ()
    assert getattr(read.settings, field) == value


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"triger": "auto"}, "there is no setting dgemma.triger; did you mean dgemma.trigger?"),
        ({"colour": 1}, "there is no setting dgemma.colour"),
        ({"trigger": "sometimes"}, "dgemma.trigger must be one of auto, manual, off, not 'sometimes'"),
        ({"trigger": {"python": 1}}, "dgemma.trigger must be a string, not a number"),
        ({"scopes": ["code", "poem"]}, "dgemma.scopes does not know 'poem'; it knows code, comment, string, prose"),
        ({"scopes": "code"}, "dgemma.scopes must be a list of strings, not a string"),
        ({"maxTokens": 1.5}, "dgemma.maxTokens must be a whole number, not a number"),
        ({"maxTokens": 0}, "dgemma.maxTokens must be at least 1, not 0"),
        ({"maxTokens": True}, "dgemma.maxTokens must be a whole number, not a boolean"),
        ({"debounce": None}, "dgemma.debounce must be a number, not null"),
        ({"deadline": float("nan")}, "dgemma.deadline must be at least 1, not nan"),
        ({"completion": "yes"}, "dgemma.completion must be true or false, not a string"),
        (["auto"], "the settings must be an object, not a list"),
    ],
)
def test_what_is_wrong_is_named_and_left_out(given: object, problem: str) -> None:
    read = read_settings(("editor", given))
    assert read.problems == (f"editor: {problem}",)
    assert read.settings == Settings()


def test_later_layers_override_setting_by_setting() -> None:
    read = read_settings(("file", {"model": "a", "debounce": 1}), ("init", None), ("editor", {"model": "b", "x": 1}))
    assert (read.settings.model, read.settings.debounce) == ("b", 1.0)
    assert [problem.split(":")[0] for problem in read.problems] == ["editor"]


def test_a_setting_by_language() -> None:
    settings = read_settings(("editor", {"trigger": {"json": "off"}})).settings
    assert [settings.of(settings.trigger, language) for language in ("json", "python", "")] == ["off", "auto", "auto"]
    assert settings.of(settings.scopes, "python") == SCOPES


@given(st.dictionaries(st.sampled_from([*NAMES, "other"]), ANY_JSON, max_size=4))
def test_no_value_is_too_strange(given: dict) -> None:
    read = read_settings(("editor", given))
    assert isinstance(read.settings, Settings)
    assert len(read.problems) <= len(given)


@pytest.mark.parametrize(
    ("content", "plain", "problem"),
    [
        (None, None, None),
        (b'{"model": "x"}', {"model": "x"}, None),
        (b"{", None, "cannot be read"),
        (b"\xff", None, ""),
    ],
)
def test_the_users_file(tmp_path: Path, content: bytes | None, plain: object, problem: str | None) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_bytes(content)
    found, wrong = read_user_file(path)
    assert found == plain
    assert (wrong is None) is (problem is None)
    assert problem is None or problem in str(wrong)


def test_the_page_is_made_from_the_class() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == markdown()
    assert all(f"`dgemma.{name}`" in markdown() for name in NAMES)


def test_defaults_can_be_written_as_json() -> None:
    defaults = {key(name): getattr(Settings(), name) for name in Settings.__annotations__}
    assert read_settings(("editor", json.loads(json.dumps(defaults)))).problems == ()


def test_the_page_prints(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-m", "dgemma_lsp.config"], capture_output=True, timeout=60, check=True)
    assert ran.stdout.decode() == markdown()
