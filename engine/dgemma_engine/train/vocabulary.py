"""nano's vocabulary: a byte-level BPE whose brackets and quotes are always tokens of their own.

A closer that hides inside `"},` cannot be put into a one-token hole, and closing things is what nano is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import TypeAlias

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

Texts: TypeAlias = dict[str, dict[str, list[str]]]
"""Files by kind and package."""
SAMPLE_CHARS = 24_000_000
SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<|filler|>",
    "<|turn>",
    "<turn|>",
    "<mask>",
    "<image>",
    "<boi>",
    "<eoi>",
)
PAD, EOS, BOS, FILLER = range(4)
IMAGE, BOI, EOI = 7, 8, 9

# Newlines carry the next line's indentation; openers and quotes may carry one space, closers never do.
PIECES = "|".join(
    (
        r"(?:\r?\n)+[ \t]*",
        r"[ _./@$#\-]?\p{L}+",
        r"\p{N}{1,2}",
        r" ?[(\[{]",
        r"[)\]}]",
        r" ?(?:\"\"\"|'''|`+|\"|')",
        r" ?[^\s\p{L}\p{N}()\[\]{}\"'`]+",
        r"[ \t]+",
        r"\s+",
    )
)


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """A byte-level BPE of `size` tokens, the specials first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def sample_texts(texts: Texts, mix: dict[str, float], seed: int) -> list[str]:
    """What a vocabulary is trained on: `SAMPLE_CHARS` in the proportions of the mix."""
    rng = Random(seed)
    total = sum(mix.values())
    chosen: list[str] = []
    for kind, by_source in sorted(texts.items()):
        budget = SAMPLE_CHARS * mix[kind] / total
        files = [text for source in by_source.values() for text in source]
        for text in rng.sample(files, len(files)):
            if budget <= 0:
                break
            chosen.append(text)
            budget -= len(text)
    return chosen


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
