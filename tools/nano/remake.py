"""Make nano again, stage by stage, within a time: what was stopped goes on where it was.

    python -m tools.nano.remake --minutes 10                 from nothing
    python -m tools.nano.remake --minutes 10 --shipped       on from what ships

Every stage has its share of the time and trains until that is over, when its rate has fallen, or its plan is done;
what it left is what the next one begins with. A stage is over when the next one has begun, and the time that it leaves
goes to the others. At the end a model folder stands in `runs/nano/model`, and its scores beside it. Nothing is
downloaded. A CUDA device is used where there is one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .model import RUNS, TOKENIZER, VAE_EXPORT
from .train_generation import CHECKPOINT as GENERATION
from .train_generation import PICTURES
from .train_vae import FOLDER as VAE
from .train_vlm import CHECKPOINT as UNDERSTANDING

MODEL = RUNS / "model"
SCORES = RUNS / "scores.json"
BEGUN = RUNS / "begun.pt"
KEEP = 30
"""How strongly the understanding side of what ships keeps what its generation side reads; see `train_vlm`."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A module of this folder with its arguments.

    share: of the time; none for what takes as long as it takes. done: a checkpoint and the step at which it is done, or
    a file that is there then.
    """

    module: str
    arguments: tuple[str, ...]
    done: Path
    plan: int = 0
    share: float = 0.0


def stages(shipped: bool, plans: Sequence[int], pictures: int, count: int) -> list[Stage]:
    """What is to be done, in order. `plans`: the steps of VAE, understanding and generation side; `pictures`: prompts
    that the last learns from; `count`: requests of each kind for the scores."""
    vae, understanding, generation = plans
    keeping = ("--keep", str(KEEP), "--rate", "1e-3") if shipped else ()
    learned = Stage(
        "train_vlm", ("--finish", "--plan", str(understanding), *keeping), UNDERSTANDING, understanding, 0.35
    )  # fmt: skip
    drawn = Stage(
        "train_generation", ("--finish", "--plan", str(generation), "--pictures", str(pictures)),
        GENERATION, generation, 0.5,
    )  # fmt: skip
    ends = [
        Stage("export", (str(MODEL),), MODEL / "model.safetensors"),
        Stage("evaluate", ("--count", str(count), "--json", str(SCORES)), SCORES),
    ]
    if shipped:
        return [Stage("unpack", (), BEGUN), learned, drawn, *ends]
    begin = [
        Stage("tokens", (), TOKENIZER),
        Stage("train_vae", ("--steps", str(vae), "--threads", "1"), VAE / "checkpoint.pt", vae, 0.15),
        Stage("train_vae", ("--export", str(VAE_EXPORT)), VAE_EXPORT / "vae_config.json"),
    ]
    return [*begin, learned, drawn, *ends]


def _steps(stage: Stage) -> int:
    """How many steps a stage has trained."""
    if not stage.plan or not stage.done.exists():
        return 0
    return torch.load(stage.done, weights_only=True, map_location="cpu").get("step", 0)


def to_do(every: Sequence[Stage]) -> list[Stage]:
    """The stages that have something left to do: what follows the last one that was trained, and that one itself where
    its plan is not done."""
    begun = max((k for k, stage in enumerate(every) if _steps(stage)), default=0)
    return [
        stage
        for k, stage in enumerate(every)
        if k >= begun and (_steps(stage) < stage.plan if stage.plan else not stage.done.exists())
    ]


def run(every: Sequence[Stage], minutes: float) -> None:
    """Run what is not done, each stage for its share of the minutes that are left."""
    end = time.monotonic() + minutes * 60
    left = to_do(every)
    while left:
        stage = left.pop(0)
        now, shares = time.monotonic(), stage.share + sum(other.share for other in left)
        timed = ("--minutes", f"{max(0.0, (end - now) / 60 * stage.share / shares):.2f}") if stage.share else ()
        print(f"{stage.module} {' '.join((*stage.arguments, *timed))}", flush=True)
        command = [sys.executable, "-m", f"tools.nano.{stage.module}", *stage.arguments, *timed]
        subprocess.run(command, check=True)
        if stage.module == "unpack":
            shutil.copyfile(UNDERSTANDING, BEGUN)
        if stage.share:  # what comes of it is older than it
            for other in left:
                if not other.plan:
                    other.done.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="for all training together (default: %(default)s)")
    parser.add_argument("--shipped", action="store_true", help="go on from what ships")
    parser.add_argument(
        "--plans", type=int, nargs=3, default=(7000, 6000, 11000), metavar="STEPS",
        help="of VAE, understanding and generation side (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--pictures", type=int, default=PICTURES, help="prompts in store (default: %(default)s)")
    parser.add_argument("--count", type=int, default=50, help="requests of each kind for the scores")
    chosen = parser.parse_args()
    run(stages(chosen.shipped, chosen.plans, chosen.pictures, chosen.count), chosen.minutes)


if __name__ == "__main__":
    main()
