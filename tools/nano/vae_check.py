"""How good the VAE is: what the judge makes of its reconstructions, and a sheet to look at."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from PIL import Image

from lightfusion_core.shapes.judge import judge_scene
from lightfusion_core.shapes.scenes import random_scene
from lightfusion_core.shapes.world import Scene, render

from .vae_data import to_tensor


@torch.inference_mode()
def reconstruct(vae: AutoencoderKLWan, pictures: Sequence[np.ndarray], noise: float = 0.0) -> list[np.ndarray]:
    """uint8 (H, W, 3) pictures of one size through the unchanged model and back, with Gaussian noise of the
    deviation `noise` on the latents: what a generator's small errors would do."""
    generator = torch.Generator().manual_seed(0)
    results: list[np.ndarray] = []
    for start in range(0, len(pictures), 16):
        frames = to_tensor(list(pictures[start : start + 16])).unsqueeze(2).to(next(vae.parameters()).device)
        latents = vae.encode(frames).latent_dist.mode()
        latents = latents + noise * torch.randn(latents.shape, generator=generator).to(latents.device)
        pixels = vae.decode(latents).sample[:, :, 0].permute(0, 2, 3, 1)
        results += list(((pixels + 1) * 127.5 + 0.5).clamp(0, 255).byte().cpu().numpy())
    return results


def check(vae: AutoencoderKLWan, seed: int, count: int = 200, noise: float = 0.0) -> dict[str, float]:
    """Shares of scenes that the judge reads right from the reconstruction, and the mean absolute error in 0..1."""
    rng = random.Random(f"check {seed}")
    results: dict[str, float] = {}
    for name, things, size in (
        ("single", 1, (128, 128)),
        ("scenes", None, (128, 128)),
        ("wide", None, (192, 128)),
    ):
        scenes = [random_scene(rng, things) for _ in range(count)]
        pictures = [render(scene, size) for scene in scenes]
        made = reconstruct(vae, pictures, noise)
        right = [judge_scene(scene, picture) for scene, picture in zip(scenes, made, strict=True)]
        error = [np.abs(a.astype(np.float32) - b).mean() / 255 for a, b in zip(pictures, made, strict=True)]
        results |= {f"{name}_right": float(np.mean(right)), f"{name}_error": float(np.mean(error))}
    return results


def save_sheet(vae: AutoencoderKLWan, path: Path, seed: int = 0, columns: int = 12, rows: int = 4) -> None:
    """Pictures and, below each, their reconstruction."""
    rng = random.Random(f"sheet {seed}")
    scenes: list[Scene] = [random_scene(rng) for _ in range(columns * rows)]
    pictures = [render(scene) for scene in scenes]
    made = reconstruct(vae, pictures)
    lines = []
    for start in range(0, len(pictures), columns):
        for line in (pictures, made):
            lines.append(
                np.concatenate([np.pad(item, ((1, 1), (1, 1), (0, 0))) for item in line[start : start + columns]], 1)
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(lines)).save(path)
