"""The engine without ComfyUI, in the server's Python: for every line that it is given it draws, and says the seconds.

python engine_alone.py STEPS
"""

from __future__ import annotations

import sys
import time

from lightfusion_core import Guidance, LightFusion, Sampling


def main(steps: int) -> None:
    model = LightFusion.load("nano", device="cpu")
    conditioning = model.encode("a red circle", negative_prompt="")
    for seed in map(int, sys.stdin):
        started = time.perf_counter()
        model.decode(model.sample(conditioning, 128, 128, seed, Sampling(steps), Guidance(3.0)))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
