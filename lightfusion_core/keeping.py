"""Keeping what an edit did not change: where a drawn picture shows a change, and its colours as they were elsewhere.

What is drawn goes through the VAE and comes back a little different everywhere. So it is held against its source
through the same VAE, and only what is farther from it than a line drawn a pixel beside its place is a change. Pictures
are float (h, w, 3) in 0..1, masks float32 (h, w), 1 where the edit shows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .errors import InputError
from .images import Placement, restore

__all__ = ["changed", "is_whole", "larger", "mask_image", "matched", "resized", "restored"]

_CLEAR = 20 / 255
"""A change has a place that differs by so much, in any channel,"""
_FAINT = 14 / 255
"""and reaches as far as it differs by so much."""
_SEEN = 3 / 255
"""A pixel beside it that differs by less shows nothing of it."""
_DRIFT = 8 / 255
"""How far a drawn picture's colours may be off as a whole while that counts as no change."""
_SHIFT = 2 / 255
"""What counts as a change of the whole where nothing else changed."""
_LOUD = 6 / 255
"""Where a pixel differs by more it is not as it was."""
_MOST = 0.6
"""What part of the picture may not be as it was until the change is one of the whole,"""
_FRAME = 0.5
"""or what part of its outermost pixels: a background reaches around the picture, a thing does not;"""
_MUCH, _ACROSS = 0.4, 0.85
"""or what part of the picture where it also lies across so much of its width and height: every other stripe does."""
_GRID = 256
"""The longest side, in cells, at which it is seen what hangs together."""


def changed(drawn: Tensor, through: Tensor) -> Tensor:
    """Where an edit changed a picture, with the soft rim of what changed, and fading out beyond that.

    Args:
        drawn: the edited picture.
        through: the picture that was edited, of the same size, through the VAE.

    Returns:
        The mask. All ones where the change is one of the whole picture (its style, light or background), all zeros
        where nothing changed.

    Raises:
        InputError: pictures of different sizes.
    """
    if drawn.shape != through.shape or drawn.ndim != 3:
        raise InputError(
            f"Expected the picture that was edited in the drawn one's size, {_size(drawn)}, found {_size(through)}; "
            "fit it to that size before it goes through the VAE."
        )
    before, after = (picture.detach().to("cpu", torch.float32).permute(2, 0, 1)[None] for picture in (through, drawn))
    drift = (after - before).flatten(2).median(dim=2).values[..., None, None]
    after = after - drift
    tolerance = 1 + min(drawn.shape[:2]) // 512  # the pixels by which a line may lie beside its place
    excess = _beyond(_blurred(after), _blurred(before), tolerance)
    region = _hanging_together(excess > _CLEAR, excess > _FAINT)
    differs = _blurred(_blurred(after - before)).abs().amax(dim=1, keepdim=True)
    loud = float((differs > _LOUD).float().mean())
    shifted = float(drift.abs().max())
    nothing = not bool(region.any())
    frame = torch.cat([region[..., 0, :], region[..., -1, :], region[..., 0], region[..., -1]], dim=-1).float().mean()
    share = float(region.float().mean())
    everywhere = max(loud, share) > _MOST or frame > _FRAME or (share > _MUCH and _extent(region) > _ACROSS)
    if shifted > (_SHIFT if nothing else _DRIFT) or everywhere:
        return torch.ones(drawn.shape[:2], dtype=torch.float32)
    return (_feathered(region.float()) * ((differs > _SEEN) | region))[0, 0]


