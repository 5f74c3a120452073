"""The paper's ablations on nano: references through the ViT alone, the VAE alone or both; timestep shift 1, 2 or 4; and
deep fusion against the last layer's states alone.

As the large model's fusion was trained, every variant begins with a diffusion tower that can draw, nano's own, and with
fusion layers that know nothing. One seed each. Prints a table for the docs and leaves curves; a variant that is done
already is drawn from again.

    python -m tools.nano.unpack
    python -m tools.nano.ablate
"""

from __future__ import annotations

import argparse
import math
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from lightfusion_core.sampling.guidance import Guidance
from lightfusion_core.sampling.loop import Sampling
from lightfusion_core.shapes.bench import Report, run
from lightfusion_core.shapes.samples import GENEVAL

from .drawings import Requests
from .evaluate import Many, trained
from .flow import new_generation
from .model import RUNS, nano_config, read_vae_config
from .train_generation import CHECKPOINT, PICTURES, PROMPTS_FIRST, source, train
from .training import begin, plot

FOLDER = RUNS / "ablations"


@dataclass(frozen=True, slots=True)
class Variant:
    """What one training does.

    sides: through which references are shown. shift: of the noise levels. deep: see `Requests`.
    """

    sides: tuple[str, ...] = ("vit", "vae")
    shift: float = 4.0
    deep: bool = True


VARIANTS = {
    "as published": Variant(),
    "ViT alone": Variant(sides=("vit",)),
    "VAE alone": Variant(sides=("vae",)),
    "shift 2": Variant(shift=2.0),
    "shift 1": Variant(shift=1.0),
    "last layer alone": Variant(deep=False),
}


def begun() -> dict[str, torch.Tensor]:
    """The weights that every variant begins with."""
    weights: dict[str, torch.Tensor] = torch.load(CHECKPOINT, weights_only=True, map_location="cpu")["mean"]
    fresh = new_generation(nano_config(read_vae_config())).state_dict()
    return {name: fresh[name] if name.startswith("mm_attn_layers.") else tensor for name, tensor in weights.items()}


def examine(name: str, requests: Requests, seed: int, count: int) -> Report:
    """The scores of a trained variant, drawn as it was trained."""
    variant = VARIANTS[name]
    artist = Many(requests, trained(_file(name)), Guidance(), variant.sides)
    artist.sampling = Sampling(artist.sampling.steps, variant.shift)
    artist.tasks = ("generate", "edit")  # the understanding side is the same in all
    return run(artist, seed, count, lambda phase: None, lambda: None, ("text_to_image", "editing", "questions"))


def row(name: str, report: Report) -> str:
    """One line of the table."""
    drawn = [report.results[category].share for category in GENEVAL]
    cells = [
        *drawn,
        sum(drawn) / len(drawn),
        report.results["edits_done"].share,
        sum(report.change) / len(report.change),
    ]
    return " | ".join(["", name, *(f"{value:.3f}" for value in cells), ""]).strip()


def _file(name: str) -> Path:
    return FOLDER / f"{name.lower().replace(' ', '_')}.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100, help="requests of each kind (default: %(default)s)")
    parser.add_argument("--only", choices=VARIANTS, nargs="+", default=list(VARIANTS))
    chosen = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    requests, store = source(chosen)
    logs, rows = {}, []
    for name in chosen.only:
        variant = VARIANTS[name]
        print(name, flush=True)
        settings = Namespace(
            **vars(chosen),
            plan=chosen.steps,
            minutes=math.inf,
            prompts_first=PROMPTS_FIRST,
            finish=False,
            shift=variant.shift,
        )
        if not _file(name).exists():
            begin(_file(name), begun())
        requests.deep = variant.deep
        logs[name] = train(_file(name), requests, store, settings, variant.sides).log
        rows.append(row(name, examine(name, requests, chosen.seed, chosen.count)))
        print(rows[-1], flush=True)
    plot(FOLDER / "curves.png", logs)
    names = [category.replace("_", " ") for category in GENEVAL]
    print(" | ".join(["", "variant", *names, "mean", "edits done", "change outside", ""]).strip())
    print("|" + "---|" * (len(names) + 4))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
