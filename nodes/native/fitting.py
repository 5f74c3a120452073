"""Pictures to a size that the model takes, and edited pictures back to the original's."""

from __future__ import annotations

import comfy.sd
import torch
import torch.nn.functional as F
from torch import Tensor

from ...lightfusion_core import images
from ...lightfusion_core.config import ModelConfig, SizeRule
from ...lightfusion_core.errors import InputError
from .vae import LightFusionVAE


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
    if not own_size:
        return images.resized_size(width, height, config.vae_image)
    token = config.token_size
    largest = min(config.defaults.max_size, config.max_extent * token) // token * token
    return images.resized_size(width, height, SizeRule(largest, token, token, largest**2))


def fit(vae: comfy.sd.VAE, image: Tensor, own_size: bool, mask: Tensor | None) -> tuple[Tensor, Tensor, int, int]:
    """Pictures (B, h, w, 3) and masks (B or 1, h, w) at the size that the model takes, and its width and height.

    A mask covers every latent position that it touches, so that nothing within it is held to the original.

    Raises:
        InputError: another model's VAE, a mask of another size than the picture's, or longer than 16:1.
    """
    config = config_of(vae)
    width, height = fitted_size(image, own_size, config)
    fitted = torch.stack(
        [images.to_tensor(images.resize(images.to_pil(frame), (width, height))) for frame in rgb(image)]
    )
    if mask is None:
        return fitted, torch.ones(len(image), height, width), width, height
    stride = config.vae.stride
    cells = F.adaptive_max_pool2d(masks_for(image, mask).float(), (height // stride, width // stride))
    return fitted, cells.repeat_interleave(stride, 1).repeat_interleave(stride, 2), width, height


def restore(image: Tensor, original: Tensor, mask: Tensor | None) -> Tensor:
    """Edited pictures (B, h, w, C) at exactly the original's size: (B, H, W, 3).

    Args:
        original: (B or 1, H, W, C).
        mask: (B or 1, H, W), 1 where the edit shows; where it is 0 the original stays, bit for bit.

    Raises:
        InputError: another number of originals or masks, or a mask of another size than the original's.
    """
    if len(original) not in (1, len(image)):
        raise InputError(
            f"{len(image)} edited pictures go with as many originals or with one, and there are {len(original)}: give "
            "the batch that was edited."
        )
    masks = [None] if mask is None else masks_for(original, mask, len(image))
    edited, originals = rgb(image), rgb(original)
    placement = images.Placement(_size(originals), _size(edited))
    return torch.stack(
        [
            images.restore(frame, placement, originals[k % len(originals)], masks[k % len(masks)])
            for k, frame in enumerate(edited)
        ]
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
            f"The mask is {found} pixels and the picture {wanted}: draw the mask on this picture (a picture loaded "
            "without transparency gives an empty mask of 64x64), or resize it first."
        )
    return masks


def rgb(image: Tensor) -> Tensor:
    """Pictures without an alpha channel."""
    return image[..., :3]


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[1]
