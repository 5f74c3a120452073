"""An edit's step with everything cached that may be, beside a joint forward that recomputes the context at each
step and runs the branches one after another. Both give the same velocity."""

from __future__ import annotations

import torch

from ..generation.compiled import compile_step
from ..generation.context import ContextBuilder
from ..sampling.guidance import Guidance
from ..sampling.loop import GuidedVelocity
from ..understanding.encoder import Encoder
from .plain import JointForward
from .presets import random_generation, random_understanding, special_ids
from .report import Report, Series, of_ratio, of_time, spread_dict
from .requests import Request
from .settings import OnRound, Settings, quiet
from .timing import Spread, Task, interleaved, ratio, seconds

TIMESTEP = 600
STEPS = 50


def measure(settings: Settings, on_round: OnRound = quiet) -> Report:
    """One step of an edit with one reference, both ways in turns; and a picture of 50 steps by these figures."""
    config, device, guidance = settings.config, settings.device, Guidance(3.0)
    request = Request(settings.side, 1, settings.prompt)
    tower = random_generation(config, device, settings.dtype)
    vlm = random_understanding(config, device, settings.dtype)
    markers = special_ids(config)[2:]
    prompts = [request.prompt_ids(config)], request.prepared(config), [request.prompt_ids(config, seed=1)]
    x = request.latent(config).to(device)

    with torch.no_grad():
        plain = Encoder(vlm, config, markers, coupled=True).encode(*prompts)  # the layers' inputs, not their states
        joint = JointForward(tower, vlm, plain)
        conditioning, encoding = None, 0.0

        def encode() -> None:
            nonlocal conditioning
            conditioning = Encoder(vlm, config, markers, coupled=False).encode(*prompts, config.max_extent)

        encoding = seconds(encode, device)
        if settings.compiled:
            compile_step(tower)
        made: list[GuidedVelocity] = []

        def build() -> None:
            assert conditioning is not None
            builder = ContextBuilder(tower, device)
            made[:] = [GuidedVelocity(tower, builder, conditioning, guidance, request.side, request.side)]

        building = seconds(build, device)
    velocity = made[0]
    tasks: dict[str, Task] = {
        "cached": lambda: velocity(x, TIMESTEP),
        "joint": lambda: joint(x, TIMESTEP, guidance.text),
    }
    wanted = joint(x, TIMESTEP, guidance.text)
    difference = float((velocity(x, TIMESTEP) - wanted).norm() / wanted.norm())
    times = interleaved(tasks, settings.rounds, device, on_round=lambda: on_round("cached and joint"))
    cached, plainly = Spread.of(times["cached"]), Spread.of(times["joint"])
    faster = ratio(times, "joint", "cached")
    picture = encoding + building + STEPS * cached.median
    plain_picture = STEPS * plainly.median

    report = Report(
        f"An edit with one reference, {config.name}", settings.as_dict(),
        ("way", "before the steps", "a step (quartiles)", f"picture of {STEPS} steps", "faster than joint (quartiles)"),
        rows=[
            ("joint, no caches", "", of_time(plainly), f"{plain_picture:.2f} s", "1"),
            ("cached", f"{encoding + building:.3f} s", of_time(cached), f"{picture:.2f} s", of_ratio(faster)),
        ],
        results={
            "faster": faster.median,
            "faster_quartiles": [faster.low, faster.high],
            "picture_faster": plain_picture / picture,
            "relative_difference": difference,
            "context_tokens": request.context(config),
            "seconds": {
                "joint_step": spread_dict(plainly), "cached_step": spread_dict(cached),
                "understanding": encoding, "context": building,
            },
        },
        x_axis="way",
        notes=[f"The two velocities differ by {difference:.1e} of their norm."],
    )  # fmt: skip
    bars = Series("seconds a step")
    bars.add("joint", plainly)
    bars.add("cached", cached)
    report.series.append(bars)
    return report
