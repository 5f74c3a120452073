"""How a training goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import InputError
from .draws import Dropout

OPTIMIZERS = ("adamw", "adamw8bit")


@dataclass(frozen=True, slots=True)
class Settings:
    """A training's settings; noise levels, dropouts and Adam's betas by default as the large model was trained.

    Attributes:
        steps: optimiser steps of the whole run. batch: rows of a step, of all processes together. at_once: rows that a
            process runs through the network together; None for all of its own.
        rate: the learning rate, after `warmup` steps. decay: AdamW's weight decay. clip: a gradient's largest norm.
        rank, alpha: of the LoRA; its change is scaled by alpha / rank, alpha is the rank where None. rank 0 trains the
            whole generation side.
        ema: how much of the average of the weights stays at every step (less in the first ones); 0 for none.
        side: pixels of a square with the area that pictures are learned at; the model's own when None.
        recompute: keep no activations inside of blocks.
        optimizer: "adamw", or "adamw8bit", whose states take a quarter (bitsandbytes).
        save_every, sample_every: steps between checkpoints, and between sheets of samples (0: only at the end).
    """

    steps: int = 1000
    batch: int = 4
    at_once: int | None = None
    rate: float = 1e-4
    warmup: int = 20
    decay: float = 0.01
    clip: float = 1.0
    rank: int = 16
    alpha: float | None = None
    ema: float = 0.99
    seed: int = 0
    shift: float = 4.0
    dropout: Dropout = field(default_factory=Dropout)
    side: int | None = None
    recompute: bool = False
    optimizer: str = "adamw"
    save_every: int = 250
    sample_every: int = 250

    def __post_init__(self) -> None:
        """Raises InputError for a value that no training could take."""
        for name in ("steps", "batch", "rate", "clip", "shift", "save_every"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name.replace('_', ' ')} must be above 0, found {getattr(self, name):g}.")
        for name in ("warmup", "decay", "rank", "sample_every"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name.replace('_', ' ')} must be 0 or more, found {getattr(self, name):g}.")
        for name, share in (("ema", self.ema), *asdict(self.dropout).items()):
            if not 0 <= share <= 1:
                raise InputError(f"{name} must lie between 0 and 1, found {share:g}.")
        if self.at_once is not None and self.at_once < 1:
            raise InputError(f"At least 1 row runs at once, found {self.at_once}.")
        if self.side is not None and self.side < 1:
            raise InputError(f"Pictures are learned at a size of at least 1 pixel, found {self.side}.")
        if self.alpha is not None and not 0 < self.alpha < float("inf"):
            raise InputError(f"alpha must be above 0, found {self.alpha:g}.")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"The optimiser must be one of {', '.join(OPTIMIZERS)}, found {self.optimizer!r}.")

    @property
    def scale(self) -> float:
        """LoRA's alpha."""
        return float(self.rank if self.alpha is None else self.alpha)

    def decisive(self) -> dict[str, Any]:
        """What has to be the same where a run goes on: all but how long it is and how often it saves and shows."""
        every = asdict(self)
        return {name: every[name] for name in every if name not in ("steps", "save_every", "sample_every")}
