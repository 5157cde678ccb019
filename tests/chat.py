"""A tiny checkpoint that follows instructions as far as the engine can tell: the released one's control tokens and
the shape of its chat template, on random weights."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import GENERATION, tiny_config, write_json, write_tokenizer, write_weights

CHAT_TOKENS = ("<|channel>", "<channel|>", "<|think|>", "<|tool>", "<tool|>")
"""What the released tokenizer has beyond the tiny one's; turns are in both."""

TEMPLATE = """\
{{- bos_token -}}
{%- if enable_thinking is defined and enable_thinking -%}
    {{- '<|turn>system\\n<|think|>\\n<turn|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{- '<|turn>' + role + '\\n' + message['content'] | trim + '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|turn>model\\n' -}}
{%- endif -%}
"""


def write_chat_checkpoint(folder: Path, template: str | None = TEMPLATE) -> Path:
    """Three layers and a canvas of 32 tokens, as the tiny checkpoint, without a filler, as released."""
    from tokenizers import AddedToken, Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CHAT_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = tiny_config(tokenizer.get_vocab())
    del config["dgemma"]
    config["text_config"]["eos_token_id"] = [1, tokenizer.token_to_id("<turn|>")]
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", GENERATION)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    write_weights(folder, config)
    return folder


def rewritten(folder: Path, **changes: object) -> Path:
    """The generation config with other values, such as `confidence_threshold`."""
    path = folder / "generation_config.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})
    return folder
