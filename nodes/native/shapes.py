"""The shapes of latents: pictures (B, C, h, w) here, and one frame of a video (B, C, 1, h, w) in the engine."""

from __future__ import annotations

import comfy.ldm.common_dit
from torch import Tensor

from ...lightfusion_core.errors import InputError


def as_pictures(latents: Tensor) -> Tensor:
    """Latents (B, C, h, w), from those or from (B, C, 1, h, w), as video models' nodes give them.

    Raises:
        InputError: more than one frame, pictures and sound in one, or another number of dimensions.
    """
    if getattr(latents, "is_nested", False):
        raise InputError(
            "This latent holds a video with its sound, and this model draws pictures: take Empty LightFusion Latent."
        )
    if latents.ndim == 5 and latents.shape[2] == 1:
        return latents.squeeze(2)
    if latents.ndim != 4:
        raise InputError(
            f"This model draws pictures, whose latents have the shape (pictures, channels, height, width), and the one "
            f"given has {tuple(latents.shape)}: take Empty LightFusion Latent, or encode a picture with this model's "
            "VAE."
        )
    return latents


def in_tokens(latents: Tensor, patch: int) -> Tensor:
    """Latents (B, C, h, w) with sides filled up to whole tokens, for the engine: (B, C, 1, h', w').

    What is filled in is what the host's own transformers fill in.
    """
    return comfy.ldm.common_dit.pad_to_patch_size(latents, (patch, patch)).unsqueeze(2)


def cropped(latents: Tensor, like: Tensor) -> Tensor:
    """The engine's latents (B, C, 1, h', w') without what was filled in, in the shape of `like`."""
    return latents[..., : like.shape[-2], : like.shape[-1]].reshape(like.shape)
