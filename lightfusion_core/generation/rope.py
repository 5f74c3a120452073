"""The two rotary embeddings: Wan's interleaved 3-D one (rule B15) and Qwen's multimodal one (rule B10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Rope = tuple[Tensor, Tensor]
"""cos and sin, float32; (tokens, head_dim / 2) for Wan's, (tokens, head_dim) for Qwen's."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A picture's positions along time, rows and columns, times `scale` from its first token on, plus `shift`."""

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def place(self, positions: Tensor) -> Tensor:
        """Positions (3, tokens) of a picture, float64, where they come to lie."""
        first = positions[:, :1].double()
        scale, shift = (torch.tensor(values, dtype=torch.float64)[:, None] for values in (self.scale, self.shift))
        return first + (positions - first) * scale + shift


AS_TRAINED = Stretch()
"""The positions that the models are trained with."""


def wan_rope(
    rows: int,
    columns: int,
    head_dim: int,
    device: torch.device | str,
    theta: float = 1e4,
    stretch: Stretch = AS_TRAINED,
) -> Rope:
    """Tables (rows * columns, head_dim / 2) of one frame, starting at (0, 0, 0) for every image."""
    spatial = 2 * (head_dim // 6)
    sizes = (head_dim - 2 * spatial, spatial, spatial)
    # float64 as the reference, and on the CPU: not every device has it
    grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    places = stretch.place(
        torch.stack([torch.zeros(rows * columns, dtype=torch.float32), grid[0].flatten(), grid[1].flatten()])
    )
    angles = [
        torch.outer(place, theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size))
        for place, size in zip(places, sizes, strict=True)
    ]
    angle = torch.cat(angles, dim=1)
    return angle.cos().float().to(device), angle.sin().float().to(device)


def apply_wan_rope(x: Tensor, rope: Rope) -> Tensor:
    """Rotate neighbouring pairs of x (..., tokens, head_dim)."""
    cos, sin = rope
    # one pass instead of twenty; compilers, and devices without complex numbers, take the other form
    if x.device.type in ("cpu", "cuda") and not torch.compiler.is_compiling():
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2).to(x.dtype)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)


def multimodal_rope(position_ids: Tensor, sections: Sequence[int], theta: float, device: torch.device | str) -> Rope:
    """Tables (tokens, head_dim) for `position_ids` (3, tokens): Qwen2.5-VL's m-rope, whose frequencies
    are dealt to time, height and width in runs of `sections`."""
    frequency, axis = multimodal_frequencies(sections, theta)
    angle = position_ids.cpu()[axis].T.float() * frequency
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos().to(device), angle.sin().to(device)


def multimodal_frequencies(sections: Sequence[int], theta: float) -> tuple[Tensor, Tensor]:
    """m-rope's frequencies (head_dim / 2), float32, and which of time, height and width (0, 1, 2) each belongs to."""
    half = sum(sections)
    frequency = 1.0 / theta ** (torch.arange(0, 2 * half, 2, dtype=torch.float32) / (2 * half))
    return frequency, torch.repeat_interleave(torch.arange(3), torch.tensor(list(sections)))


def apply_half_rope(x: Tensor, rope: Rope) -> Tensor:
    """Rotate x (..., tokens, head_dim), its first half against its second."""
    cos, sin = rope
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out.to(x.dtype)
