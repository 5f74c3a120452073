"""What part of a picture an edit is drawn in: more than it, with edges to be filled, or what lies around a mask.

Sizes and boxes are in pixels, (left, top, right, bottom); pictures PIL or float (H, W, C), masks float (H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .config import SizeRule
from .errors import InputError
from .images import check_aspect, padded_levels, resized_size
from .keeping import larger

__all__ = ["CONTEXT", "Box", "Part", "box_around", "check_edges", "fade_of", "feathered"]

Box: TypeAlias = tuple[int, int, int, int]

CONTEXT = 1.25
"""How much larger than the mask's own box the part is that is drawn, where nothing is said."""
_NEARLY_ALL = 0.8
"""A part of the picture's pixels, or of its longer side, that is larger than this is the picture."""
_LONGEST = 2
"""How many times longer than wide a part is, where the picture has room."""
_FADE = 16
"""Which part of a mask's shorter side its edge fades in over."""


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """The part of a picture that an edit is drawn in.

    size: of the whole picture (width, height), with its new edges.
    edges: what is put around the picture before that.
    box: the part; None for all of it.
    mask: (H, W) of the part, where it may change; None for everywhere.
    shown: the same where the edit shows; it fades in where the mask is new or the picture was cut.
    """

    size: tuple[int, int]
    edges: Box
    box: Box | None
    mask: Tensor | None
    shown: Tensor | None

    @classmethod
    def of(
        cls,
        size: tuple[int, int],
        mask: Tensor | None,
        edges: Sequence[int],
        context: float | None,
        rule: SizeRule,
        around: Tensor | None = None,
    ) -> Part:
        """The part of a picture of `size` (width, height).

        Args:
            mask: (H, W), 1 where the picture may change.
            edges: pixels to add at the left, top, right and bottom, to be filled.
            context, rule: see `box_around`.
            around: (H, W), what the part lies around where that is more than the mask.

        Raises:
            InputError: edges or a context that cannot be.
        """
        check_edges(edges, size)
        left, top, right, bottom = edges
        whole = (size[0] + left + right, size[1] + top + bottom)
        if any(edges):
            inner = torch.zeros(size[1], size[0], dtype=torch.float32) if mask is None else mask.float().cpu()
            mask = F.pad(inner, (left, right, top, bottom), value=1.0)
            around = None if around is None else F.pad(around.float().cpu(), (left, right, top, bottom), value=1.0)
        box = None if mask is None else box_around(mask if around is None else around, context, rule)
        part = mask if mask is None or box is None else mask[box[1] : box[3], box[0] : box[2]]
        shown = part
        if part is not None and (box is not None or any(edges)):
            shown = feathered(part.float(), min([fade_of(part), *(edge // 4 for edge in edges if edge)]))
        return cls(whole, (left, top, right, bottom), box, part, shown)

    @property
    def drawn_size(self) -> tuple[int, int]:
        """Of the part (width, height), in the picture's pixels."""
        return self.size if self.box is None else (self.box[2] - self.box[0], self.box[3] - self.box[1])

    def whole(self, image: Image.Image) -> Image.Image:
        """An RGB picture with its new edges."""
        return Image.fromarray(padded_levels(np.asarray(image), self.edges)) if any(self.edges) else image

    def cut(self, whole: Image.Image) -> Image.Image:
        """The part of it."""
        return whole if self.box is None else whole.crop(self.box)

    def placed(self, part: Tensor, whole: Tensor) -> Tensor:
        """A part (h, w, ...) in a copy of the whole (H, W, ...)."""
        if self.box is None:
            return part
        left, top, right, bottom = self.box
        whole = whole.clone()
        whole[top:bottom, left:right] = part
        return whole


def check_edges(edges: Sequence[int], size: tuple[int, int]) -> None:
    """Refuse edges that cannot be put around a picture of `size` (width, height).

    Raises:
        InputError: not four, below 0, or the picture becomes longer than 16:1.
    """
    if len(edges) != 4 or min(edges) < 0:
        raise InputError(
            f"Outpainting needs the pixels to add at the left, top, right and bottom, 0 or more each, found "
            f"{' '.join(map(str, edges))}."
        )
    check_aspect(size[0] + edges[0] + edges[2], size[1] + edges[1] + edges[3])


def box_around(mask: Tensor, context: float | None, rule: SizeRule) -> Box | None:
    """The part of a picture that an edit at a mask is drawn in; None for all of it.

    Args:
        mask: (H, W), above 0 where the picture may change.
        context: how many times larger than the mask's own box, 1 or more. None leaves it to the picture: all of it
            where the model draws it without making it smaller, else `CONTEXT`.
        rule: how the model sizes what it draws.

    Raises:
        InputError: a context below 1.
    """
    if context is not None and not context >= 1:
        raise InputError(f"The context is a factor of 1 or more of the mask's own size, found {context}.")
    height, width = mask.shape
    ends = _ends(mask)
    if ends is None:
        return None
    if context is None:
        if max(resized_size(width, height, rule)) > _NEARLY_ALL * max(width, height):
            return None
        context = CONTEXT
    wide, high = ends[2] - ends[0], ends[3] - ends[1]
    across, down = context * wide, context * high
    across, down = max(across, down / _LONGEST), max(down, across / _LONGEST)
    if min(across, width) * min(down, height) > _NEARLY_ALL * width * height:
        return None
    left, right = _around((ends[0], ends[2]), across, width)
    top, bottom = _around((ends[1], ends[3]), down, height)
    return left, top, right, bottom


def fade_of(mask: Tensor) -> int:
    """The pixels over which the edge of a mask (H, W) fades in."""
    ends = _ends(mask)
    return 0 if ends is None else max(1, min(ends[2] - ends[0], ends[3] - ends[1]) // _FADE)


def _ends(mask: Tensor) -> Box | None:
    """The box of what is above 0 in a mask; None where nothing is."""
    rows, columns = (torch.nonzero((mask > 0).any(dim=dim)).flatten() for dim in (1, 0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _around(ends: tuple[int, int], length: float, most: int) -> tuple[int, int]:
    """So long a stretch about the middle of another, within 0..most."""
    size = min(round(length), most)
    start = round((ends[0] + ends[1] - size) / 2)
    start = min(max(start, 0), most - size)
    return start, start + size


def feathered(mask: Tensor, pixels: int) -> Tensor:
    """A mask (H, W) that fades in over so many pixels inside of itself: where it was 0 it is 0, and the picture's own
    edges are none of its."""
    weight, left = torch.zeros_like(mask), mask.float()
    for _ in range(pixels):
        weight = weight + left
        left = -larger(-left[None, None])[0, 0]  # what lies beyond the picture's edges counts as the mask's own
    return torch.minimum(mask, (weight + left) / (pixels + 1)) if pixels else mask
