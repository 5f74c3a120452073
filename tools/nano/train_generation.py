"""Stage 3: the generation side, with the understanding side and the VAE frozen.

Rectified flow (target: noise minus data), timesteps warped by the shift; text, clean latents and ViT
tokens dropped for 0.1, 0.1 and 0.5 of the requests, as the paper trains the large model. Every step has
prompts at first and edits later, and other requests beside them in turns. The weights that ship are a
running mean of the trained ones.

    python -m tools.nano.train_generation --minutes 200
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from torch import Tensor

from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.sampling.guidance import Guidance
from lightfusion_core.sampling.loop import Sampling
from lightfusion_core.understanding.tokenizer import Tokenizer

from .draw import draw
from .drawings import TASKS, Drawings, Pictures, Requests, request
from .flow import chance, flow_loss, new_generation
from .model import DEVICE, RUNS, TOKENIZER, nano_config, read_vae_config
from .stream import Recorded, Stream
from .team import Team
from .train_vlm import load_tower
from .training import Training, optimizers_of, options, sheet

CHECKPOINT = RUNS / "generation.pt"
INNER = ("blocks.", "mm_attn_layers.")
PLAN = 11000
"""Steps of a whole training."""
BATCH, RATE = 128, 1.5e-3
PICTURES = 48000
"""Prompts in store, of all processes together."""
ROWS = {"draw": 0.625, "edit": 0.375, "compose": 0.25, "sized": 0.25}
"""Requests of each task as parts of a batch: the more references, the fewer, so that all take as long."""
BESIDE = {
    "draw": ("edit", "draw", "edit", "compose", "edit", "sized"),
    "edit": ("draw", "sized", "draw", "sized", "edit", "compose"),
}
"""The tasks beside the one that every step has, in turns."""
PROMPTS_FIRST = 0.4
"""The part of a training whose every step has prompts; later every step has edits. Shapes are learned from prompts,
since an edit finds most of them in its picture, and edits are learned last."""


def tasks_of(step: int, until: float, team: Team) -> tuple[str, ...]:
    """What a process learns at a step, with prompts in every one `until` a step. The processes of a team take one of
    its two tasks each and change places, since one pass over many rows is quicker than two over few."""
    most = "draw" if step < until else "edit"
    turns = BESIDE[most]
    tasks = (most, turns[step % len(turns)])
    return tasks if team.count == 1 else (tasks[(step + step // len(turns) + team.rank) % 2],)


def losses(
    tower: GenerationTower,
    drawings: Drawings,
    rng: random.Random,
    counts: list[tuple[str, int]],
    shift: float,
    sides: tuple[str, ...] = ("vit", "vae"),
) -> tuple[Tensor, dict[str, float]]:
    """The flow's loss, a mean over tasks, for so many requests of each; a task may come twice."""
    total, figures = torch.zeros((), device=DEVICE), {}
    with torch.autocast(DEVICE.type, torch.bfloat16):
        for task, count in counts:
            context, clean = drawings.batch(task, rng, count, sides)
            loss = flow_loss(tower, context, clean, *chance(rng, clean, shift))
            total = total + loss / len(counts)
            figures[f"{task} loss"] = float(loss.detach())
    return total, figures


def show(
    tower: GenerationTower, requests: Requests, pictures: Pictures, path: Path, sides: tuple[str, ...] = ("vit", "vae")
) -> None:
    """A sheet of what the model makes of a few requests of every task, references first."""
    rng = random.Random(1)
    wanted = [request(task, rng) for task, count in zip(TASKS[:3], (12, 8, 4), strict=True) for _ in range(count)]
    given = [[shown.render() for shown in one.references] for one in wanted]
    asked = [(one.text, seen) for one, seen in zip(wanted, given, strict=True)]
    drawn = draw(tower, requests, pictures, asked, 0, Sampling(20), Guidance(), sides)
    sheet(path, [([*seen, made], text) for (text, seen), made in zip(asked, drawn, strict=True)])


def source(chosen: argparse.Namespace) -> tuple[Requests, Drawings | None]:
    """The requests to learn from, on the frozen understanding side; on a CPU with a store of them (each process of a
    team has its own), on a GPU without one: there every step's are drawn anew."""
    requests = Requests(Tokenizer(TOKENIZER, nano_config().special_tokens), load_tower())
    if DEVICE.type == "cuda":
        return requests, None
    team = Team()
    count = team.share(chosen.pictures)
    counts = {"draw": count, "edit": count * 3 // 4, "compose": count // 4, "sized": count // 4}
    return requests, Drawings(requests, counts, f"{chosen.seed}/{team.rank}", RUNS / f"drawings{team.rank}.pt")


def train(
    checkpoint: Path,
    requests: Requests,
    store: Drawings | None,
    chosen: argparse.Namespace,
    sides: tuple[str, ...] = ("vit", "vae"),
) -> Training:
    """Train, or go on with, the tower of one checkpoint file; a sheet stands beside it. `requests`, `store`: see
    `source`."""
    config = nano_config(read_vae_config())
    tower, mean = new_generation(config, chosen.seed), new_generation(config, chosen.seed)
    training = Training(
        checkpoint, tower, mean, optimizers_of(tower, chosen.rate, INNER),
        rate=chosen.rate, plan=chosen.plan, seed=chosen.seed,
    )  # fmt: skip
    pictures, page = Pictures(), checkpoint.with_name(f"{checkpoint.stem}_sheet.png")
    pairs = max(1, training.team.count // 2)

    def counts_of(step: int) -> list[tuple[str, int]]:
        tasks = tasks_of(step, chosen.prompts_first * training.plan, training.team)
        return [(task, round(chosen.batch * ROWS[task] / pairs)) for task in tasks]

    recorded = Recorded(tower, requests, pictures, chosen.shift)
    ahead = Stream(requests, counts_of, training.plan, chosen.seed, sides).batches(training.step)

    def step(rng: random.Random) -> tuple[Tensor | None, dict[str, float]]:
        if store is not None:
            return losses(tower, store, rng, counts_of(training.step), chosen.shift, sides)
        return None, recorded(next(ahead), rng)

    training.run(step, chosen.minutes, lambda: show(mean, requests, pictures, page, sides), finish=chosen.finish)
    return training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options(parser, minutes=200, plan=PLAN, batch=BATCH, rate=RATE)
    parser.add_argument(
        "--pictures", type=int, default=PICTURES, help="prompts in store; 3/4 as many edits, 1/4 others"
    )
    parser.add_argument(
        "--prompts-first", type=float, default=PROMPTS_FIRST, help="part with prompts in every step, not edits"
    )
    parser.add_argument("--shift", type=float, default=nano_config().defaults.shift)
    chosen = parser.parse_args()
    train(CHECKPOINT, *source(chosen), chosen)


if __name__ == "__main__":
    main()
