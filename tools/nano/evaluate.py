"""What a model draws when asked for one coloured shape, judged from its pixels.

    python -m tools.nano.evaluate MODEL_DIR

Prints the share drawn right and leaves a sheet of all pictures, the wrong ones framed in red.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lightfusion_core import LightFusion
from lightfusion_core.images import to_pil

from .judge import judge_prompt
from .model import RUNS
from .prompts import PromptSample, acceptance_prompts


def draw(model: LightFusion, samples: list[PromptSample], seed: int = 0) -> list[Image.Image]:
    """One picture for each prompt, with the model's own settings."""
    return [to_pil(model.generate(sample.prompt, seed=seed + k)[0]) for k, sample in enumerate(samples)]


def sheet(pictures: list[Image.Image], right: list[bool], columns: int = 10) -> Image.Image:
    """All pictures, the wrong ones framed in red."""
    width, height = (side + 8 for side in pictures[0].size)
    page = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), "white")
    pen = ImageDraw.Draw(page)
    for k, picture in enumerate(pictures):
        x, y = k % columns * width, k // columns * height
        if not right[k]:
            pen.rectangle((x, y, x + width - 1, y + height - 1), fill=(220, 0, 0))
        page.paste(picture, (x + 4, y + 4))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, default=RUNS / "acceptance.png")
    options = parser.parse_args()
    samples = acceptance_prompts()
    pictures = draw(LightFusion.load(options.model), samples, options.seed)
    right = [judge_prompt(sample, np.asarray(picture)) for sample, picture in zip(samples, pictures, strict=True)]
    options.sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet(pictures, right).save(options.sheet)
    print(f"{sum(right)} of {len(right)} right ({sum(right) / len(right):.0%}); {options.sheet}")
    for sample, good in zip(samples, right, strict=True):
        if not good:
            print(f"  wrong: {sample.prompt}")


if __name__ == "__main__":
    main()
