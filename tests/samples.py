"""Inputs for the tiny models, the measure of agreement, and what a process of tests starts with."""

from __future__ import annotations

import signal

import torch
from torch import Tensor

from lightfusion_core import Reference


def ids(text: str) -> list[int]:
    """One text segment for the tiny tokenizer: bos, the bytes, eos."""
    return [500, *text.encode(), 501]


def reference(vit: tuple[int, int] = (3, 4), vae: tuple[int, int] = (2, 3), seed: int = 0) -> Reference:
    """A reference with (rows, columns) of VLM tokens and of generation tokens."""
    draw = torch.Generator().manual_seed(100 + seed)
    pixels = torch.randn(3, 28 * vit[0], 28 * vit[1], generator=draw)
    return Reference(pixels, torch.randn(1, 48, 1, 2 * vae[0], 2 * vae[1], generator=draw))


def references(count: int) -> list[Reference]:
    """Up to three references of different sizes."""
    sizes = (((3, 4), (2, 3)), ((2, 2), (4, 3)), ((4, 3), (3, 3)))
    return [reference(vit, vae, seed) for seed, (vit, vae) in enumerate(sizes[:count])]


def latents(batch: int, rows: int, columns: int, seed: int = 0) -> Tensor:
    """Noise (batch, 48, 1, h, w) for pictures of (rows, columns) tokens."""
    return torch.randn(batch, 48, 1, 2 * rows, 2 * columns, generator=torch.Generator().manual_seed(seed))


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """The L2 norm of the difference over that of what is wanted."""
    return float((found - wanted).norm() / wanted.norm())


def heed_interrupts() -> None:
    """As from a terminal: a shell that started these tests in the background makes them ignore Ctrl+C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
