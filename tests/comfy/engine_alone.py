"""The engine without ComfyUI, in the server's Python: seconds that a drawing takes, as JSON, one run after another.

python engine_alone.py STEPS RUNS
"""

from __future__ import annotations

import json
import sys
import time

from lightfusion_core import Guidance, LightFusion, Sampling


def main(steps: int, runs: int) -> None:
    model = LightFusion.load("nano", device="cpu")
    conditioning = model.encode("a red circle", negative_prompt="")
    seconds = []
    for seed in range(runs):
        started = time.perf_counter()
        model.decode(model.sample(conditioning, 128, 128, seed, Sampling(steps), Guidance(3.0)))
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
