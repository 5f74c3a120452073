"""Pictures to a size that the model takes, and edited pictures back to the original's."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.sd
import torch
import torch.nn.functional as F
from torch import Tensor

from ...lightfusion_core import images
from ...lightfusion_core.config import ModelConfig, SizeRule
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.framing import Part
from ...lightfusion_core.keeping import restored
from .vae import LightFusionVAE

_NO_MASK = (64, 64)


def config_of(vae: comfy.sd.VAE) -> ModelConfig:
    """The configuration of the model that a VAE came with. Raises InputError for another model's VAE."""
    if not isinstance(vae, LightFusionVAE):
        raise InputError("This node takes LightFusion's VAE: wire the VAE of Load LightFusion into it.")
    return vae.config


def fitted_size(image: Tensor, own_size: bool, config: ModelConfig) -> tuple[int, int]:
    """The (width, height) at which a model edits pictures (B, H, W, C).

    Args:
        own_size: the pictures' own size, rounded to the model's multiple and never above its largest side;
            else what the model's rule gives.

    Raises:
        InputError: longer than 16:1.
    """
    height, width = image.shape[1:3]
    images.check_aspect(width, height)
    return images.resized_size(width, height, size_rule(own_size, config))


def size_rule(own_size: bool, config: ModelConfig) -> SizeRule:
    """How the size of an edit follows from the picture's; see `fitted_size`."""
    if not own_size:
        return config.vae_image
    token = config.token_size
    largest = min(config.defaults.max_size, config.extent) // token * token
    return SizeRule(largest, token, token, largest**2)


