"""The nano VAE's training path against the unchanged model, its batches and its export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lightfusion_core.checkpoints.keys import canonical
from lightfusion_core.config import VAEConfig
from lightfusion_core.pipeline import NANO
from tools.nano import train_vae
from tools.nano.single_frame import decode, encode
from tools.nano.train_vae import CONFIG, decoder_losses, lesson, load, main, new_vae
from tools.nano.vae_data import picture_batch
from tools.nano.vae_export import export, export_decoder


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


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_decoder_learns_from_few_pictures(count: int) -> None:
    """Of large pictures a batch has so few that none of them has been through the VAE before."""
    pictures = torch.zeros(count, 3, 32, 32)
    terms = decoder_losses(new_vae(0), lesson(pictures, torch.Generator().manual_seed(0)))
    assert all(term.isfinite() for term in terms.values())


@pytest.mark.slow
def test_a_decoder_alone_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped and gone on with it is the uninterrupted one; the encoder and the latents' statistics stay to the bit."""
    once, twice = tmp_path / "once", tmp_path / "twice"

    def train(folder: Path, steps: int) -> None:
        monkeypatch.setattr(train_vae, "pace_of", lambda step, steps: 0.5)  # of the length of no run
        fixed = ["train_vae", "--decoder-of", str(NANO), "--threads", "1", "--rate", "0.004"]
        monkeypatch.setattr("sys.argv", [*fixed, "--folder", str(folder), "--steps", str(steps)])
        main()

    train(once, 2)
    train(twice, 1)
    train(twice, 2)
    assert all(
        torch.equal(*pair) for pair in zip(*(load(at).state_dict().values() for at in (once, twice)), strict=True)
    )
    export_decoder(load(once), CONFIG, NANO, tmp_path / "export")
    shipped, trained = (load_file(folder / "vae.safetensors") for folder in (NANO, tmp_path / "export"))
    assert shipped.keys() == trained.keys()
    changed = {name for name in shipped if not torch.equal(shipped[name], trained[name])}
    assert any(name.startswith("decoder.conv1") for name in changed)
    assert all(name.startswith(("decoder.", "conv2.")) for name in changed)
    sections = [
        json.loads((folder / file).read_text())
        for folder, file in ((NANO, "config.json"), (tmp_path / "export", "vae_config.json"))
    ]
    assert sections[0]["vae_config"] == sections[1]