def restored(
    edited: Tensor, placement: Placement, original: Tensor, mask: Tensor | None = None, before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """An edited picture at exactly the original's size and position, and where it shows the edit.

    Args:
        edited, placement, original, mask: see `images.restore`.
        before: the original through the VAE at the size of `edited`: what the edit did not change, or what lies outside
            of a mask, is the original's, bit for bit, and what shows gets the mean colour that is kept there. None
            leaves the edit as it was drawn.

    Returns:
        The picture as `images.restore` gives it, and a mask (H, W) of its size.

    Raises:
        InputError: shapes that do not belong together.
    """
    if before is not None:
        found = changed(edited, before)
        whole = is_whole(found)
        limits = found if mask is None else torch.minimum(found, resized(mask.float().cpu(), placement.fitted))
        edited = matched(edited, before, limits.to(edited.device))
        if not whole:
            found = resized(found, placement.original)
            mask = found if mask is None else torch.minimum(mask.float().cpu(), found)
    shown = torch.ones(placement.original[::-1], dtype=torch.float32) if mask is None else mask
    return restore(edited, placement, original, mask), shown


def is_whole(mask: Tensor) -> bool:
    """Whether a mask lets the edit show everywhere."""
    return bool((mask == 1).all())


def matched(drawn: Tensor, before: Tensor, mask: Tensor) -> Tensor:
    """The drawn picture with the mean colour of `before` where the mask is 0; as it is where the mask has no 0.

    Args:
        before: what stands where nothing changed, of the same size.
    """
    kept = mask == 0
    if not bool(kept.any()):
        return drawn
    before = before.to(drawn)
    return (drawn + (before[kept] - drawn[kept]).mean(dim=0)).clamp(0, 1)


def mask_image(mask: Tensor) -> Image.Image:
    """A mask as a grey picture, white where it is 1 and black only where it is 0."""
    return Image.fromarray((mask.cpu() * 255).ceil().to(torch.uint8).numpy())


def resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask in another size (width, height); what is far from a change stays exactly 0."""
    if mask.shape == size[::-1]:
        return mask
    planes = F.interpolate(mask[None, None], size[::-1], mode="bilinear", align_corners=False, antialias=True)
    return planes[0, 0].clamp(0, 1)


def _beyond(one: Tensor, other: Tensor, tolerance: int) -> Tensor:
    """How far (1, 1, h, w) each pixel of either picture (1, 3, h, w) lies out of the range of the other's pixels around
    it, in the channel where that is most."""

    def out_of(picture: Tensor, around: Tensor) -> Tensor:
        side = 2 * tolerance + 1
        highest = F.max_pool2d(around, side, 1, tolerance)
        lowest = -F.max_pool2d(-around, side, 1, tolerance)
        return torch.maximum(picture - highest, lowest - picture)

    return torch.maximum(out_of(one, other), out_of(other, one)).amax(dim=1, keepdim=True)


def _blurred(picture: Tensor) -> Tensor:
    """Without what single pixels have alone: a binomial filter with a deviation of half a pixel."""
    kernel = torch.tensor([0.125, 0.75, 0.125], dtype=torch.float32)
    kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def _hanging_together(clear: Tensor, faint: Tensor) -> Tensor:
    """The parts of `faint` that have something clear in them, (1, 1, h, w) bool."""
    height, width = clear.shape[-2:]
    cell = -(-max(height, width) // _GRID)
    room, reached = (F.max_pool2d(which.float(), cell, ceil_mode=True) for which in (faint, clear & faint))
    while True:
        further = F.max_pool2d(reached, 3, 1, 1) * room
        if torch.equal(further, reached):
            break
        reached = further
    cells = reached.repeat_interleave(cell, -2).repeat_interleave(cell, -1)[..., :height, :width]
    return faint & (cells > 0)


def _extent(region: Tensor) -> float:
    """What part of the picture's height and of its width a region (1, 1, h, w) takes, from its first to its last pixel:
    the lesser of both."""
    places = region[0, 0].nonzero()
    lengths = places.amax(dim=0) - places.amin(dim=0) + 1
    return float((lengths / torch.tensor(region.shape[-2:])).min())


def _feathered(region: Tensor) -> Tensor:
    """The region grown by a sixtieth of the picture, for its soft rim, and beyond that going out in half of that."""
    side = min(region.shape[-2:])
    grow, feather = max(2, side // 60), max(1, side // 120)
    grown = region
    for _ in range(grow):
        grown = larger(grown)
    mask = grown
    for step in range(1, feather + 1):
        grown = larger(grown)
        mask = torch.maximum(mask, grown * (1 - step / (feather + 1)))
    return mask


def larger(region: Tensor) -> Tensor:
    """A region (1, 1, h, w) one pixel larger, up, down, left and right; not at its corners, which would go too far."""
    up_and_down, across = F.max_pool2d(region, (3, 1), 1, (1, 0)), F.max_pool2d(region, (1, 3), 1, (0, 1))
    return torch.maximum(up_and_down, across)


def _size(picture: Tensor) -> str:
    return "x".join(map(str, picture.shape[1::-1]))
