"""The image autoencoder as a ComfyUI VAE, which the stock VAE nodes accept.

Core's Wan2.2 VAE has its width written into it and takes a batch as time; ours is diffusers' for any
width, and a batch is a batch of pictures.
"""

from __future__ import annotations

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor, nn

from ...lightfusion_core.checkpoints.loader import load_vae as load_core_vae
from ...lightfusion_core.checkpoints.reader import Checkpoint
from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.generation.vae import ImageVAE


class FirstStage(nn.Module):
    """The autoencoder between pixels (B, 3, 1, H, W) in -1..1 and ComfyUI's latents, which are the
    encoder's own, without the statistics."""

    def __init__(self, vae: ImageVAE) -> None:
        super().__init__()
        self.model = vae.model

    def encode(self, pixels: Tensor) -> Tensor:
        return self.model.encode(pixels).latent_dist.mode()

    def decode(self, latent: Tensor) -> Tensor:
        return self.model.decode(latent, return_dict=False)[0]


class LightFusionVAE(comfy.sd.VAE):
    """ComfyUI's VAE around an autoencoder that is already built; encoding, decoding and tiling are its own."""

    def __init__(self, vae: ImageVAE, dtype: torch.dtype, config: ModelConfig) -> None:
        self.config = config
        stride = vae.config.stride
        self.first_stage_model = FirstStage(vae)
        width = vae.config.decoder_base_dim / 256
        self.memory_used_encode = lambda shape, dtype: 3300 * width * shape[-2] * shape[-1] * _bytes(dtype)
        self.memory_used_decode = lambda shape, dtype: 8000 * width * shape[-2] * shape[-1] * stride**2 * _bytes(dtype)
        self.downscale_ratio = (lambda frames: max(0, (frames + 3) // 4), stride, stride)
        self.upscale_ratio = (lambda frames: max(0, frames * 4 - 3), stride, stride)
        self.downscale_index_formula = (4, stride, stride)
        self.upscale_index_formula = (4, stride, stride)
        self.latent_channels = vae.config.z_dim
        self.latent_dim = 3
        self.output_channels = 3
        self.pad_channel_value = None
        self.process_input = lambda image: image * 2.0 - 1.0
        # in place: newer ComfyUI drops what it returns
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.working_dtypes = [torch.bfloat16, torch.float32]
        self.disable_offload = True  # plain layers cannot be cast from the offload device as they are used
        self.not_video = True
        self.extra_1d_channel = None
        self.crop_input = True
        self.audio_sample_rate = 44100
        self.size = None
        self.vae_dtype = dtype
        self.device = comfy.model_management.vae_device()
        self.output_device = comfy.model_management.intermediate_device()
        self.patcher = comfy.model_patcher.ModelPatcher(  # as core does for what must be loaded whole
            self.first_stage_model,
            load_device=self.device,
            offload_device=comfy.model_management.vae_offload_device(),
        )


def _bytes(dtype: torch.dtype) -> int:
    return comfy.model_management.dtype_size(dtype)


def load_vae(checkpoint: Checkpoint, config: ModelConfig) -> LightFusionVAE:
    """The VAE of a checkpoint."""
    dtype = comfy.model_management.vae_dtype(comfy.model_management.vae_device(), [torch.bfloat16, torch.float32])
    vae = load_core_vae(checkpoint, config, dtype, comfy.model_management.vae_offload_device())
    return LightFusionVAE(vae, dtype, config)
