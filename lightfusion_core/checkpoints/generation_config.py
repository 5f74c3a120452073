"""Which tokens end an answer, by the generation configuration (generation_config.json) that lies with a model."""

from __future__ import annotations

import logging
from pathlib import Path

from ..documents import read_document
from ..errors import CheckpointError
from ..texts import parse_json, printable
from .reader import Checkpoint

log = logging.getLogger(__name__)

_NAME = "generation_config.json"


def read_ends(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The ids that the configuration names, of the understanding side's folder before the model's; none without one.

    One that is damaged is said, and passed over: a tokenizer names ends too.
    """
    for path in (checkpoint.source("understanding"), checkpoint.path):
        file = (path if path.is_dir() else path.parent) / _NAME
        if file.is_file():
            return _ids(file)
    return ()


def _ids(file: Path) -> tuple[int, ...]:
    try:
        said = parse_json(read_document(file))
        ends = said.get("eos_token_id", [])
        ids = tuple(ends if isinstance(ends, list) else [ends])
        if not all(type(end) is int for end in ids):
            raise ValueError(f"eos_token_id is {ends!r}")
    except (CheckpointError, ValueError, AttributeError) as error:
        log.warning(
            "%s says nothing of where answers end (%s): they end where the tokenizer says.", file, printable(str(error))
        )
        return ()
    return ids
