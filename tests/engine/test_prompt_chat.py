"""A checkpoint's chat template in token ids: its own literals are control tokens, nothing else is."""

from __future__ import annotations

import json
from functools import cache as once
from pathlib import Path

import pytest
from hypothesis import given, settings
from transformers import PreTrainedTokenizerFast

from dgemma_engine.checkpoints import read_chat_template, require_instructions
from dgemma_engine.errors import EngineError
from dgemma_engine.model import read_config
from dgemma_engine.prompts.chat import ChatTemplate, Turn
from dgemma_engine.tokenizer import Tokenizer

from ..chat import TEMPLATE
from .test_tokenizer import TEXTS

BEGIN = 2


@once
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder, read_config(folder))


def turn(folder: Path, template: str = TEMPLATE) -> Turn:
    return ChatTemplate(template, folder / "chat_template.jinja").turn(tokenizer(folder), BEGIN)


def spelled(folder: Path, ids: tuple[int, ...] | list[int]) -> str:
    return "".join(tokenizer(folder).spell(id_) for id_ in ids)


def test_one_turn_and_an_empty_thought(chat_checkpoint: Path) -> None:
    found = turn(chat_checkpoint)
    spell, encode = tokenizer(chat_checkpoint).spell, tokenizer(chat_checkpoint).encode
    names = {"<bos>": 2, "<|turn>": 4, "<turn|>": 5}
    assert {name: tokenizer(chat_checkpoint).control_id(name) for name in names} == names
    channel = [tokenizer(chat_checkpoint).control_id(name) for name in ("<|channel>", "<channel|>")]
    assert [spell(id_) for id_ in channel if id_ is not None] == ["<|channel>", "<channel|>"]
    assert found.before == (2, 4, *encode("user\n"))
    assert found.after == (5, *encode("\n"), 4, *encode("model\n"), channel[0], *encode("thought\n"), channel[1])
    assert found.end == 5
    assert found.around([9]) == [*found.before, 9, *found.after]
    assert found.size == len(found.around([]))


@given(said=TEXTS)
@settings(max_examples=60)
def test_what_the_user_says_is_text_whatever_it_spells(chat_checkpoint: Path, said: str) -> None:
    found, own = turn(chat_checkpoint), tokenizer(chat_checkpoint)
    ids = found.around(own.encode(said))
    assert [id_ for id_ in ids if id_ in own.control_ids] == [id_ for id_ in found.around([]) if id_ in own.control_ids]


def test_the_same_text_as_transformers_makes(chat_checkpoint: Path) -> None:
    """But for the empty thought, which the template leaves to the model."""
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(chat_checkpoint / "tokenizer.json"), bos_token="<bos>")
    said = "Rewrite\n\n  this: é\n."
    messages = [{"role": "user", "content": said}]
    expected = theirs.apply_chat_template(
        messages, chat_template=TEMPLATE, add_generation_prompt=True, tokenize=False, enable_thinking=False
    )
    ids = turn(chat_checkpoint).around(tokenizer(chat_checkpoint).encode(said))
    text = theirs.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert text == f"{expected}<|channel>thought\n<channel|>"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(
            "{{ bos_token }}<|turn>user\n{{ messages[0].content }}<turn|>",
            "<bos><|turn>user\n|<turn|><|channel>thought\n<channel|>",
            id="plain",
        ),
        pytest.param("{{ messages[0].content }}<eos>", "<bos>|<eos><|channel>thought\n<channel|>", id="no-begin"),
        pytest.param(
            "{{ messages[0].content }}<turn|><|channel>thought\n<channel|>",
            "<bos>|<turn|><|channel>thought\n<channel|>",
            id="has-the-thought",
        ),
        pytest.param(
            "{% for m in messages %}\n  {% if m %}\n{{ m.content }}<turn|>\n  {% break %}{% endif %}{% endfor %}",
            "<bos>|<turn|><|channel>thought\n<channel|>",
            id="blocks-as-transformers-has-them",
        ),
        pytest.param(
            "{% if enable_thinking %}<|think|>{% endif %}{{ messages[0].content }}<turn|>",
            "<bos>|<turn|><|channel>thought\n<channel|>",
            id="no-thinking",
        ),
    ],
)
def test_templates(chat_checkpoint: Path, template: str, expected: str) -> None:
    found = turn(chat_checkpoint, template)
    text = spelled(chat_checkpoint, found.before) + "|" + spelled(chat_checkpoint, found.after)
    assert text.replace("<turn|>\n<|ch", "<turn|><|ch") == expected


def test_a_tokenizer_without_channels_gets_no_thought(tiny_checkpoint: Path) -> None:
    assert spelled(tiny_checkpoint, turn(tiny_checkpoint).after) == "<turn|>\n<|turn>model\n"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        pytest.param("<turn|>", "exactly once", id="says-nothing"),
        pytest.param("{{ messages[0].content * 2 }}<turn|>", "exactly once", id="says-it-twice"),
        pytest.param("{{ messages[0].content | upper }}<turn|>", "exactly once", id="changes-it"),
        pytest.param("{{ messages[0].content }}\nAnswer:", "no control token for the end", id="no-end"),
        pytest.param("{{ raise_exception('only tools') }}", "cannot be rendered: only tools", id="refuses"),
        pytest.param("{% if %}", "cannot be rendered", id="no-template"),
        pytest.param("{{ messages[0].content.__class__.mro() }}<turn|>", "unsafe", id="breaks-out"),
        pytest.param("{% for _ in range(10**9) %}x{% endfor %}", "cannot be rendered", id="never-ends"),
    ],
)
def test_a_template_that_cannot_be_used(chat_checkpoint: Path, template: str, complaint: str) -> None:
    with pytest.raises(EngineError, match=complaint) as caught:
        turn(chat_checkpoint, template)
    assert caught.value.code == "checkpoint"
    assert "chat_template.jinja" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"tokenizer_config.json": {}}, None, id="not-named"),
        pytest.param({"tokenizer_config.json": {"chat_template": None}}, None, id="null"),
        pytest.param({"tokenizer_config.json": []}, None, id="no-object"),
        pytest.param({"tokenizer_config.json": {"chat_template": "A"}}, "A", id="in-the-settings"),
        pytest.param({"tokenizer_config.json": {"chat_template": "A"}, "chat_template.jinja": "B"}, "B", id="own-file"),
        pytest.param(
            {"tokenizer_config.json": {"chat_template": [{"name": "rag"}, {"name": "default", "template": "C"}]}},
            "C",
            id="one-of-several",
        ),
    ],
)
def test_where_a_template_stands(tmp_path: Path, files: dict[str, object], found: str | None) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    template = read_chat_template(tmp_path)
    assert (template[0] if template else None) == found


@pytest.mark.parametrize(
    ("model", "code"),
    [("nano", "instructions"), ("/nowhere", "checkpoint"), ("a\0b", "checkpoint"), ("~nobody-here/x", "checkpoint")],
)
def test_who_takes_no_prompt(model: str, code: str) -> None:
    with pytest.raises(EngineError) as caught:
        require_instructions(model)
    assert caught.value.code == code


def test_a_refusal_names_what_would_do_it() -> None:
    with pytest.raises(
        EngineError, match=r"nano follows .* google/diffusiongemma-26B-A4B-it does: dgemma-lsp model use google"
    ):
        require_instructions("nano")


def test_a_broken_settings_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(EngineError, match="cannot be read") as caught:
        require_instructions(str(tmp_path))
    assert caught.value.code == "checkpoint"
