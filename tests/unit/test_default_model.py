"""Which model is used where nobody names one."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from dgemma_lsp.config import Settings
from dgemma_lsp.default_model import choice_file, model_for, model_of, remember, remembered
from dgemma_lsp.errors import UserError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration folder, which is not there yet."""
    folder = tmp_path / "config"
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: folder)
    return folder


def test_without_a_choice_it_is_the_bundled_one() -> None:
    assert remembered() == ("nano", None)
    assert model_of(Settings()) == ("nano", None)
    assert model_for(None) == "nano"
    remember(None)
    assert not choice_file().exists()


def test_the_nearest_name_counts(place: Path) -> None:
    remember("google/one@int4")
    assert model_of(Settings()) == ("google/one@int4", None)
    assert model_for(None) == "google/one@int4"
    (place / "settings.json").write_text('{"model": "of-the-settings"}')
    assert model_for(None) == "of-the-settings"
    assert model_for("of-the-option") == "of-the-option"
    assert model_of(Settings(model="of-the-editor")) == ("of-the-editor", None)
    (place / "settings.json").write_text('{"model": ""}')
    assert model_for(None) == "google/one@int4"
    remember(None)
    assert model_for(None) == "nano"
    assert [path.name for path in place.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": 1}', '{"model": ""}', "\x00"])
def test_a_choice_that_cannot_be_read_is_said(place: Path, text: str) -> None:
    place.mkdir()
    choice_file().write_text(text)
    model, problem = remembered()
    assert model == "nano"
    assert problem is not None
    assert "choose again with dgemma-lsp model use" in problem
    with pytest.raises(UserError, match="choose again"):
        model_for(None)
    assert model_for("named") == "named"
    remember("two")
    assert remembered() == ("two", None)


def test_a_choice_that_cannot_be_written_is_said(place: Path) -> None:
    place.write_text("a file")
    with pytest.raises(UserError, match=r"model\.json cannot be written"):
        remember("one")
