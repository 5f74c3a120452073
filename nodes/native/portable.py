"""What a CONDITIONING carries, as plain data: dictionaries of tensors, numbers and texts.

ComfyUI keeps encoded data sets in files, and reads them with a reader that builds none of our classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from ...lightfusion_core.conditioning import Branch, Segment
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.layout import Split, TokenKind
from ...lightfusion_core.understanding.vision import Reference
from .tokens import PromptTokens

Plain = Mapping[str, Any]


def as_plain(branch: Branch, tokens: PromptTokens) -> OrderedDict[str, Any]:
    """A branch, and what it was encoded from."""
    segments = [
        {
            "kind": segment.split.kind.name,
            "start": segment.split.start,
            "rows": segment.split.rows,
            "columns": segment.split.columns,
            "hidden": segment.hidden,
            "latent": segment.latent,
        }
        for segment in branch.segments
    ]
    references = [{"vit_pixels": given.vit_pixels, "latent": given.latent} for given in tokens.references]
    return OrderedDict(
        segments=segments,
        markers=branch.markers,
        coupled=branch.coupled,
        texts=[list(text) for text in tokens.texts],
        references=references,
        prompt=tokens.prompt,
        template=tokens.template,
    )


def from_plain(plain: Plain) -> tuple[Branch, PromptTokens]:
    """The same again. Raises InputError where something is missing."""
    try:
        branch = Branch(tuple(_segments(plain["segments"])), plain["markers"], plain["coupled"])
        references = tuple(Reference(given["vit_pixels"], given["latent"]) for given in plain["references"])
        texts = tuple(plain["texts"])
        return branch, PromptTokens(texts, references, plain["prompt"], plain["template"])
    except KeyError as error:
        raise InputError(
            f"This conditioning comes out of a file that lacks {error}: was it written by another version of the pack? "
            "Encode the data set again."
        ) from None


def _segments(parts: Iterable[Plain]) -> Iterable[Segment]:
    for part in parts:
        split = Split(TokenKind[part["kind"]], part["start"], part["rows"], part["columns"])
        yield Segment(split, part["hidden"], part["latent"])
