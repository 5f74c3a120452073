"""What is drawn in a measurement: a prompt of so many tokens, with or without references, as random states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..conditioning import Branch, Conditioning, Segment
from ..config import ModelConfig
from ..layout import Split, TokenKind
from ..understanding.vision import Reference
from .presets import special_ids

PROMPT = 102
"""Tokens of a prompt: about two sentences with their frame."""


@dataclass(frozen=True, slots=True)
class Request:
    """A picture to draw.

    side: its sides in tokens of the generation tower. references: how many, each of that size. prompt: tokens
    of the prompt and of the negative one.
    """

    side: int
    references: int = 0
    prompt: int = PROMPT

    @property
    def tokens(self) -> int:
        return self.side**2

    def vit_side(self, config: ModelConfig) -> int:
        """Merged vision tokens along a reference's side, by the model's rule for square pictures."""
        return max(1, config.vit_image.max // config.vision.token_size)

    def context(self, config: ModelConfig) -> int:
        """Context tokens of the full and of the negative branch: references and prompt."""
        return self.references * (self.tokens + 2 + self.vit_side(config) ** 2 + 2) + self.prompt

    def latent(self, config: ModelConfig, batch: int = 1, seed: int = 0) -> Tensor:
        """Noise (B, C, 1, h, w) of the picture's size."""
        sides = self.side * config.dit.patch_size
        draw = torch.Generator().manual_seed(seed)
        return torch.randn(batch, config.dit.in_dim, 1, sides, sides, generator=draw)

    def conditioning(self, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Conditioning:
        """A frozen model's conditioning of random layer states, without an understanding tower."""
        made = _States(config, device, dtype)
        images: list[Segment] = []
        for index in range(self.references):
            made.add(images, TokenKind.CLEAN, self.side, self.side, self.latent(config, seed=index).to(device))
            made.add(images, TokenKind.VIT, self.vit_side(config), self.vit_side(config))
        full, negative, alone = (made.text(before, self.prompt) for before in (images, images, []))
        return Conditioning(full, negative, alone if images else None)

    def prompt_ids(self, config: ModelConfig, seed: int = 0) -> list[int]:
        """A prompt in token ids with its frame."""
        bos, eos, *_ = special_ids(config)
        draw = torch.Generator().manual_seed(seed)
        return [bos, *torch.randint(0, bos, (self.prompt - 2,), generator=draw).tolist(), eos]

    def prepared(self, config: ModelConfig) -> list[Reference]:
        """The references as both towers take them, random pixels and latents."""
        pixels = self.vit_side(config) * config.vision.token_size
        draw = torch.Generator().manual_seed(0)
        return [
            Reference(torch.randn(3, pixels, pixels, generator=draw), self.latent(config, seed=index))
            for index in range(self.references)
        ]


class _States:
    """Segments with random states."""

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        self.config, self.device, self.dtype = config, device, dtype

    def states(self, *shape: int) -> Tensor:
        return torch.randn(*shape, self.config.text.hidden_size, device=self.device, dtype=self.dtype)

    def add(self, segments: list[Segment], kind: TokenKind, rows: int, columns: int, latent: Tensor | None = None):
        split = Split(kind, segments[-1].split.next_start if segments else 0, rows, columns)
        hidden = self.states(self.config.text.num_hidden_layers, split.und_length)
        segments.append(Segment(split, hidden, latent))

    def text(self, before: list[Segment], tokens: int) -> Branch:
        segments = list(before)
        self.add(segments, TokenKind.TEXT, 1, tokens)
        extents = self.config.max_extent
        return Branch(tuple(segments), self.states(extents, self.config.text.num_hidden_layers, 2))
