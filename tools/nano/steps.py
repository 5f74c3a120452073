"""What fewer steps cost on nano: `docs/steps.png`, from every solver with and without the step cache.

The score is `lightfusion bench shapes`' judge on held-out prompts of all six categories, the distance is to the picture
of 50 steps of UniPC. Many prompts are drawn in one batch; each picture is what its seed draws alone.

    python -m tools.nano.steps --count 8 --json output/steps.json      goes on where it was stopped
    python -m tools.nano.steps --from output/steps.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Container, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightfusion_core import Guidance, LightFusion, Passes
from lightfusion_core.bench.report import plotting
from lightfusion_core.images import to_pil
from lightfusion_core.sampling.loop import make_noise
from lightfusion_core.sampling.schedule import make_schedule
from lightfusion_core.sampling.skipping import Skipping
from lightfusion_core.sampling.solvers import SOLVERS, solver
from lightfusion_core.shapes.bench import prompts_of
from lightfusion_core.shapes.judge import judge_prompt
from lightfusion_core.shapes.samples import GENEVAL, PromptSample

PLOT = Path(__file__).parents[2] / "docs" / "steps.png"
STEPS = (10, 12, 16, 20, 30, 50)
CACHE = 0.05
_AT_ONCE = 32


class Requests:
    """Prompts that are drawn together.

    Args:
        count: of each category. seed: of the prompts and of the pictures.
    """

    def __init__(self, model: LightFusion, count: int, seed: int) -> None:
        self.model, side = model, model.config.defaults.size
        self.samples: list[PromptSample] = [one for name in GENEVAL for one in prompts_of(name, seed, count)]
        self.guidance = Guidance(model.config.defaults.text_guidance)
        self.velocities = [model.guided(model.encode(one.prompt), side, side, self.guidance) for one in self.samples]
        sides = side // model.config.vae.stride
        self.noise = make_noise((model.config.dit.in_dim, 1, sides, sides), range(len(self.samples)))

    def draw(self, name: str, steps: int, cache: float) -> tuple[Tensor, Passes]:
        """Latents of all requests, and what they cost."""
        schedule, passes = make_schedule(steps, self.model.config.defaults.shift), Passes()
        parts = []
        for start in range(0, len(self.samples), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(self.samples)))
            skipping = Skipping(cache, 1, passes)

            def predict(x: Tensor, sigma: float, timestep: int, rows=rows, skipping=skipping) -> Tensor:
                def evaluate(pictures: Sequence[int], guided: bool) -> tuple[Tensor, Tensor]:
                    return self._evaluate(x[pictures], timestep, [rows[k] for k in pictures])

                return skipping(len(x), sigma, None, 2, 2, evaluate)

            parts.append(solver(name)(predict, self.noise[rows.start : rows.stop], schedule, lambda step: None))
        return torch.cat(parts), passes

    @torch.no_grad()
    def _evaluate(self, x: Tensor, timestep: int, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        contexts = [self.velocities[row].context for row in rows]
        branches = [context.branches[kind] for kind in (0, 1) for context in contexts]
        tower = self.model.generation
        full, negative = tower.velocity(torch.cat([x, x]), timestep, contexts[0], branches).chunk(2)
        return full, self.guidance.mix(full, negative, None, tower.config.dit.patch_size)

    def score(self, latents: Tensor) -> float:
        """The share of pictures that show what was asked for."""
        right = [
            judge_prompt(sample, np.asarray(to_pil(self.model.decode(latent[None])[0])))
            for sample, latent in zip(self.samples, latents, strict=True)
        ]
        return sum(right) / len(right)


def measured(requests: Requests, there: Container[tuple[float, str, int]]) -> Iterator[dict[str, Any]]:
    """A line for each solver, with and without the cache, and number of steps, except for those that are there."""
    target, _ = requests.draw("unipc", 50, 0.0)
    norms = target.flatten(1).norm(dim=1)
    for cache, name, steps in product((0.0, CACHE), SOLVERS, STEPS):
        if (cache, name, steps) in there:
            continue
        drawn, passes = requests.draw(name, steps, cache)
        away = (drawn - target).flatten(1).norm(dim=1) / norms
        yield {
            "solver": name, "cache": cache, "steps": steps, "passes": passes.run / 2 / len(requests.samples),
            "distance": float(away.mean()), "score": requests.score(drawn),
        }  # fmt: skip


def plot(lines: Sequence[dict[str, Any]], count: int, file: Path) -> None:
    """Score and distance against the passes that a picture takes."""
    pyplot = plotting()
    figure, both = pyplot.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for color, name in zip(("C0", "C1", "C2", "C3"), SOLVERS, strict=True):
        for cached, style, marker in ((False, "-", "o"), (True, "--", "x")):
            own = [one for one in lines if one["solver"] == name and (one["cache"] > 0) == cached]
            label = f"{name}, cache {CACHE}" if cached else name
            for axes, value in zip(both, ("score", "distance"), strict=True):
                points = [one for one in own if one[value] > 0]  # 50 steps of UniPC are what is measured to
                xs, ys = [one["passes"] for one in points], [one[value] for one in points]
                axes.plot(xs, ys, style, color=color, marker=marker, label=label)
    for axes, shown in zip(both, (f"right of {count} prompts", "distance to 50 steps of UniPC"), strict=True):
        axes.set(xlabel="guided passes of the network a picture", ylabel=shown)
        axes.grid(alpha=0.3)
    both[0].set_ylim(0.5, 1.01)  # one picture more or less is not to look like much
    both[1].set_yscale("log")
    both[1].legend(fontsize=8)
    figure.suptitle(f"nano: what fewer steps cost ({', '.join(map(str, STEPS))} steps of each solver)")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=8, help="prompts of each category (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("output/steps.json"))
    parser.add_argument("--from", dest="given", type=Path, help="draw the plot of figures that are there")
    parser.add_argument("--plot", type=Path, default=PLOT)
    chosen = parser.parse_args()
    if chosen.given is None:
        requests = Requests(LightFusion.load("nano", device="cpu"), chosen.count, chosen.seed)
        told = json.loads(chosen.json.read_text(encoding="utf-8")) if chosen.json.exists() else {}
        lines = told["lines"] if told.get("prompts") == len(requests.samples) else []
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        for line in measured(requests, {(one["cache"], one["solver"], one["steps"]) for one in lines}):
            lines.append(line)
            print(line, flush=True)
            chosen.json.write_text(json.dumps({"prompts": len(requests.samples), "lines": lines}, indent=1) + "\n")
    told = json.loads((chosen.given or chosen.json).read_text(encoding="utf-8"))
    plot(told["lines"], told["prompts"], chosen.plot)
    print(chosen.plot)


if __name__ == "__main__":
    main()
