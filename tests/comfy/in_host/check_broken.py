"""What is no number is told, and never drawn as a black picture."""

from __future__ import annotations

import torch
from harness import empty, load, node, raised


def check_a_broken_latent_is_refused() -> None:
    """In one go and in tiles."""
    latent = {"samples": torch.full_like(empty(64, 64)["samples"], float("nan"))}
    for kind, settings in (("VAEDecode", {}), ("VAEDecodeTiled", {"tile_size": 64, "overlap": 0})):
        message = raised(lambda kind=kind, settings=settings: node(kind, samples=latent, vae=load()[2], **settings))
        assert "no picture in it" in message, message