def fit(vae: comfy.sd.VAE, image: Tensor, own_size: bool, mask: Tensor | None) -> tuple[Tensor, Tensor, int, int]:
    """Pictures (B, h, w, 3) and masks (B or 1, h, w) at the size that the model takes, and its width and height.

    A mask covers every latent position that it touches, so that nothing within it is held to the original.
    Transparency is laid on white.

    Raises:
        InputError: another model's VAE, a mask of another size than the picture's, or longer than 16:1.
    """
    config = config_of(vae)
    width, height = fitted_size(image, own_size, config)
    fitted = torch.stack(
        [images.to_tensor(images.resize(images.to_pil(frame), (width, height))) for frame in images.rgb(image)]
    )
    mask = given_mask(image, mask)
    if mask is None:
        return fitted, torch.ones(len(image), height, width), width, height
    stride = config.vae.stride
    cells = F.adaptive_max_pool2d(masks_for(image, mask).float(), (height // stride, width // stride))
    return fitted, cells.repeat_interleave(stride, 1).repeat_interleave(stride, 2), width, height


def crop(
    vae: comfy.sd.VAE, image: Tensor, own_size: bool, mask: Tensor | None, edges: Sequence[int], context: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int]:
    """The part of pictures (B, H, W, C) that an edit is drawn in, one for all: the parts, where they may change, where
    the edit shows, the whole pictures with their new edges, and the place of the part in them, from the left and the
    top.

    Args:
        mask, edges, context: see `framing.Part.of`; a context of 0 leaves it to the picture.

    Raises:
        InputError: another model's VAE, or a mask, edges or a context that do not fit.
    """
    parts = parts_of(image, own_size, config_of(vae), mask, edges, context)
    whole, box = _padded(image, edges), parts[0].box or (0, 0, *parts[0].size)
    cut = whole[:, box[1] : box[3], box[0] : box[2]]
    everywhere = torch.ones(cut.shape[1:3], dtype=torch.float32)
    may, shown = (
        torch.stack([everywhere if one is None else one.float() for one in masks])
        for masks in ([part.mask for part in parts], [part.shown for part in parts])
    )
    return cut, may, shown, whole, box[0], box[1]


def parts_of(
    image: Tensor, own_size: bool, config: ModelConfig, mask: Tensor | None, edges: Sequence[int], context: float
) -> list[Part]:
    """The part of each mask's pictures, all with one box, which lies around all masks; raises as `crop`."""
    mask = given_mask(image, mask)
    masks = [None] if mask is None else list(masks_for(image, mask).float().cpu())
    around = None if mask is None else torch.stack(masks).amax(dim=0)
    rule = size_rule(own_size, config)
    return [Part.of(_size(image), one, edges, context or None, rule, around) for one in masks]


def _padded(image: Tensor, edges: Sequence[int]) -> Tensor:
    """Pictures (B, H, W, C) with pixels added at their edges, of the colours that they end in."""
    left, top, right, bottom = edges
    if not any(edges):
        return image
    rows = torch.arange(-top, image.shape[1] + bottom).clamp(0, image.shape[1] - 1)
    columns = torch.arange(-left, image.shape[2] + right).clamp(0, image.shape[2] - 1)
    return image[:, rows][:, :, columns]


def restore(
    image: Tensor,
    original: Tensor,
    mask: Tensor | None,
    before: Tensor | None,
    whole: Tensor | None = None,
    place: tuple[int, int] = (0, 0),
) -> tuple[Tensor, Tensor]:
    """Edited pictures (B, h, w, C) at exactly the original's size: (B, H, W, 3), or (B, H, W, 4) with the alpha of
    an original that has one; and where they show the edit, (B, H, W).

    Args:
        original: (B or 1, H, W, C).
        mask: (B or 1, H, W), 1 where the edit shows; where it is 0 the original stays, bit for bit.
        before: (B or 1, h, w, C), what the edited pictures are held against; see `keeping.restored`.
        whole: (B or 1, H', W', C), pictures that the originals are a part of. The result is these, with the edit in
            them.
        place: of the part in the whole, from the left and the top.

    Raises:
        InputError: another number of originals or masks, a mask of another size than the original's, or a part that
            does not lie in the whole.
    """
    _check_count("originals", original, image)
    mask = given_mask(original, mask)
    masks = [None] if mask is None else masks_for(original, mask, len(image))
    edited, originals, befores = images.rgb(image), _coloured(original), [None]
    if before is not None:
        _check_count("pictures before", before, image)
        befores = list(images.rgb(before))
    placement = images.Placement(_size(originals), _size(edited))
    made = [
        restored(frame, placement, originals[k % len(originals)], masks[k % len(masks)], befores[k % len(befores)])
        for k, frame in enumerate(edited)
    ]
    pictures = torch.stack([picture for picture, _ in made])
    changed = torch.stack([shown.float().cpu() for _, shown in made])
    return (pictures, changed) if whole is None else _placed(pictures, changed, whole, place)


def _placed(part: Tensor, changed: Tensor, whole: Tensor, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Parts, and where they changed, in whole pictures (B or 1, H, W, C)."""
    _check_count("whole pictures", whole, part)
    (height, width), (left, top) = part.shape[1:3], place
    if left < 0 or top < 0 or left + width > whole.shape[2] or top + height > whole.shape[1]:
        raise InputError(
            f"A part of {width}x{height} pixels at {left}, {top} does not lie in a picture of {whole.shape[2]}x"
            f"{whole.shape[1]}: wire whole, left and top of the LightFusion Crop that made it."
        )
    whole = _coloured(whole).repeat(len(part) // len(whole), 1, 1, 1)
    nowhere = torch.zeros(whole.shape[:3], dtype=torch.float32)
    for picture, one in ((whole, part), (nowhere, changed)):
        picture[:, top : top + height, left : left + width] = one
    return whole, nowhere


def _check_count(what: str, given: Tensor, image: Tensor) -> None:
    if len(given) not in (1, len(image)):
        raise InputError(
            f"{len(image)} edited pictures go with as many {what} or with one, and there are {len(given)}: give "
            "the batch that was edited."
        )


def masks_for(image: Tensor, mask: Tensor, count: int | None = None) -> Tensor:
    """Masks (B or 1, H, W) that fit pictures (B, H, W, C), `count` of them where that is not B.

    Raises:
        InputError: another number or another size.
    """
    masks, count = mask.reshape(-1, *mask.shape[-2:]), count or len(image)
    if len(masks) not in (1, count):
        raise InputError(
            f"{count} pictures go with as many masks or with one, and there are {len(masks)}: give one for each frame, "
            "or one for all."
        )
    if masks.shape[1:] != image.shape[1:3]:
        found, wanted = ("x".join(map(str, shape[::-1])) for shape in (masks.shape[1:], image.shape[1:3]))
        raise InputError(
            f"The mask is {found} pixels and the picture {wanted}: draw the mask on this picture, or resize it first."
        )
    return masks


def given_mask(image: Tensor, mask: Tensor | None) -> Tensor | None:
    """A mask (..., h, w) of pictures (B, H, W, C), None where it is only what the host's loaders put in the place of
    one: for a picture without transparency they give 64x64 of zeros, which someone may have inverted."""
    if mask is None or tuple(mask.shape[-2:]) != _NO_MASK:
        return mask
    inverted = image.shape[1:3] != _NO_MASK and bool((mask == 1).all())
    return None if inverted or not bool(mask.any()) else mask


def _coloured(image: Tensor) -> Tensor:
    """Pictures (B, H, W, C) in RGB, with their alpha where they have one."""
    colours, alpha = images.split_alpha(image)
    return colours if alpha is None else torch.cat([colours, alpha], dim=-1)


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[1]
