"""Text to token ids and back, with the `tokenizers` library; special tokens are resolved by name."""

from __future__ import annotations

from pathlib import Path

from ..config import SpecialTokens
from ..errors import CheckpointError


class Tokenizer:
    """A `tokenizer.json` and the ids of the tokens that frame segments (rule B2)."""

    def __init__(self, path: Path, special: SpecialTokens) -> None:
        from tokenizers import Tokenizer as Backend

        try:
            self._backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise CheckpointError(f"{path} is not a tokenizer.json that this tokenizers library reads: {error}.") from None
        self._path = path
        self.bos, self.eos, self.sov, self.eov = (
            self.id(name) for name in (special.bos, special.eos, special.sov, special.eov)
        )

    def id(self, token: str) -> int:
        """The id of a token by its name. Raises CheckpointError where the tokenizer lacks it."""
        found = self._backend.token_to_id(token)
        if found is None:
            raise CheckpointError(f"{self._path} has no token {token}: it is not the tokenizer of this model.")
        return found

    def encode(self, text: str) -> list[int]:
        """Ids of the raw string; nothing is added."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """The string of ids, special tokens left out."""
        return self._backend.decode(ids, skip_special_tokens=True)
