"""Wan's VAE on single pictures, in two dimensions: for training, about three times as fast, and exactly the same.

A causal convolution sees zeros before the first frame, so that of its weights only the last in time count, and the
layers that resample time do nothing. The functions here take the modules of diffusers' `AutoencoderKLWan` and read
their weights.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from torch import Tensor, nn


def _conv(layer: Any, x: Tensor) -> Tensor:
    weight = layer.weight
    if weight.dim() == 5:
        weight = weight[:, :, -1]
    return F.conv2d(x, weight, layer.bias, padding=weight.shape[-1] // 2)


def _norm(layer: Any, x: Tensor) -> Tensor:
    scale = torch.rsqrt(x.float().square().mean(dim=1, keepdim=True) + 1e-12)
    return (x * scale * layer.gamma.view(1, -1, 1, 1)).to(x.dtype)


def _resnet(block: Any, x: Tensor) -> Tensor:
    shortcut = x if isinstance(block.conv_shortcut, nn.Identity) else _conv(block.conv_shortcut, x)
    x = _conv(block.conv1, F.silu(_norm(block.norm1, x)))
    return shortcut + _conv(block.conv2, F.silu(_norm(block.norm2, x)))


def _attention(block: Any, x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    q, k, v = block.to_qkv(_norm(block.norm, x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
    out = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2).unflatten(2, (height, width))
    return x + block.proj(out)


def _middle(block: Any, x: Tensor) -> Tensor:
    return _resnet(block.resnets[1], _attention(block.attentions[0], _resnet(block.resnets[0], x)))


def _average_down(shortcut: Any, x: Tensor) -> Tensor:
    """The residual past a down block. With time in it (factor_t 2), a frame of zeros stands before the picture."""
    x = F.pixel_unshuffle(x, shortcut.factor_s) if shortcut.factor_s > 1 else x
    if shortcut.factor_t == 2:
        space = shortcut.factor_s**2
        x = x.unflatten(1, (-1, 1, space))
        x = torch.cat([torch.zeros_like(x), x], dim=2).flatten(1, 3)
    return x.unflatten(1, (shortcut.out_channels, shortcut.group_size)).mean(dim=2)


def _duplicate_up(shortcut: Any, x: Tensor) -> Tensor:
    """The residual past an up block. With time in it, the picture is the last of the frames made."""
    x = x.repeat_interleave(shortcut.repeats, dim=1)
    x = x.unflatten(1, (shortcut.out_channels, shortcut.factor_t, shortcut.factor_s**2))[:, :, -1]
    return F.pixel_shuffle(x.flatten(1, 2), shortcut.factor_s)


def _down(block: Any, x: Tensor) -> Tensor:
    shortcut = _average_down(block.avg_shortcut, x)
    for resnet in block.resnets:
        x = _resnet(resnet, x)
    if block.downsampler is not None:
        x = block.downsampler.resample(x)
    return x + shortcut


def _up(block: Any, x: Tensor) -> Tensor:
    shortcut = None if block.avg_shortcut is None else _duplicate_up(block.avg_shortcut, x)
    for resnet in block.resnets:
        x = _resnet(resnet, x)
    if block.upsampler is None:
        return x
    return block.upsampler.resample[1](F.interpolate(x, scale_factor=2, mode="nearest-exact")) + shortcut


def encode(vae: AutoencoderKLWan, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W) in -1..1 to the mean and the log variance of their latents, (B, C, H/16, W/16) each."""
    # Wan folds a patch column first, pixel_unshuffle row first.
    x = F.pixel_unshuffle(pictures.transpose(2, 3), vae.config.patch_size).transpose(2, 3)
    x = _conv(vae.encoder.conv_in, x)
    for block in vae.encoder.down_blocks:
        x = _down(block, x)
    x = _middle(vae.encoder.mid_block, x)
    x = _conv(vae.encoder.conv_out, F.silu(_norm(vae.encoder.norm_out, x)))
    mean, log_variance = _conv(vae.quant_conv, x).float().chunk(2, dim=1)
    return mean, log_variance.clamp(-30, 20)


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Latents (B, C, h, w) to pictures (B, 3, 16h, 16w), -1..1 but not clamped."""
    x = _conv(vae.decoder.conv_in, _conv(vae.post_quant_conv, latents))
    x = _middle(vae.decoder.mid_block, x)
    for block in vae.decoder.up_blocks:
        x = _up(block, x)
    x = _conv(vae.decoder.conv_out, F.silu(_norm(vae.decoder.norm_out, x))).float()
    return F.pixel_shuffle(x.transpose(2, 3), vae.config.patch_size).transpose(2, 3)
