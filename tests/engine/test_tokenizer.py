"""A user's text is only ever text: what looks like a control token, too."""

from __future__ import annotations

import json
from functools import cache as once
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from dgemma_engine.errors import EngineError
from dgemma_engine.model import read_config
from dgemma_engine.tokenizer import Tokenizer

CONTROL = ("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<mask>", "<|filler|>")
STRANGE = (*CONTROL, "<", "<|", "bos>", "|>", "\r\n", "\t", "\ufffd", "e\u0301", "𝒳", "👩‍👩‍👧", "\u2028", "\x00")
TEXTS = st.lists(st.one_of(st.sampled_from(STRANGE), st.text(max_size=8)), max_size=12).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Tokenizer:
    return loaded(tiny_checkpoint)


@once
def loaded(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder, read_config(folder))


@given(text=TEXTS)
@settings(max_examples=150)
def test_every_text_comes_back_and_holds_no_control_id(tiny_checkpoint: Path, text: str) -> None:
    tokenizer = loaded(tiny_checkpoint)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.control_ids.intersection(ids)


@given(text=TEXTS)
@settings(max_examples=60)
def test_ends_are_character_offsets(tiny_checkpoint: Path, text: str) -> None:
    tokenizer = loaded(tiny_checkpoint)
    ids, ends = tokenizer.encode_with_ends(text)
    assert ids == tokenizer.encode(text)
    assert ends == sorted(ends)
    assert len(ends) == len(ids)
    assert not ids or ends[-1] == len(text)


def test_the_control_tokens_are_those_of_the_tokenizer_and_of_the_config(tokenizer: Tokenizer) -> None:
    assert {tokenizer.spell(id_) for id_ in tokenizer.control_ids} == set(CONTROL)


@pytest.mark.parametrize("text", ["<<a>>", "<a>b<c>", "<a>b<a>b<c>", "b<a>b<", "<a><a>"])
def test_literals_that_share_characters(tiny_checkpoint: Path, text: str) -> None:
    backend = Backend.from_file(str(tiny_checkpoint / "tokenizer.json"))
    backend.add_special_tokens([AddedToken(literal, special=True) for literal in ("<a>", ">b<", "<c>", "<<a>>")])
    tokenizer = Tokenizer(backend, read_config(tiny_checkpoint))
    ids = tokenizer.encode(text)
    assert not tokenizer.control_ids.intersection(ids)
    assert tokenizer.decode(ids) == text


def test_control_tokens_and_broken_characters_are_left_out(tokenizer: Tokenizer) -> None:
    control = sorted(tokenizer.control_ids)
    a, euro = tokenizer.encode("a"), tokenizer.encode("€")
    assert len(euro) == 3
    assert tokenizer.decode([*control, *a, *control]) == "a"
    assert tokenizer.decode([*a, *euro[:2], *a]) == "aa"
    assert tokenizer.decode(euro[1:]) == ""
    assert tokenizer.decode([*euro, *a, *euro[:1]]) == "€a"
    assert tokenizer.decode(tokenizer.encode("\ufffd")) == "\ufffd"


def test_what_cannot_be_a_tokenizer(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config = read_config(tiny_checkpoint)
    with pytest.raises(EngineError, match=r"has no tokenizer\.json"):
        Tokenizer.load(tmp_path, config)
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(EngineError, match="is not a tokenizer"):
        Tokenizer.load(tmp_path, config)
    raw = json.loads((tiny_checkpoint / "tokenizer.json").read_text())
    raw["model"]["vocab"]["one too many"] = config.vocab_size
    path.write_text(json.dumps(raw))
    with pytest.raises(EngineError, match="vocab_size is"):
        Tokenizer.load(tmp_path, config)
