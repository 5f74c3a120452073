"""What the generation side learns from: requests, and what each should give, drawn and encoded once."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightfusion_core.checkpoints.loader import load_vae
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.config import VAEConfig
from lightfusion_core.shapes.manners import MANNERS, sample_manner
from lightfusion_core.shapes.prompts import REFERENCES, sample_edit, sample_prompt, sample_reference
from lightfusion_core.shapes.world import Scene, render
from lightfusion_core.understanding.tokenizer import Tokenizer
from lightfusion_core.understanding.tower import UnderstandingTower

from .flow import Context
from .model import DEVICE, SIZE, VAE_EXPORT, nano_config, read_vae_config
from .single_frame import decode, encode
from .states import Row, see, vit_patches
from .words import loosen

TASKS = ("draw", "edit", "compose")
CATEGORY_SHARES = {
    "single_object": 1, "two_objects": 2, "counting": 2, "colors": 2, "position": 2, "color_attribution": 2, "free": 1,
    "several_things": 3, "three_related": 2, "sizes": 2,
}  # fmt: skip
MANNERS_SHARE = 0.2
"""How many prompts are written as strangers write them."""
EDIT_SHARES = {"recolor": 1, "replace": 3, "add": 2, "remove": 1, "move": 1, "background": 1, "the_one": 1}
"""Replaced and added objects have to be drawn as from a prompt, and take the longest to learn."""
DROP_TEXT, DROP_LATENT, DROP_VIT = 0.1, 0.1, 0.5
"""How often a condition is left out, as in the paper."""


class Pictures:
    """The trained VAE on single pictures: uint8 (B, H, W, 3) to normalised latents (B, C, 1, h, w), and back."""

    def __init__(self, folder: Path = VAE_EXPORT) -> None:
        config: VAEConfig = read_vae_config(folder)
        whole = nano_config(config)
        self.vae = load_vae(Checkpoint.open(folder), whole, torch.float32, DEVICE).model
        self.mean, self.std = (
            torch.tensor(values, device=DEVICE).view(1, -1, 1, 1) for values in (config.mean, config.std)
        )

    @torch.no_grad()
    def encode(self, pictures: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(pictures).to(DEVICE).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(DEVICE.type, torch.bfloat16):
            latents = encode(self.vae, pixels)[0].float()
        return ((latents - self.mean) / self.std).unsqueeze(2)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            pixels = decode(self.vae, latents.squeeze(2) * self.std + self.mean)
        return (pixels.float().clamp(-1, 1) * 127.5 + 127.5).byte().permute(0, 2, 3, 1).cpu().numpy()


@dataclass(frozen=True, slots=True)
class Request:
    """A text, the pictures that it speaks of, and the picture that it should give."""

    text: str
    references: tuple[Scene, ...]
    target: Scene


def request(task: str, rng: random.Random) -> Request:
    """A request of one task (of `TASKS`) in a training wording."""
    if task == "draw":
        if rng.random() < MANNERS_SHARE:
            prompt = sample_manner(rng, rng.choice(tuple(MANNERS)))
        else:
            category = rng.choices(list(CATEGORY_SHARES), list(CATEGORY_SHARES.values()))[0]
            prompt = sample_prompt(rng, category)
        return Request(prompt.prompt, (), prompt.scene)
    if task == "edit":
        edit = sample_edit(rng, rng.choices(list(EDIT_SHARES), list(EDIT_SHARES.values()))[0])
        return Request(edit.instruction, (edit.source,), edit.target)
    composition = sample_reference(rng, rng.choice(REFERENCES))
    return Request(composition.instruction, composition.references, composition.target)


class Requests:
    """Drawing contexts for the frozen towers' inputs."""

    def __init__(self, tokenizer: Tokenizer, vlm: UnderstandingTower) -> None:
        self.tokenizer, self.vlm, config = tokenizer, vlm.to(DEVICE), vlm.config
        side = round(SIZE / config.vit_image.stride)
        self.vit_grid, self.grid = (side, side), (SIZE // config.token_size,) * 2

    @torch.no_grad()
    def features(self, pictures: NDArray[np.uint8]) -> Tensor:
        """ViT features (B, tokens, width) of pictures uint8 (B, H, W, 3)."""
        return see(self.vlm, *vit_patches(torch.from_numpy(pictures).to(DEVICE).float() / 255, self.vlm.config))

    @torch.no_grad()
    def context(
        self, texts: Sequence[str], latents: Sequence[Sequence[Tensor]], features: Sequence[Sequence[Tensor]]
    ) -> Context:
        """The context of each text with the latents (C, 1, h, w) and the ViT features (tokens, width) of its
        references, in order; either may be empty, which leaves the references out of that side."""
        rows = []
        for text, clean, seen in zip(texts, latents, features, strict=True):
            row = Row((self.tokenizer.sov, self.tokenizer.eov))
            for _ in range(max(len(clean), len(seen))):
                if clean:
                    row.clean(*self.grid)
                if seen:
                    row.vit(*self.vit_grid)
            rows.append(row.text(self.tokenizer.segment(text)))
        every = [one for seen in features for one in seen]
        return Context(self.vlm, rows, torch.stack(every) if every else None, latents, self.grid)


class Drawings:
    """A store of requests of every task, whose pictures are drawn and encoded once for all epochs.

    Args:
        counts: how many requests of each task.
        kept: a file that keeps the latents between runs, for as long as the scenes are the same.
    """

    def __init__(self, requests: Requests, counts: dict[str, int], seed: str, kept: Path) -> None:
        self.requests = requests
        self.made: dict[str, list[Request]] = {}
        scenes: list[Scene] = []
        self.places: dict[str, list[range]] = {}
        for task, count in counts.items():
            rng = random.Random(f"{task}/{seed}")
            self.made[task] = [request(task, rng) for _ in range(count)]
            self.places[task] = []
            for one in self.made[task]:
                self.places[task].append(range(len(scenes), len(scenes) + len(one.references) + 1))
                scenes += (*one.references, one.target)
        self.latents = self._latents(scenes, kept)
        looked_at = sorted({k for places in self.places.values() for place in places for k in place[:-1]})
        self.row_of = {k: row for row, k in enumerate(looked_at)}
        self.features = self._features([scenes[k] for k in looked_at])

    def _latents(self, scenes: list[Scene], kept: Path) -> Tensor:
        drawn = hashlib.sha256(repr(scenes).encode()).hexdigest()
        if kept.exists():
            saved = torch.load(kept, weights_only=True, map_location=DEVICE)
            if saved["drawn"] == drawn:
                return saved["latents"]
        pictures = Pictures()
        parts = []
        for start in range(0, len(scenes), 64):
            parts.append(pictures.encode(_rendered(scenes[start : start + 64])).half())
            if start // 64 % 200 == 0:
                print(f"drew {start} of {len(scenes)} pictures", flush=True)
        latents = torch.cat(parts)
        torch.save({"drawn": drawn, "latents": latents}, kept)
        return latents

    @torch.no_grad()
    def _features(self, scenes: list[Scene]) -> Tensor:
        parts = [torch.empty(0, *self._feature_shape(), dtype=torch.bfloat16, device=DEVICE)]
        for start in range(0, len(scenes), 64):
            with torch.autocast(DEVICE.type, torch.bfloat16):
                parts.append(self.requests.features(_rendered(scenes[start : start + 64])).bfloat16())
        return torch.cat(parts)

    def _feature_shape(self) -> tuple[int, int]:
        rows, columns = self.requests.vit_grid
        return rows * columns, self.requests.vlm.config.text.hidden_size

    def batch(
        self, task: str, rng: random.Random, count: int, sides: tuple[str, ...] = ("vit", "vae")
    ) -> tuple[Context, Tensor]:
        """Contexts of `count` requests, conditions dropped by chance, and the latents that they should give.
        `sides` are those through which references are shown at all."""
        texts, latents, features = [], [], []
        chosen = rng.choices(range(len(self.made[task])), k=count)
        for index in chosen:
            place = self.places[task][index]
            text, no_latent, no_vit = (rng.random() < share for share in (DROP_TEXT, DROP_LATENT, DROP_VIT))
            if len(sides) < 2:  # the only side that shows the references stays
                no_latent, no_vit = "vae" not in sides, "vit" not in sides
            texts.append("" if text else loosen(rng, self.made[task][index].text))
            latents.append([] if no_latent else [self.latents[k].float() for k in place[:-1]])
            features.append([] if no_vit else [self.features[self.row_of[k]] for k in place[:-1]])
        target = self.latents[[self.places[task][index][-1] for index in chosen]].float()
        return self.requests.context(texts, latents, features), target


def _rendered(scenes: list[Scene]) -> NDArray[np.uint8]:
    return np.stack([render(scene, SIZE) for scene in scenes])
