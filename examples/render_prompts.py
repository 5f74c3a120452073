"""Draw every line of a file of prompts into a folder, on as many workers as there are. Run it again to go on.

python examples/render_prompts.py prompts.txt pictures --model PATH --workers 4 --gpus 1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lightfusion_core import LightFusionError, Sampling
from lightfusion_core.batch import left_over, make_rows, read_prompts, render


def main() -> int:
    """0 when every picture is there, 1 when the engine refused some or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("prompts", type=Path, help="a text file, one prompt a line; empty lines are passed over")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--seed", type=int, default=0, help="of the first prompt; the next have the next")
    parser.add_argument("--steps", type=int, help="the model's own by default")
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--device")
    parser.add_argument("--workers", type=int, default=0, help="Ray actors; 0 draws in this process")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs a worker")
    arguments = parser.parse_args()
    settings = {name: getattr(arguments, name) for name in ("width", "height") if getattr(arguments, name)}
    try:
        sampling = {"steps": arguments.steps} if arguments.steps else {}
        Sampling(**sampling)  # refuses what no model could take, before one is loaded
        prompts = read_prompts(arguments.prompts)
        told = {"model": arguments.model, "steps": arguments.steps, **settings}
        rows = make_rows(prompts, arguments.folder, arguments.seed, **told)
        todo, failed = left_over(rows), 0
        print(f"{len(rows)} prompts, {len(todo)} to draw")
        for done in render(
            todo, workers=arguments.workers, gpus=arguments.gpus, model=arguments.model,
            load={"device": arguments.device}, sampling=sampling, settings=settings,
        ):  # fmt: skip
            failed += bool(done["error"])
            print(f"{done['file']}  {done['seconds']:.1f} s  {done['error'] or done['prompt']}", flush=True)
    except (LightFusionError, OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(todo) - failed} drawn, {failed} refused")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
