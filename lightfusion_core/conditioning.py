"""What passes from the understanding tower to the generation tower.

A conditioning holds layer states and the sequence's layout, nothing of the generation weights: once it
is made, the VLM can leave the device. Segments are shared between branches by identity, and so is the
work that is done for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING

from .errors import InputError
from .layout import Split, TokenKind

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Segment:
    """One split of the context with what the VLM knows of it.

    hidden: (layers, tokens, width), every VLM layer's raw output for the split's VLM tokens. For a
        coupled model (1, tokens, width): the input embeddings, since its states depend on fusion.
    latent: (1, C, 1, h, w) float32, the clean normalised latent of a CLEAN split, else None.
    """

    split: Split
    hidden: Tensor
    latent: Tensor | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Branch:
    """One guidance branch: the context, and the target's two markers for every extent.

    markers: (extents, layers, 2, width), entry e - 1 for a picture whose longer side has e tokens
        (rule B5: the markers' states depend on that and on nothing else of the picture). For a coupled
        model (1, 1, 2, width): their embeddings.
    """

    segments: tuple[Segment, ...]
    markers: Tensor
    coupled: bool = False

    @property
    def next_start(self) -> int:
        return self.segments[-1].split.next_start if self.segments else 0

    @property
    def tokens(self) -> int:
        """How many tokens the context has."""
        return sum(segment.split.length for segment in self.segments)

    @property
    def references(self) -> tuple[Segment, ...]:
        """The segments before the first text."""
        return tuple(takewhile(lambda segment: not segment.split.is_text, self.segments))

    @property
    def has_reference(self) -> bool:
        return any(segment.split.kind in (TokenKind.CLEAN, TokenKind.VIT) for segment in self.segments)

    def target(self, rows: int, columns: int) -> Split:
        """The split of a picture of (rows, columns) tokens that this branch conditions."""
        return Split(TokenKind.NOISY, self.next_start, rows, columns)

    def target_markers(self, extent: int) -> Tensor:
        """States (layers, 2, width) of the markers for a picture of this extent.

        Raises:
            InputError: the extent is larger than what was encoded.
        """
        if self.coupled:
            return self.markers[0]
        if extent > len(self.markers):
            raise InputError(
                f"This conditioning was encoded for pictures of up to {len(self.markers)} tokens a side, and the "
                f"picture has {extent}: draw smaller, or encode for it (in Python, with max_extent={extent} or more)."
            )
        return self.markers[extent - 1]


@dataclass(frozen=True, eq=False, slots=True)
class Conditioning:
    """The branches of one request; reusable for any seed, step count, guidance and size.

    full: everything. negative: the negative prompt in its place. no_image: the prompt without the
    references; None where there are none.
    """

    full: Branch
    negative: Branch | None = None
    no_image: Branch | None = None

    def to(self, device: torch.device | str) -> Conditioning:
        """The same conditioning with its tensors on `device`; shared segments stay shared."""
        move = _mover(device)
        return Conditioning(
            move(self.full),
            None if self.negative is None else move(self.negative),
            None if self.no_image is None else move(self.no_image),
        )


def _mover(device: torch.device | str) -> Callable[[Branch], Branch]:
    moved: dict[int, Segment] = {}

    def segment(old: Segment) -> Segment:
        if id(old) not in moved:
            latent = None if old.latent is None else old.latent.to(device)
            moved[id(old)] = Segment(old.split, old.hidden.to(device), latent)
        return moved[id(old)]

    return lambda branch: replace(
        branch,
        segments=tuple(segment(old) for old in branch.segments),
        markers=branch.markers.to(device),
    )
