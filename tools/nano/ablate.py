"""The paper's ablations on nano: references through the ViT alone, the VAE alone or both; timestep shift 1, 2 or 4.

One seed each, a tenth of the steps of a whole training. Prints a table for the README and leaves curves.

    python -m tools.nano.ablate
"""

from __future__ import annotations

import argparse
import math
from argparse import Namespace

from lightfusion_core.sampling.guidance import Guidance
from lightfusion_core.sampling.loop import Sampling
from lightfusion_core.shapes.bench import Report, run
from lightfusion_core.shapes.samples import GENEVAL

from .drawings import Drawings
from .evaluate import Many, trained
from .model import RUNS
from .train_generation import BATCH, PICTURES, PLAN, PROMPTS_FIRST, RATE, store, train
from .training import plot

BOTH = ("vit", "vae")
VARIANTS: dict[str, tuple[tuple[str, ...], float]] = {
    "ViT and VAE, shift 4": (BOTH, 4.0),
    "ViT alone": (("vit",), 4.0),
    "VAE alone": (("vae",), 4.0),
    "shift 2": (BOTH, 2.0),
    "shift 1": (BOTH, 1.0),
}
"""The sides through which references are shown, and the shift, of every variant."""

FOLDER = RUNS / "ablations"


def examine(name: str, drawings: Drawings, seed: int, count: int) -> Report:
    """The scores of a trained variant, drawn as it was trained."""
    sides, shift = VARIANTS[name]
    artist = Many(drawings.requests, trained(FOLDER / f"{_file(name)}.pt"), Guidance(), sides)
    artist.sampling = Sampling(artist.sampling.steps, shift)
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


def _file(name: str) -> str:
    return name.lower().replace(", ", "_").replace(" ", "_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=PLAN // 10)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100, help="requests of each kind (default: %(default)s)")
    parser.add_argument("--only", choices=VARIANTS, nargs="+", default=list(VARIANTS))
    chosen = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawings = store(chosen)
    logs, rows = {}, []
    for name in chosen.only:
        sides, shift = VARIANTS[name]
        print(name, flush=True)
        settings = Namespace(
            **vars(chosen), plan=chosen.steps, minutes=math.inf, prompts_first=PROMPTS_FIRST, shift=shift
        )
        logs[name] = train(FOLDER / f"{_file(name)}.pt", drawings, settings, sides).log
        rows.append(row(name, examine(name, drawings, chosen.seed, chosen.count)))
        print(rows[-1], flush=True)
    plot(FOLDER / "curves.png", logs)
    names = [category.replace("_", " ") for category in GENEVAL]
    print(" | ".join(["", "variant", *names, "mean", "edits done", "change outside", ""]).strip())
    print("|" + "---|" * (len(names) + 4))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
