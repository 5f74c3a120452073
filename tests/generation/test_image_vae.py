"""Latents are normalised on the way in and out, picture by picture (rule B25)."""

from __future__ import annotations

import torch
from samples import latents, relative_error

from lightfusion_core import LightFusion


def pixels(batch: int, height: int, width: int) -> torch.Tensor:
    coarse = torch.rand(batch, 3, height // 16, width // 16, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, scale_factor=16, mode="bilinear") * 2 - 1


def test_encoding_takes_the_normalised_mean(frozen: LightFusion) -> None:
    """Guards the statistics, which diffusers leaves to its callers, and a mean that is not drawn from."""
    vae, config = frozen.vae, frozen.config.vae
    given = pixels(1, 64, 96)
    with torch.no_grad():
        found = vae.encode(given)
        moments = vae.model._encode(given[:, :, None])
    mean = moments[:, : config.z_dim]
    wanted = (mean - torch.tensor(config.mean).view(1, -1, 1, 1, 1)) / torch.tensor(config.std).view(1, -1, 1, 1, 1)
    assert found.shape == (1, 48, 1, 4, 6)
    assert relative_error(found, wanted) <= 1e-6


def test_decoding_undoes_the_normalisation(frozen: LightFusion) -> None:
    """Guards the inverse, the range 0..1 with its clamp, and the channel order of a picture."""
    config, latent = frozen.config.vae, 1.5 * latents(1, 2, 3)
    raw = latent * torch.tensor(config.std).view(1, -1, 1, 1, 1) + torch.tensor(config.mean).view(1, -1, 1, 1, 1)
    with torch.no_grad():
        wanted = frozen.vae.model.decode(raw, return_dict=False)[0][0, :, 0]
    found = frozen.decode(latent)
    assert found.shape == (1, 64, 96, 3)
    assert relative_error(found[0], ((wanted + 1) / 2).clamp(0, 1).permute(1, 2, 0)) <= 1e-6


def test_pictures_of_a_batch_do_not_meet(frozen: LightFusion) -> None:
    """Guards the VAE's time axis, along which a batch must not be laid."""
    given, latent = pixels(3, 64, 64), latents(3, 2, 2)
    with torch.no_grad():
        together, alone = frozen.vae.encode(given), [frozen.vae.encode(one[None]) for one in given]
    assert relative_error(together, torch.cat(alone)) <= 1e-5
    singles = torch.cat([frozen.decode(one[None]) for one in latent])
    assert relative_error(frozen.decode(latent), singles) <= 1e-5


def test_tiles_bound_memory_and_do_not_stay_on(frozen: LightFusion) -> None:
    """Guards tiled decoding: near the whole, and the next call is untiled again."""
    latent = latents(1, 6, 6)
    whole = frozen.decode(latent)
    tiled = frozen.decode(latent, tile=128)
    assert tiled.shape == whole.shape
    assert 0 < relative_error(tiled, whole) < 0.3
    assert torch.equal(frozen.decode(latent), whole)
