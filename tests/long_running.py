"""Make mixed requests of one model, and print the process's state after every hundred.

python long_running.py frozen|coupled FOLDER COUNT
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from samples import latents
from tiny import make_model

from lightfusion_core import Decoding, Guidance, LightFusion, LightFusionError, Sampling, Step
from lightfusion_core.picture_files import load_image, save_png

SHORT = Sampling(steps=2)


def state() -> dict[str, float]:
    gc.collect()
    said = Path("/proc/self/status").read_text(encoding="utf-8")
    kilobytes, threads = (int(re.search(rf"{name}:\s+(\d+)", said)[1]) for name in ("VmRSS", "Threads"))
    return {"megabytes": round(kilobytes / 1024, 1), "threads": threads, "files": len(os.listdir("/proc/self/fd"))}


def picture(number: int) -> Image.Image:
    shade = (number % 256, number // 2 % 256, 90)
    return Image.fromarray(np.full((40 + number % 3 * 16, 64, 3), shade, dtype=np.uint8))


def stop(step: Step) -> None:
    raise KeyboardInterrupt


def requests(model: LightFusion, folder: Path) -> list[Callable[[int], object]]:
    """Each takes a number that makes it new."""

    def cancelled(number: int) -> None:
        with suppress(KeyboardInterrupt):
            model.generate(f"cancelled {number}", width=64, height=64, seed=number, sampling=SHORT, on_step=stop)

    def failing(number: int) -> None:
        with suppress(LightFusionError):
            model.generate(f"failing {number}", width=64, height=10_000, seed=number, sampling=SHORT)
        with suppress(LightFusionError):
            model.edit(picture(number), "no", mask=Image.new("L", (3, 3)), sampling=Sampling(steps=0))

    def saved(number: int) -> None:
        save_png(picture(number), folder / "saved.png", {"prompt": str(number)})
        load_image(folder / "saved.png")

    return [
        lambda n: model.generate(f"draw {n}", width=64, height=64, seed=n, sampling=SHORT, on_step=lambda step: None),
        lambda n: model.edit(picture(n), f"edit {n}", sampling=SHORT, guidance=Guidance(text=3.0, image=1.5)),
        lambda n: "".join(model.answer(f"ask {n}", [picture(n)], decoding=Decoding(max_tokens=4))),
        lambda n: next(iter(model.answer(f"left after one word {n}", decoding=Decoding(max_tokens=4))), None),
        lambda n: model.decode(latents(1, 2 + n % 3, 2, seed=n)),
        cancelled,
        failing,
        saved,
    ]


def main(kind: str, folder: Path, count: int) -> None:
    torch.set_num_threads(1)
    model = make_model(folder, coupled=kind == "coupled")
    kinds = requests(model, folder)
    states = []
    for number in range(count):
        kinds[number % len(kinds)](number)
        if number % 100 == 99:
            states.append(state())
    print(json.dumps(states))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
