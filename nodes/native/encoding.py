"""Requests to the understanding tower that a CLIP holds, and what is kept between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import comfy.sd
import torch
from torch import Tensor

from ...lightfusion_core.conditioning import Branch
from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.images import resized_size, to_pil
from ...lightfusion_core.understanding.vision import Reference, vae_pixels, vit_pixels
from .clip import UnderstandingModel
from .conditioning import to_tensor


def frames(images: Iterable[Tensor | None]) -> list[Tensor]:
    """Every frame (H, W, 3) of IMAGE batches, in order; sockets that are not wired are passed over."""
    return [frame[..., :3] for image in images if image is not None for frame in image]


def understanding(clip: comfy.sd.CLIP) -> UnderstandingModel:
    """The understanding model of a CLIP, loaded where it runs. Raises InputError for another model's CLIP."""
    model = clip.cond_stage_model
    if not isinstance(model, UnderstandingModel):
        raise InputError("This node takes LightFusion's CLIP: wire the CLIP of Load LightFusion into it.")
    clip.load_model()
    return model


def prepare(frame: Tensor, config: ModelConfig, vae: comfy.sd.VAE | None) -> Reference:
    """One frame as a reference, with a latent where a VAE is given (rule B23).

    Raises:
        InputError: a VAE of another model.
    """
    picture, latent = to_pil(frame), None
    if vae is not None:
        pixels = (vae_pixels(picture, config).permute(1, 2, 0) + 1) / 2
        latent = vae.encode(pixels.unsqueeze(0))
        if latent.ndim != 5 or latent.shape[1] != config.vae.z_dim:
            raise InputError(
                f"This VAE's latents have the shape {tuple(latent.shape)}, and the model's have {config.vae.z_dim} "
                "channels: wire the VAE of Load LightFusion."
            )
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.vae.mean, config.vae.std))
        latent = (latent.float().cpu() - mean) / std
    return Reference(vit_pixels(picture, config), latent)


def encode(
    clip: comfy.sd.CLIP,
    vae: comfy.sd.VAE | None,
    prompt: str,
    negative_prompt: str,
    pictures: Sequence[Tensor],
    *,
    system: str,
    thought: str,
    width: int,
    height: int,
    batch_size: int,
) -> tuple[Any, ...]:
    """Positive, negative and no-image CONDITIONING, an empty LATENT, its width and height.

    Raises:
        InputError: pictures without a VAE, or another model's CLIP or VAE.
    """
    model = understanding(clip)
    if pictures and vae is None:
        raise InputError("Reference pictures need the VAE: wire the VAE of Load LightFusion into this node.")
    references = [prepare(picture, model.config, vae) for picture in pictures]
    texts = [text for text in (system, prompt, thought) if text or text is prompt]
    negative = [] if system or thought else [negative_prompt]
    made = model.encode(clip.patcher.patches_uuid, texts, references, negative)
    if not (width and height):
        ruled = _own_size(model.config, pictures)
        width, height = width or ruled[0], height or ruled[1]
    stride, token = model.config.vae.stride, model.config.token_size
    width, height = (max(token, round(side / token) * token) for side in (width, height))
    latent = torch.zeros(batch_size, model.config.vae.z_dim, 1, height // stride, width // stride)
    branches = (made.full, made.negative, made.no_image or made.full)
    return *(_conditioning(branch) for branch in branches), {"samples": latent}, width, height


def _own_size(config: ModelConfig, pictures: Sequence[Tensor]) -> tuple[int, int]:
    if not pictures:
        return config.defaults.size, config.defaults.size
    return resized_size(pictures[-1].shape[1], pictures[-1].shape[0], config.vae_image)


def _conditioning(branch: Branch) -> list[list[Any]]:
    return [[to_tensor(branch), {"pooled_output": None}]]
