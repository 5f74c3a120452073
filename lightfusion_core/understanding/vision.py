"""A picture as the two towers see it (rule B23): ViT patches for the VLM, pixels for the VAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from ..config import ModelConfig, VisionConfig
from ..errors import InputError
from ..images import check_aspect, resize, resized_size, to_rgb, to_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """One input image, prepared.

    vit_pixels: (3, H, W) float32 with CLIP's normalisation, sides multiples of one vision token; None
        leaves the image out of the VLM.
    latent: (1, C, 1, h, w) float32, the VAE's clean normalised latent; None leaves it out of the DiT.
    """

    vit_pixels: Tensor | None = None
    latent: Tensor | None = None

    def __post_init__(self) -> None:
        if self.vit_pixels is None and self.latent is None:
            raise InputError("A reference needs pixels for the VLM, a latent for the generation tower, or both.")


def vit_pixels(image: Image, config: ModelConfig) -> Tensor:
    """The VLM's pixels (3, H, W) of a picture, resized by the model's rule and normalised.

    Raises:
        InputError: the picture is longer than 16:1.
    """
    check_aspect(*image.size)
    picture = to_tensor(resize(to_rgb(image), resized_size(*image.size, config.vit_image)))
    mean, std = (torch.tensor(values, dtype=torch.float32) for values in (CLIP_MEAN, CLIP_STD))
    return ((picture - mean) / std).permute(2, 0, 1).contiguous()


def vae_pixels(image: Image, config: ModelConfig) -> Tensor:
    """The VAE's pixels (3, H, W) in -1..1 of a picture, resized by the model's rule.

    Raises:
        InputError: the picture is longer than 16:1.
    """
    check_aspect(*image.size)
    picture = to_tensor(resize(to_rgb(image), resized_size(*image.size, config.vae_image)))
    return (picture * 2 - 1).permute(2, 0, 1).contiguous()


def patchify(pixels: Tensor, config: VisionConfig) -> tuple[Tensor, tuple[int, int]]:
    """Pixels (3, H, W) to flattened patches (n, numbers) and their grid (rows, columns).

    Order of the patches: merge-block row and column, then row and column in the block; of a patch's
    numbers: channel, time (the frame doubled), y, x.
    """
    size, merge = config.patch_size, config.spatial_merge_size
    rows, columns = pixels.shape[1] // size, pixels.shape[2] // size
    frames = pixels.unsqueeze(1).expand(-1, config.temporal_patch_size, -1, -1)
    patches = rearrange(
        frames,
        "c t (gh mh ph) (gw mw pw) -> (gh gw mh mw) (c t ph pw)",
        mh=merge, mw=merge, ph=size, pw=size,
    )  # fmt: skip
    return patches, (rows, columns)
