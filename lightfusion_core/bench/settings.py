"""The settings that all measurements share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..config import ModelConfig

OnRound = Callable[[str], None]
"""Told what was just measured."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured, on what, and how often.

    side: of the picture in tokens of the generation tower. compiled: with torch.compile of the step.
    model: files to load instead of random ones, where loading is measured.
    """

    config: ModelConfig
    device: torch.device
    dtype: torch.dtype
    rounds: int
    side: int
    prompt: int
    compiled: bool = False
    model: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For reports."""
        return {
            "preset": self.config.name,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "rounds": self.rounds,
            "target_tokens": self.side**2,
            "prompt_tokens": self.prompt,
            "compiled": self.compiled,
        }


def quiet(what: str) -> None:
    """The watcher of a measurement that nobody watches."""
