"""Writes the trained VAE in the layout of the large model's: Wan's own names, bfloat16, and its statistics."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightfusion_core.checkpoints.keys import published
from lightfusion_core.config import VAEConfig
from lightfusion_core.shapes.scenes import random_scene
from lightfusion_core.shapes.world import render

from .single_frame import encode
from .vae_data import to_tensor


@torch.inference_mode()
def measured_config(vae: AutoencoderKLWan, config: VAEConfig, count: int = 1024) -> VAEConfig:
    """The configuration with the latents' statistics, over many scenes: a mean for each channel, but one deviation
    for all, because channels scaled to unit variance each were much harder to learn for the generator; and the
    least-squares fit from a normalised latent to the mean colour of its pixels."""
    rng = random.Random("statistics")
    latents, colors = [], []
    for _ in range(count // 32):
        pictures = to_tensor([render(random_scene(rng)) for _ in range(32)])
        latents.append(encode(vae, pictures)[0].permute(0, 2, 3, 1).flatten(0, 2))
        colors.append(torch.nn.functional.avg_pool2d(pictures, config.stride).permute(0, 2, 3, 1).flatten(0, 2))
    latent, color = torch.cat(latents).double(), torch.cat(colors).double()
    mean = latent.mean(dim=0)
    std = float((latent - mean).square().mean().sqrt())
    normal = torch.cat([(latent - mean) / std, torch.ones(len(latent), 1, dtype=torch.double)], dim=1)
    # A little ridge, or channels that hardly vary get factors so large that a preview of noise glares.
    ridge = 0.01 * len(normal) * torch.eye(normal.shape[1], dtype=torch.double)
    fit = torch.linalg.solve(normal.T @ normal + ridge, normal.T @ color)
    rounded = [[round(value, 5) for value in row] for row in fit.tolist()]
    return replace(
        config,
        mean=tuple(round(value, 5) for value in mean.tolist()),
        std=(round(std, 5),) * config.z_dim,
        preview_factors=tuple(map(tuple, rounded[:-1])),
        preview_bias=tuple(rounded[-1]),
    )


def export(vae: AutoencoderKLWan, config: VAEConfig, folder: Path, count: int = 1024) -> str:
    """Write `vae.safetensors` and `vae_config.json`; returns the latter's text. The statistics are taken over
    `count` scenes."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(vae, config, folder)
    text = json.dumps(asdict(measured_config(vae, config, count)), indent=1) + "\n"
    (folder / "vae_config.json").write_text(text, encoding="utf-8")
    return text


def export_decoder(vae: AutoencoderKLWan, config: VAEConfig, origin: Path, folder: Path) -> None:
    """The same of a VAE of which the decoder alone was trained. Its latents' statistics stay to the last digit those
    of the folder where it began, a model's or an export."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(vae, config, folder)
    exported = origin / "vae_config.json"
    if exported.exists():
        section = json.loads(exported.read_text(encoding="utf-8"))
    else:
        section = json.loads((origin / "config.json").read_text(encoding="utf-8"))["vae_config"]
    (folder / "vae_config.json").write_text(json.dumps(section, indent=1) + "\n", encoding="utf-8")


def read_vae(vae: AutoencoderKLWan, config: VAEConfig, folder: Path) -> None:
    """Give a VAE the weights in a model's folder or an export."""
    stored = load_file(folder / "vae.safetensors")
    names = {published("vae", name, config.num_res_blocks): name for name in vae.state_dict()}
    vae.load_state_dict({names[name]: value.float() for name, value in stored.items()})


def _write(vae: AutoencoderKLWan, config: VAEConfig, folder: Path) -> None:
    state: dict[str, Tensor] = vae.state_dict()
    weights = {
        published("vae", name, config.num_res_blocks): value.to(torch.bfloat16).contiguous()
        for name, value in state.items()
    }
    if len(weights) != len(state):
        raise ValueError(f"{len(state)} tensors have only {len(weights)} original names: the map is wrong.")
    save_file(weights, folder / "vae.safetensors", metadata={"format": "pt"})
