"""Pictures to normalised latents and back: diffusers' Wan2.2 VAE for single frames (rule B25)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from ..config import VAEConfig
from ..errors import ConfigError, DependencyError, LightFusionError
from ..turns import Turn


def build_autoencoder(config: VAEConfig) -> nn.Module:
    """diffusers' AutoencoderKLWan in Wan2.2's form for these sizes, which takes single frames as pictures.

    Raises:
        ConfigError: widths that do not go together.
        DependencyError: diffusers is installed beside a huggingface-hub that it does not take.
    """
    try:
        from .single_frame import picture_autoencoder
    except (ImportError, RuntimeError) as error:  # the second where diffusers imports a module of its own late
        versions = ", ".join(f"{name} {_version(name)}" for name in ("diffusers", "huggingface-hub", "transformers"))
        raise DependencyError(
            f"The VAE needs diffusers, which does not import here ({versions}: {error}). With transformers below 5 "
            'install a diffusers that goes with it: python -m pip install "diffusers>=0.36,<0.40" transformers'
        ) from error

    # Its shortcuts average channels, and it asserts that they can
    try:
        return picture_autoencoder(
            base_dim=config.base_dim,
            decoder_base_dim=config.decoder_base_dim,
            z_dim=config.z_dim,
            dim_mult=list(config.dim_mult),
            num_res_blocks=config.num_res_blocks,
            temperal_downsample=list(config.temporal_downsample),
            is_residual=True,
            in_channels=3 * config.patch_size**2,
            out_channels=3 * config.patch_size**2,
            patch_size=config.patch_size,
            scale_factor_spatial=config.stride,
            latents_mean=list(config.mean),
            latents_std=list(config.std),
        )
    except (AssertionError, ValueError, ArithmeticError) as error:
        raise ConfigError(
            f"vae_config: base_dim {config.base_dim} and {config.decoder_base_dim} with dim_mult {config.dim_mult} are "
            f"no autoencoder's, whose levels divide into each other ({str(error) or type(error).__name__})."
        ) from None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"


class ImageVAE(nn.Module):
    """The autoencoder with the latent statistics that diffusers leaves to its callers.

    Several threads may share it: diffusers keeps a run's features and tiles on its model, so one picture is coded at a
    time.
    """

    model: Any  # diffusers' class, whose attributes torch's types do not know

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.model = build_autoencoder(config)
        self._turn = Turn()

    @property
    def device(self) -> torch.device:
        return self.model.quant_conv.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.quant_conv.weight.dtype

    def _statistics(self) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(v, device=self.device, dtype=torch.float32).view(1, -1, 1, 1, 1)
            for v in (self.config.mean, self.config.std)
        )
        return mean, std

    def encode(self, pixels: Tensor, tile: int | None = None) -> Tensor:
        """Pixels (B, 3, H, W) in -1..1, sides multiples of the stride, to normalised latents
        (B, C, 1, H / stride, W / stride) float32. The mean is taken, nothing is drawn; `tile` as for `decode`."""
        with self._turn:
            self._set_tile(tile)
            posterior = self.model.encode(pixels.unsqueeze(2).to(self.device, self.dtype)).latent_dist
        mean, std = self._statistics()
        return (posterior.mode().float() - mean) / std

    def decode(self, latent: Tensor, tile: int | None = None) -> Tensor:
        """Normalised latents (B, C, 1, h, w) to pixels (B, H, W, 3) float32 in 0..1.

        `tile` is the side in pixels of overlapping tiles that bound the memory of large pictures; None
        decodes at once.

        Raises:
            LightFusionError: latents that are no numbers.
        """
        check_finite(latent)
        mean, std = self._statistics()
        latent = (latent.to(self.device).float() * std + mean).to(self.dtype)
        with self._turn:
            self._set_tile(tile)
            pixels = self.model.decode(latent, return_dict=False)[0]
        return (pixels[:, :, 0].float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).contiguous()

    def _set_tile(self, tile: int | None) -> None:
        if tile is None:
            self.model.disable_tiling()
        else:
            self.model.enable_tiling(tile, tile, tile * 3 // 4, tile * 3 // 4)


def check_finite(latent: Tensor) -> None:
    """Refuse to decode what would come out black. Raises LightFusionError."""
    if not bool(latent.isfinite().all()):
        raise LightFusionError(
            "This latent holds numbers that are none (NaN or infinity), so there is no picture in it: draw it in "
            "bfloat16 or float32, and look at what was put into the model's weights or its prompt."
        )
