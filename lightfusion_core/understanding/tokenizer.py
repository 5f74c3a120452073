"""Text to token ids and back, with the `tokenizers` library; special tokens are resolved by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import SpecialTokens
from ..errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend


_TEXT_END = "<|endoftext|>"
"""What base models, and many trained further from one, end a text with."""


class Tokenizer:
    """A tokenizer and the ids of the tokens that frame segments (rule B2).

    Args:
        source: a tokenizer.json or its content, or a folder with vocab.json, merges.txt and tokenizer_config.json.
        special: the names of the framing tokens.
        ends: further ids that end an answer, as a model's generation configuration names them.

    Raises:
        CheckpointError: files that are no tokenizer, or one that lacks the tokens.
    """

    def __init__(self, source: Path | bytes, special: SpecialTokens, ends: Sequence[int] = ()) -> None:
        self._place = "the model's own tokenizer.json" if isinstance(source, bytes) else str(source)
        try:
            self._backend = _backend(source)
        except Exception as error:  # both libraries raise bare Exception for every fault of a file
            raise CheckpointError(
                f"{self._place} is not a tokenizer that the tokenizers library reads: {error}."
            ) from None
        self.bos, self.eos, self.sov, self.eov = (
            self.id(name) for name in (special.bos, special.eos, special.sov, special.eov)
        )
        text_end = self._backend.token_to_id(_TEXT_END)
        self.ends = frozenset({self.eos, *ends, *([] if text_end is None else [text_end])})
        """The ids that end an answer."""

    def id(self, token: str) -> int:
        """The id of a token by its name. Raises CheckpointError where the tokenizer lacks it."""
        found = self._backend.token_to_id(token)
        if found is None:
            raise CheckpointError(f"{self._place} has no token {token}: it is not the tokenizer of this model.")
        return found

    def encode(self, text: str, literal: bool = False) -> list[int]:
        """Ids of the raw string; nothing is added.

        Args:
            literal: read what is spelled like a special token (<|im_end|>) as the letters that it is written with. The
                reference reads it as the token, which ends a turn or a text.
        """
        backend = self._literal if literal and any(token in text for token in self._special) else self._backend
        return backend.encode(text, add_special_tokens=False).ids

    def segment(self, text: str, literal: bool = False) -> list[int]:
        """Ids of one text segment: bos, the raw string's ids, eos (rule B2); `literal` as for `encode`."""
        return [self.bos, *self.encode(text, literal), self.eos]

    @cached_property
    def _special(self) -> tuple[str, ...]:
        """How the special tokens are spelled."""
        added = self._backend.get_added_tokens_decoder().values()
        return tuple(token.content for token in added if token.special)

    @cached_property
    def _literal(self) -> Backend:
        """The same for letters alone; made where a text needs it, since it takes the tokenizer's memory again."""
        from tokenizers import Tokenizer as Backend

        backend = Backend.from_str(self._backend.to_str())
        backend.encode_special_tokens = True
        return backend

    def decode(self, ids: list[int]) -> str:
        """The string of ids, special tokens left out."""
        return self._backend.decode(ids, skip_special_tokens=True)

    def json(self) -> bytes:
        """The content of a tokenizer.json that makes an equal tokenizer."""
        return self._backend.to_str().encode()


def _backend(source: Path | bytes) -> Backend:
    from tokenizers import Tokenizer as Backend

    if isinstance(source, bytes):
        return Backend.from_str(source.decode())
    return _from_folder(source) if source.is_dir() else Backend.from_file(str(source))


def _from_folder(path: Path) -> Backend:
    """The older form, which transformers puts together."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(path), local_files_only=True).backend_tokenizer
