"""Requests to the understanding tower that a CLIP holds, and what is kept between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import comfy.sd
import torch
from torch import Tensor

from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.images import check_extent, resized_size, to_pil
from ...lightfusion_core.understanding.vision import Reference, vae_pixels, vit_pixels
from .clip import UnderstandingModel, check_layer
from .conditioning import to_tensor
from .tokens import PromptTokens, check_options


def check_clip(clip: comfy.sd.CLIP) -> UnderstandingModel:
    """The understanding model of a CLIP. Raises InputError for another model's CLIP, or one that a node has set up for
    another model's encoding."""
    model = clip.cond_stage_model
    if not isinstance(model, UnderstandingModel):
        raise InputError("This node takes LightFusion's CLIP: wire the CLIP of Load LightFusion into it.")
    check_layer(clip.layer_idx)
    check_options({"tokenizer_options": clip.tokenizer_options})
    return model


def prepare(frame: Tensor, model: UnderstandingModel, vae: comfy.sd.VAE | None) -> Reference:
    """One frame as a reference, with a latent where a VAE is given (rule B23).

    Raises:
        InputError: a VAE of another model.
    """
    picture, latent = to_pil(frame), None
    if vae is not None:
        pixels = (vae_pixels(picture, model.config).permute(1, 2, 0) + 1) / 2
        latent = model.latents.of(vae, pixels.unsqueeze(0))
    return Reference(vit_pixels(picture, model.config), latent)


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
    megapixels: float = 0.0,
) -> tuple[Any, ...]:
    """Positive, negative and no-image CONDITIONING, an empty LATENT, its width and height.

    Raises:
        InputError: pictures without a VAE, another model's CLIP or VAE, or a size beyond the model's largest.
    """
    model = check_clip(clip)
    if pictures and vae is None:
        raise InputError("Reference pictures need the VAE: wire the VAE of Load LightFusion into this node.")
    if not (width and height):
        ruled = _own_size(model.config, pictures, megapixels)
        width, height = width or ruled[0], height or ruled[1]
    check_extent(width, height, model.config)
    references = [prepare(picture, model, vae) for picture in pictures]
    ids = model.tokens.segment
    texts = [*([ids(system)] if system else []), ids(prompt), *([ids(thought, literal=True)] if thought else [])]
    negative = [] if system or thought else [ids(negative_prompt)]
    conditionings = _conditionings(model, clip, texts, references, negative)
    stride = model.config.vae.stride
    width, height = (model.config.rounded(side) for side in (width, height))
    latent = torch.zeros(batch_size, model.config.vae.z_dim, height // stride, width // stride)
    return *conditionings, {"samples": latent}, width, height


def _conditionings(
    model: UnderstandingModel,
    clip: comfy.sd.CLIP,
    texts: Sequence[Sequence[int]],
    references: Sequence[Reference],
    negative: Sequence[Sequence[int]],
) -> list[Any]:
    """Positive, negative and no-image CONDITIONING of text segments' ids."""
    full = PromptTokens(tuple(texts), tuple(references))
    instead = replace(full, texts=tuple(negative))
    tokens = (full, instead, replace(full, references=()))
    if clip.patcher.forced_hooks is not None:  # the host then encodes once for each of their times
        return [clip.encode_from_tokens_scheduled(part) for part in tokens]
    made = model.encode(clip, texts, references, negative)
    branches = (made.full, made.negative, made.no_image or made.full)
    return [
        [[to_tensor(branch, part, clip.patcher), {"pooled_output": None}]]
        for branch, part in zip(branches, tokens, strict=True)
    ]


def _own_size(config: ModelConfig, pictures: Sequence[Tensor], megapixels: float) -> tuple[int, int]:
    """The size in pixels where none is named: of so many megapixels, by the model's rule where those are 0."""
    side = config.defaults.size
    height, width = pictures[-1].shape[:2] if pictures else (side, side)
    if megapixels:
        scale = (megapixels * 2**20 / (width * height)) ** 0.5
        return config.rounded(width * scale), config.rounded(height * scale)
    return resized_size(width, height, config.vae_image) if pictures else (side, side)
