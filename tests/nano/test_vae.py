"""The nano VAE's training path against the unchanged model, its batches and its export."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from lightfusion_core.checkpoints.keys import canonical
from lightfusion_core.config import VAEConfig
from tools.nano.single_frame import decode, encode
from tools.nano.train_vae import CONFIG, new_vae
from tools.nano.vae_data import picture_batch
from tools.nano.vae_export import export


def test_two_dimensional_path_equals_the_model() -> None:
    vae = new_vae(0)
    pictures = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with torch.no_grad():
        posterior = vae.encode(pictures.unsqueeze(2)).latent_dist
        mean, log_variance = encode(vae, pictures)
        torch.testing.assert_close(mean, posterior.mean[:, :, 0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(log_variance, posterior.logvar[:, :, 0], rtol=1e-5, atol=1e-5)
        pixels = vae.decode(posterior.mean).sample[:, :, 0]
        torch.testing.assert_close(decode(vae, mean).clamp(-1, 1), pixels, rtol=1e-5, atol=1e-5)


def test_batches_repeat() -> None:
    for whole in (False, True):
        first = picture_batch(3, 7, whole, 64)
        assert torch.equal(first, picture_batch(3, 7, whole, 64))
        assert not torch.equal(first, picture_batch(3, 8, whole, 64)[: len(first)])
        assert first.min() >= -1 and first.max() <= 1


def test_export_loads_as_any_checkpoint(tmp_path: Path) -> None:
    """Every exported name is one that the core's reader knows, and leads back to the tensor that it came from."""
    vae = new_vae(1)
    config = json.loads(export(vae, CONFIG, tmp_path, count=32))
    assert len(set(config["std"])) == 1
    assert len(config["mean"]) == len(config["preview_factors"]) == VAEConfig(**config).z_dim
    read = {canonical(name): value for name, value in load_file(tmp_path / "vae.safetensors").items()}
    expected = {("vae", name): value.to(torch.bfloat16) for name, value in vae.state_dict().items()}
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[key], value) for key, value in expected.items())
    assert (tmp_path / "vae.safetensors").stat().st_size < 6.4e6
