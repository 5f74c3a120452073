"""Rectified flow: the noise levels that are learned, and the loss."""

from __future__ import annotations

import torch
from torch import Tensor


def warped(normal: Tensor, shift: float) -> Tensor:
    """Noise levels 0 to 1 out of normal numbers: a sigmoid, warped by the schedule's shift."""
    u = torch.sigmoid(normal)
    return shift * u / (1 + (shift - 1) * u)


def noisy(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Latents (B, C, 1, h, w) on the straight path between picture (0) and noise (1), at levels (B,)."""
    return torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1, 1))


def squared_error(velocity: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    """The loss (B, C, 1, h, w) before its mean: the path's velocity is noise minus picture."""
    return (velocity.float() - (noise - clean)).square()
