"""The latents of reference pictures, kept so that another text does not encode its pictures again."""

from __future__ import annotations

import hashlib
import weakref
from typing import Any

import comfy.sd
from torch import Tensor

from ...lightfusion_core.config import VAEConfig
from ...lightfusion_core.errors import InputError
from .model import LightFusionLatent

_KEPT = 16


class ReferenceLatents:
    """The last latents that were made, by the pixels and the VAE that they come from."""

    def __init__(self, config: VAEConfig) -> None:
        self.config, self.format = config, LightFusionLatent(config)
        self.kept: dict[Any, Tensor] = {}

    def of(self, vae: comfy.sd.VAE, pixels: Tensor) -> Tensor:
        """The normalised latent (1, C, 1, h, w) float32 of pixels (1, H, W, 3) in 0..1.

        Raises:
            InputError: a VAE of another model.
        """
        key = (weakref.ref(vae), hashlib.sha256(pixels.numpy().tobytes()).digest(), pixels.shape)
        if key not in self.kept:
            self.kept[key] = self._encode(vae, pixels)
            while len(self.kept) > _KEPT:
                self.kept.pop(next(iter(self.kept)))
        return self.kept[key]

    def _encode(self, vae: comfy.sd.VAE, pixels: Tensor) -> Tensor:
        latent, stride = vae.encode(pixels), self.config.stride
        wanted = (len(pixels), self.config.z_dim, pixels.shape[1] // stride, pixels.shape[2] // stride)
        if latent.shape != wanted:  # of another stride too: its channels may be as many
            raise InputError(
                f"This VAE's latents have the shape {tuple(latent.shape)}, and the model's have {wanted} for this "
                "picture: wire the VAE of Load LightFusion."
            )
        return self.format.process_in(latent.float().cpu()).unsqueeze(2)
