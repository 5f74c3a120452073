"""Text to token ids and back, with the `tokenizers` library; special tokens are resolved by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import SpecialTokens
from ..documents import read_document
from ..errors import CheckpointError
from ..mistaken import mistaken

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

_TEXT_END = "<|endoftext|>"
"""What base models, and many trained further from one, end a text with."""

_PROBE = "a red circle left of 3 blue squares"


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
        self.place = "the model's own tokenizer.json" if isinstance(source, bytes) else str(source)
        try:
            self._backend = _backend(source)
            read = self._backend.encode(_PROBE, add_special_tokens=False).ids
        except CheckpointError:
            raise
        except Exception as error:  # both libraries raise bare Exception for every fault of a file
            raise self._unreadable(error) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # the libraries' own, which they do not export
                raise
            raise self._unreadable(error) from None
        if not read:
            raise self._unreadable("it finds no token in English words")
        self.bos, self.eos, self.sov, self.eov = (
            self.id(name) for name in (special.bos, special.eos, special.sov, special.eov)
        )
        framing = {self.bos, self.eos, self.sov, self.eov}
        if len(framing) < 4:
            raise CheckpointError(f"{self.place} has one id for two of the tokens that frame texts and pictures.")
        self.largest_id = max(*self._backend.get_vocab(with_added_tokens=False).values(), *framing)
        """The largest id that a text is read as, but for further added tokens: libraries add some themselves."""
        text_end = self._backend.token_to_id(_TEXT_END)
        self.ends = frozenset({self.eos, *ends, *([] if text_end is None else [text_end])})
        """The ids that end an answer."""

    def _unreadable(self, reason: object) -> CheckpointError:
        return CheckpointError(
            f"{self.place} is not a tokenizer that the tokenizers library reads: {str(reason).rstrip('.')}."
        )

    def id(self, token: str) -> int:
        """The id of a token by its name. Raises CheckpointError where the tokenizer lacks it."""
        found = self._backend.token_to_id(token)
        if found is None:
            raise CheckpointError(f"{self.place} has no token {token}: it is not the tokenizer of this model.")
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

    if isinstance(source, Path) and source.is_dir():
        made = _from_folder(source)
    else:
        content = read_document(source) if isinstance(source, Path) else source
        if (mistake := mistaken(content)) is not None:
            raise ValueError(f"it {mistake}")
        made = Backend.from_str(content.decode("utf-8-sig"))
    made.no_truncation()  # a file may bring these, and a prompt is read whole and by itself
    made.no_padding()
    return made


def _from_folder(path: Path) -> Backend:
    """The older form, which transformers puts together."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(path), local_files_only=True).backend_tokenizer
