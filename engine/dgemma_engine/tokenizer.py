"""Text to ids and back, where a user's text is only ever text."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Tokenizer as Backend

from .errors import EngineError
from .model import ModelConfig


class Tokenizer:
    """A checkpoint's `tokenizer.json`.

    `control_ids` are the ids that must never be written into a user's file: every special token and whatever the
    config names as begin, end or padding.
    """

    def __init__(self, backend: Backend, config: ModelConfig) -> None:
        self._backend = backend
        added = backend.get_added_tokens_decoder()
        special = {id_ for id_, token in added.items() if token.special}
        self.control_ids = frozenset(special.union(config.control_ids))
        literals = {backend.id_to_token(id_) or "" for id_ in self.control_ids} - {""}
        # Broken after its first character no literal can match: `<bos>` in a file stays five characters.
        pattern = "|".join(re.escape(literal) for literal in sorted(literals))
        self._control = re.compile(f"(?={pattern})") if pattern else None

    @classmethod
    def load(cls, folder: Path, config: ModelConfig) -> Tokenizer:
        """Read `folder/tokenizer.json`; raises `EngineError("checkpoint")` when it cannot serve `config`."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise EngineError("checkpoint", f"{folder} has no tokenizer.json")
        try:
            backend = Backend.from_file(str(path))
        except Exception as error:
            raise EngineError("checkpoint", f"{path} is not a tokenizer: {error}") from None
        backend.no_padding()
        backend.no_truncation()
        if backend.get_vocab_size() > config.vocab_size:
            raise EngineError(
                "checkpoint",
                f"{path} has {backend.get_vocab_size()} tokens, config.json's vocab_size is {config.vocab_size}",
            )
        return cls(backend, config)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without begin or end tokens; control literals in it are spelled out."""
        return [id_ for piece in self._pieces(text) for id_ in self._encode_piece(piece)]

    def encode_markup(self, text: str) -> list[int]:
        """Ids of a checkpoint's own text, in which control literals are control tokens. Never for a user's text."""
        return self._encode_piece(text)

    def control_id(self, literal: str) -> int | None:
        """The control token that is spelled so."""
        id_ = self._backend.token_to_id(literal)
        return id_ if id_ in self.control_ids else None

    def encode_with_ends(self, text: str) -> tuple[list[int], list[int]]:
        """Ids and, for each, the character offset in `text` where it ends."""
        ids: list[int] = []
        ends: list[int] = []
        start = 0
        for piece in self._pieces(text):
            encoding = self._backend.encode(piece, add_special_tokens=False)
            ids += encoding.ids
            ends += [start + end for _, end in encoding.offsets]
            start += len(piece)
        return ids, ends

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`; bytes that are not whole characters and control tokens are left out."""
        ids = [id_ for id_ in ids if id_ not in self.control_ids]
        text = self._backend.decode(ids, skip_special_tokens=True)
        if "\ufffd" not in text or self.encode(text) == ids:
            return text
        return text.replace("\ufffd", "")

    def spell(self, id_: int) -> str:
        """One token for display, control tokens by their names."""
        if id_ in self.control_ids:
            return self._backend.id_to_token(id_) or f"<{id_}>"
        return self._backend.decode([id_], skip_special_tokens=False)

    def spellings(self, size: int) -> list[str]:
        """What each of the first `size` ids spells: nothing for control tokens and parts of characters."""
        texts = self._backend.decode_batch([[id_] for id_ in range(size)], skip_special_tokens=False)
        return ["" if id_ in self.control_ids or "\ufffd" in text else text for id_, text in enumerate(texts)]

    def _encode_piece(self, piece: str) -> list[int]:
        return self._backend.encode(piece, add_special_tokens=False).ids

    def _pieces(self, text: str) -> list[str]:
        if self._control is None:
            return [text]
        cuts = [match.start() + 1 for match in self._control.finditer(text)]
        starts, stops = [0, *cuts], [*cuts, len(text)]
        return [text[start:stop] for start, stop in zip(starts, stops, strict=True)]
