"""nano's vocabulary: a byte-level BPE whose brackets and quotes are always tokens of their own.

A closer that hides inside `"},` cannot be put into a one-token hole, and closing things is what nano is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

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


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
