"""Stage 3: the generation side, with the understanding side and the VAE frozen.

Rectified flow (target: noise minus data), timesteps warped by the shift, the prompt dropped for one in
ten, as the paper trains the large model. The weights that ship are a running mean of the trained ones.

    python -m tools.nano.train_generation --minutes 60
"""

from __future__ import annotations

import argparse
import math
import random
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightfusion_core.checkpoints.loader import load_vae
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.understanding.tokenizer import Tokenizer
from lightfusion_core.understanding.tower import UnderstandingTower

from .flow import TextContext, new_generation, velocity
from .model import RUNS, SIZE, TOKENIZER, VAE_EXPORT, nano_config, read_vae_config
from .prompts import CATEGORIES, sample_prompt
from .single_frame import encode
from .train_vlm import CHECKPOINT as VLM
from .train_vlm import new_tower
from .world import render

CHECKPOINT = RUNS / "generation.pt"
DROP_TEXT = 0.1
MEAN_DECAY = 0.999


class Drawings:
    """Prompts with the clean latents of what they ask for, drawn and encoded once for all epochs."""

    def __init__(self, tokenizer: Tokenizer, vae: torch.nn.Module, count: int, simple: float, seed: int) -> None:
        self.tokenizer, rng = tokenizer, random.Random(seed)
        self.prompts: list[list[int]] = []
        latents = []
        for start in range(0, count, 64):
            pictures = []
            for _ in range(min(64, count - start)):
                category = rng.choice(("single_object", "colors", "colors")) if rng.random() < simple else None
                sample = sample_prompt(rng, category or rng.choice(CATEGORIES))
                self.prompts.append(tokenizer.encode(sample.prompt))
                pictures.append(render(sample.scene, SIZE))
            pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                latents.append(encode(vae, pixels)[0].float())
        config = read_vae_config()
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (config.mean, config.std))
        self.latents = ((torch.cat(latents) - mean) / std).unsqueeze(2)

    def batch(self, rng: random.Random, count: int) -> tuple[list[list[int]], Tensor]:
        """Token ids of `count` prompts, some dropped, and normalised latents (count, C, 1, h, w)."""
        chosen = rng.choices(range(len(self.prompts)), k=count)
        texts = [[] if rng.random() < DROP_TEXT else self.prompts[index] for index in chosen]
        return [[self.tokenizer.bos, *text, self.tokenizer.eos] for text in texts], self.latents[chosen]


def loss_of(
    tower: GenerationTower, vlm: UnderstandingTower, drawings: Drawings, rng: random.Random, count: int, shift: float
) -> Tensor:
    """The flow's loss over one batch."""
    ids, clean = drawings.batch(rng, count)
    draw = torch.Generator().manual_seed(rng.getrandbits(62))
    u = torch.sigmoid(torch.randn(count, generator=draw))
    sigma = shift * u / (1 + (shift - 1) * u)
    noise = torch.randn(clean.shape, generator=draw)
    level = sigma.view(-1, 1, 1, 1, 1)
    extent = max(clean.shape[-2:]) // tower.config.dit.patch_size
    markers = (drawings.tokenizer.sov, drawings.tokenizer.eov)
    # plain attention: on sequences this short the fused kernel's backward pass takes a third of a step
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        with torch.no_grad():
            context = TextContext(vlm, ids, extent, markers)
        found = velocity(tower, torch.lerp(clean, noise, level), (sigma * 1000).floor(), context)
    return (found.float() - (noise - clean)).square().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="how long to train")
    parser.add_argument("--plan", type=int, default=20000, help="steps over which the learning rate falls")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--pictures", type=int, default=40000, help="how many are drawn for all epochs")
    parser.add_argument("--simple", type=float, default=0.0, help="share of prompts for a single thing")
    parser.add_argument("--shift", type=float, default=nano_config().defaults.shift)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = nano_config(read_vae_config())
    tokenizer = Tokenizer(TOKENIZER, config.special_tokens)
    vlm = new_tower()
    vlm.load_state_dict(torch.load(VLM, weights_only=True)["tower"])
    vlm.eval().requires_grad_(False)
    vae = load_vae(Checkpoint.open(VAE_EXPORT), config, torch.float32, torch.device("cpu")).model
    drawings = Drawings(tokenizer, vae, options.pictures, options.simple, options.seed)
    print(f"drew {options.pictures} pictures", flush=True)
    tower = new_generation(config, options.seed)
    mean = new_generation(config, options.seed).requires_grad_(False)
    optimizers = optimizers_of(tower, options.rate)
    step, history = 0, []
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT, weights_only=True)
        tower.load_state_dict(saved["tower"])
        mean.load_state_dict(saved["mean"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, history = saved["step"], saved["history"]
        print(f"resumed at step {step}")
    started = saved_at = time.monotonic()
    while time.monotonic() - started < options.minutes * 60 and step < options.plan:
        rng = random.Random(options.seed * 1_000_003 + step)
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / options.plan))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = options.rate * min(1.0, step / 100) * (0.02 + 0.98 * fall)
        loss = loss_of(tower, vlm, drawings, rng, options.batch, options.shift)
        tower.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        decay = min(MEAN_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(mean.parameters()), list(tower.parameters()), 1 - decay)
        history.append((step, loss.item()))
        step += 1
        if step % 100 == 0:
            recent = np.mean([value for _, value in history[-100:]])
            print(f"step {step}  loss {recent:.4f}  {(time.monotonic() - started) / 60:.1f} min", flush=True)
        if time.monotonic() - saved_at > 120:
            _save(tower, mean, optimizers, step, history)
            saved_at = time.monotonic()
    _save(tower, mean, optimizers, step, history)


def optimizers_of(tower: GenerationTower, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices inside the blocks and fusion layers, Adam for everything else; Muon's
    updates are scaled so that one rate serves both."""
    inner = [
        p for name, p in tower.named_parameters() if p.ndim == 2 and name.startswith(("blocks.", "mm_attn_layers."))
    ]
    chosen = {id(parameter) for parameter in inner}
    outer = [parameter for parameter in tower.parameters() if id(parameter) not in chosen]
    return [
        torch.optim.Muon(inner, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _save(
    tower: GenerationTower,
    mean: GenerationTower,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    history: list,
) -> None:
    part = CHECKPOINT.with_suffix(".part")
    state = {
        "tower": tower.state_dict(),
        "mean": mean.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "history": history,
    }
    torch.save(state, part)
    part.replace(CHECKPOINT)


if __name__ == "__main__":
    main()
