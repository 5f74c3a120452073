"""Average the weights of two checkpoints of which one began with the other: what the later training learned stays, and
what it unlearned comes back.

    cp runs/nano/generation.pt runs/nano/before.pt
    python -m tools.nano.train_generation
    python -m tools.nano.average runs/nano/before.pt runs/nano/generation.pt --output runs/nano/generation.pt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .training import begin


def average(first: Path, second: Path, share: float, output: Path) -> None:
    """Write a checkpoint of weights alone, the weighted mean of two running means.

    Args:
        share: of the second one, 0 to 1.
        output: may be either of the two.

    Raises:
        ValueError: the checkpoints are not of one model: a weight's name or shape differs.
    """
    one, other = (torch.load(path, weights_only=True)["mean"] for path in (first, second))
    differing = sorted(
        name for name in one.keys() | other.keys()
        if name not in one or name not in other or one[name].shape != other[name].shape
    )  # fmt: skip
    if differing:
        raise ValueError(f"{first} and {second} differ in {differing[0]}: give two checkpoints of the same stage.")
    begin(output, {name: torch.lerp(one[name].float(), other[name].float(), share) for name in one})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second one, 0 to 1 (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    average(chosen.first, chosen.second, chosen.share, chosen.output)
    print("wrote", chosen.output)


if __name__ == "__main__":
    main()
