"""The small files of a model are read: an index of shards, its configuration, its tokenizer."""

from __future__ import annotations

from pathlib import Path

from .errors import CheckpointError
from .texts import reason

LARGEST = 100_000_000
"""Bytes; the tokenizer of the large model has 11 million."""


def read_document(file: Path) -> bytes:
    """The content of a small file.

    Raises:
        CheckpointError: it cannot be read, or is no small file.
    """
    try:
        size = file.stat().st_size
        if size > LARGEST:
            raise CheckpointError(f"{file} has {size:,} bytes, far more than such a file needs: get it again.")
        return file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {reason(error)}.") from None
