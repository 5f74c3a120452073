"""Pictures as their files hold them, and edits put back into them: mode, depth, alpha and colour profile stay.

PIL has no mode for colours of 16 bits, so a picture is its levels here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .colour import from_srgb
from .errors import InputError
from .images import on_white, padded_levels, to_pil, with_alpha
from .modes import colours_and_alpha, deep_grey, is_deep, to_rgb

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

__all__ = ["Stored", "put_back"]

_FOUND_COLOUR = 8 / 255
"""What differs by more between its channels is no grey."""


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """One picture.

    levels: (H, W, C) uint8 or uint16; C is 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGBA.
    profile: the ICC profile of its colours; None for sRGB.
    packed: the same picture in a mode that holds no other colours than its own (a palette, a bit, a colour that means
        transparent); None where the levels say all.
    """

    levels: np.ndarray
    profile: bytes | None = None
    packed: Image.Image | None = field(default=None)

    @classmethod
    def of(cls, image: Image.Image, levels: np.ndarray | None = None) -> Stored:
        """A PIL picture of any mode.

        Args:
            levels: what its file holds, where that is more than PIL's form does.

        Raises:
            InputError: a mode that has no way to RGB.
        """
        profile = image.info.get("icc_profile")
        if levels is not None:
            return cls(levels, profile)
        packed = image if image.mode in ("P", "1") or "transparency" in image.info else None
        colours, alpha = colours_and_alpha(image)
        if is_deep(image):
            levels = deep_grey(image)[..., None]
        elif colours.mode in ("1", "L"):
            levels = np.asarray(colours.convert("L"))[..., None]
        elif colours.mode in ("P", "RGB", "RGBX"):
            levels = np.asarray(colours.convert("RGB"))
        else:
            levels, profile = np.asarray(to_rgb(image)), None  # PNG has no such colours
        if alpha is not None:
            opacity = np.asarray(alpha).astype(levels.dtype) * (np.iinfo(levels.dtype).max // 255)
            levels = np.concatenate([levels, opacity[..., None]], axis=-1)
        return cls(levels, profile, packed)

    def padded(self, edges: tuple[int, int, int, int]) -> Stored:
        """It with pixels added at the left, top, right and bottom, of the colours that it ends in."""
        if not any(edges):
            return self
        return Stored(padded_levels(self.levels, edges), self.profile)

    def image(self) -> Image.Image:
        """It as PIL holds it, of colours of 16 bits their upper eight."""
        if self.packed is not None:
            return self.packed.copy()
        levels = self.levels
        if levels.dtype == np.uint16 and levels.shape[2] > 1:
            levels = (levels >> 8).astype(np.uint8)
        made = Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))
        if self.profile:
            made.info["icc_profile"] = self.profile
        return made


def put_back(edited: torch.Tensor, original: Stored | Image.Image, mask: torch.Tensor) -> Stored:
    """An edit as a part of the picture that was edited, in that one's mode, depth, alpha and colours.

    A grey picture stays grey. One in a palette, or with a colour that means transparent, gets the mode that holds all
    colours (RGB or RGBA) unless nothing of it may change.

    Args:
        edited: what `LightFusion.edit` gives for the picture and the mask: (H, W, 3) in 0..1, sRGB, on white.
        original: the picture that was edited.
        mask: (H, W), above 0 where it may have changed; where it is 0 the original stays, bit for bit.

    Raises:
        InputError: shapes that do not belong together.
    """
    stored = original if isinstance(original, Stored) else Stored.of(original)
    changed = (mask > 0).cpu().numpy()
    size = stored.levels.shape[:2]
    if tuple(edited.shape) != (*size, 3) or changed.shape != size:
        raise InputError(
            f"Expected an edit (H, W, 3) and a mask (H, W) of the picture's height and width, {size[0]} and {size[1]}, "
            f"found {tuple(edited.shape)} and {tuple(mask.shape)}; give what belongs together."
        )
    if not changed.any():
        return stored
    drawn = _in_its_form(edited, stored, changed)
    return Stored(np.where(changed[..., None], drawn, stored.levels), stored.profile)


def _in_its_form(edited: torch.Tensor, stored: Stored, changed: np.ndarray) -> np.ndarray:
    """Levels (H, W, C) of an edit in a picture's mode, depth and profile; its alpha is the picture's."""
    import torch

    levels = stored.levels
    white, channels = np.iinfo(levels.dtype).max, levels.shape[2]
    colours = edited.detach().cpu().float()
    if channels in (2, 4):
        alpha = torch.from_numpy(levels[..., -1:].astype(np.float32) / white)
        colours = with_alpha(colours, torch.cat([on_white(colours, alpha), alpha], dim=-1))[..., :3]
    mode = "L" if channels < 3 else "RGB"
    spread = colours.amax(-1) - colours.amin(-1)
    if mode == "L" and bool((spread.numpy()[changed] > _FOUND_COLOUR).any()):
        log.warning("The picture is grey, and so is what was drawn into it: save it as RGB to draw colours.")
    if stored.profile is None and mode == "RGB" and levels.dtype == np.uint16:
        drawn = (colours.clamp(0, 1) * white).round().numpy().astype(levels.dtype)
    else:
        eight = np.asarray(from_srgb(to_pil(colours), stored.profile, mode)).reshape(*levels.shape[:2], -1)
        drawn = eight.astype(levels.dtype) * (white // 255)
    return np.concatenate([drawn, levels[..., -1:]], axis=-1) if channels in (2, 4) else drawn
