"""The image autoencoder as a ComfyUI VAE, which the stock VAE nodes accept.

Core's Wan2.2 VAE has its width written into it and takes a batch as time; ours is diffusers' for any
width, and a batch is a batch of pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor, nn

from ...lightfusion_core.checkpoints.keys import published
from ...lightfusion_core.checkpoints.loader import load_vae as load_core_vae
from ...lightfusion_core.checkpoints.reader import Checkpoint
from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.generation.vae import ImageVAE, check_finite
from ...lightfusion_core.images import rgb
from .running import running_kind
from .shapes import as_pictures


class FirstStage(nn.Module):
    """The autoencoder between pixels (B, 3, H, W) in -1..1 and ComfyUI's latents (B, C, h, w), which are the
    encoder's own, without the statistics."""

    def __init__(self, vae: ImageVAE) -> None:
        super().__init__()
        self.model = vae.model

    def encode(self, pixels: Tensor) -> Tensor:
        return self.model.encode(pixels.unsqueeze(2)).latent_dist.mode().squeeze(2)

    def decode(self, latent: Tensor) -> Tensor:
        return self.model.decode(latent.unsqueeze(2), return_dict=False)[0].squeeze(2)


class LightFusionVAE(comfy.sd.VAE):
    """ComfyUI's VAE around an autoencoder that is already built; encoding, decoding and tiling are its own."""

    def __init__(self, vae: ImageVAE, dtype: torch.dtype, config: ModelConfig) -> None:
        with _without_the_hosts_warning():
            super().__init__(sd={})  # sets all that this version of the host reads, and finds no model to build
        self.config = config
        stride = vae.config.stride
        self.first_stage_model = FirstStage(vae)
        width = vae.config.decoder_base_dim / 256
        # numbers a pixel: 327 and 833 were taken on a GPU, and fewer on a CPU (see the notes); a fifth more for others
        self.memory_used_encode = lambda shape, dtype: 400 * width * shape[-2] * shape[-1] * _bytes(dtype)
        self.memory_used_decode = lambda shape, dtype: 1000 * width * shape[-2] * shape[-1] * stride**2 * _bytes(dtype)
        self.downscale_ratio = self.upscale_ratio = stride
        self.latent_channels = vae.config.z_dim
        self.latent_dim = 2
        # in place: newer ComfyUI drops what it returns
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.working_dtypes = [torch.bfloat16, torch.float32]
        self.disable_offload = True  # plain layers cannot be cast from the offload device as they are used
        self.vae_dtype = dtype
        self.device = comfy.model_management.vae_device()
        self.output_device = comfy.model_management.intermediate_device()
        self.patcher = comfy.model_patcher.ModelPatcher(  # as core does for what must be loaded whole
            self.first_stage_model,
            load_device=self.device,
            offload_device=comfy.model_management.vae_offload_device(),
        )

    def vae_encode_crop_pixels(self, pixels: Tensor) -> Tensor:
        """Pixels (..., C) as the encoder takes them: in RGB, their sides cropped to its stride."""
        return super().vae_encode_crop_pixels(rgb(pixels))

    def decode(self, samples_in: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """Latents (B, C, h, w), or with one frame each, to pictures (B, H, W, 3) in 0..1.

        Raises:
            InputError: a video's latents, or a node that wants sound.
            LightFusionError: latents that are no numbers.
        """
        return super().decode(_readable(samples_in), *arguments, **options)

    def decode_tiled(self, samples: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """As `decode`, some part of the pictures after another."""
        return super().decode_tiled(_readable(samples), *arguments, **options)

    def decode_tiled_(self, samples: Tensor, tile_x: int = 32, tile_y: int = 32, overlap: int = 8) -> Tensor:
        """The host's, with tiles of half as many latents: these stand for twice as many pixels a side as those that
        it was written for, and it comes here when memory was too little for the whole."""
        return super().decode_tiled_(samples, tile_x, tile_y, overlap)

    def get_sd(self) -> dict[str, Tensor]:
        """The weights under Wan's own names, which other loaders of a Wan2.2 VAE read too."""
        depth = self.config.vae.num_res_blocks
        weights = self.first_stage_model.model.state_dict()
        return {published("vae", name, depth): tensor for name, tensor in weights.items()}


_READ_SOUND = ("VAEDecodeAudio", "VAEDecodeAudioTiled")


def _readable(samples: Tensor) -> Tensor:
    """Latents (B, C, h, w) of pictures. Raises as `LightFusionVAE.decode` does."""
    kind = running_kind()
    if kind in _READ_SOUND:
        raise InputError(f"{kind} wants a VAE for sound, and this one decodes pictures: take VAE Decode.")
    check_finite(samples)
    return as_pictures(samples)


@contextmanager
def _without_the_hosts_warning() -> Iterator[None]:
    """Keep the host's word that no VAE was found out of the log: ours is already built."""

    def is_another(record: logging.LogRecord) -> bool:
        return "No VAE weights detected" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(is_another)
    try:
        yield
    finally:
        root.removeFilter(is_another)


def _bytes(dtype: torch.dtype) -> int:
    return comfy.model_management.dtype_size(dtype)


def load_vae(checkpoint: Checkpoint, config: ModelConfig) -> LightFusionVAE:
    """The VAE of a checkpoint."""
    dtype = comfy.model_management.vae_dtype(comfy.model_management.vae_device(), [torch.bfloat16, torch.float32])
    vae = load_core_vae(checkpoint, config, dtype, comfy.model_management.vae_offload_device())
    return LightFusionVAE(vae, dtype, config)
