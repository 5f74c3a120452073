"""The parts: each makes a report of what it measured, on the best device there is.

python -m tools.gpu.parts NAME PRESET FILE.json
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

# behind what is installed: a wheel must not replace what the machine has
sys.path += [folder] if (folder := os.environ.get("LIGHTFUSION_WHEELS")) else []

from lightfusion_core import LightFusion
from lightfusion_core.bench import counts, gpu, phases
from lightfusion_core.bench.plain import matmul_rate
from lightfusion_core.bench.presets import preset, random_generation
from lightfusion_core.bench.report import Report, of_ratio, of_time
from lightfusion_core.bench.requests import PROMPT, Request
from lightfusion_core.bench.settings import Settings
from lightfusion_core.bench.timing import Spread, interleaved, ratio, seconds, synchronise
from lightfusion_core.errors import CapabilityError
from lightfusion_core.generation.context import ContextBuilder
from lightfusion_core.generation.recorded import RECORDED_AFTER, RecordedStep
from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.pipeline import default_device
from lightfusion_core.sampling.guidance import Guidance
from lightfusion_core.sampling.loop import GuidedVelocity
from tests.golden.replay import Case, Replay

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "data"
CASES = ("a1_t2i_8x8", "b1_edit_1ref", "z1_edit_nonzero_o_und")
"""Text to image, an edit, and a coupled model."""
_KERNELS = 25


def settings_of(name: str, *, rounds: int = 3, compiled: bool = False) -> Settings:
    """The device's own settings for a preset."""
    config, device = preset(name), torch.device(default_device())
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    side = config.rounded(config.defaults.size) // config.token_size
    return Settings(config, device, dtype, rounds, side, PROMPT if side > 8 else 8, compiled)


def golden(name: str) -> Report:
    """The goldens' velocities on this device, in float32 without TF32 and in bfloat16."""
    settings = settings_of(name)
    report = Report("Golden velocities", settings.as_dict(), ("case", "dtype", "largest relative error"))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for dtype in (torch.float32, torch.bfloat16):
        plain = Replay(GOLDEN, settings.device, dtype)
        for case in (Case.read(GOLDEN / f"{name}.safetensors") for name in CASES):
            with plain.for_case(case) as replay:
                error = _error(replay, case)
            report.rows.append((case.name, str(dtype).removeprefix("torch."), f"{error:.1e}"))
            report.results.setdefault(case.name, {})[report.rows[-1][1]] = error
    return report


def _error(replay: Replay, case: Case) -> float:
    """Of all branches at all timesteps, the largest norm of the difference over the norm."""
    errors, x = [], case["in.latent_noisy"].to(replay.lf.device)
    conditioning = replay.conditioning(case)
    branches = {"": conditioning.full, "cond.": conditioning.full, "neg.": conditioning.negative}
    for match in case.names(r"out\.velocity\.(cond\.|neg\.|)t(\d+)"):
        branch = branches[match[1]]
        assert branch is not None
        found = replay.guided(branch, x)(x, int(match[2])).cpu()
        errors.append(float((found - case[match[0]]).norm() / case[match[0]].norm()))
    return max(errors)


def nano(name: str) -> Report:
    """nano's picture on this device beside the CPU's."""
    settings = settings_of(name)
    report = Report("nano's picture", settings.as_dict(), ("dtype", "seconds", "largest difference of 255"))
    prompt, seed = "a red circle left of a blue star", 3
    wanted = LightFusion.load("nano", device="cpu", dtype=torch.float32).generate(prompt, seed=seed)
    for dtype in (torch.float32, torch.bfloat16):
        model = LightFusion.load("nano", device=settings.device, dtype=dtype)
        away = float((model.generate(prompt, seed=seed).cpu() - wanted).abs().max() * 255)
        took = seconds(partial(model.generate, prompt, seed=seed), settings.device)
        report.rows.append((str(dtype).removeprefix("torch."), f"{took:.2f}", f"{away:.1f}"))
        report.results[report.rows[-1][0]] = {"seconds": took, "largest_of_255": away}
    return report


def pictures(name: str) -> Report:
    """Pictures and edits in bfloat16 and fp8: time, share of the matmul rate, peak memory."""
    return gpu.measure(settings_of(name))


def compiled(name: str) -> Report:
    """The same with torch.compile, whose first picture is in no figure."""
    return gpu.measure(settings_of(name, rounds=2, compiled=True))


def steps(name: str) -> Report:
    """A step as it is and recorded, in two sizes, for every form of the weights, compiled and not."""
    settings = settings_of(name, rounds=9)
    rate = matmul_rate(settings.device, settings.dtype)
    report = Report(
        "Steps of a picture", settings.as_dict(),
        ("weights", "compiled", "pixels", "a step", "recorded", "ratio", "of the matmul rate", "largest difference"),
    )  # fmt: skip
    for weights in (str(settings.dtype).removeprefix("torch."), "fp8"):
        for compiled in (False, True) if settings.device.type == "cuda" else (False,):
            tower = gpu.tower(replace(settings, compiled=compiled), weights)
            for side in (settings.side, settings.side // 2):
                report.rows.append(
                    (weights, "yes" if compiled else "no", *_step(tower, replace(settings, side=side), rate))
                )
            del tower
    return report


@torch.no_grad()
def _step(tower: GenerationTower, settings: Settings, rate: float) -> tuple[str, ...]:
    config, device, request = settings.config, settings.device, Request(settings.side, 0, settings.prompt)
    conditioning = request.conditioning(config, device, settings.dtype)
    velocity = GuidedVelocity(tower, ContextBuilder(tower, device), conditioning, Guidance(3.0), *[request.side] * 2)
    x, rows = request.latent(config).to(device), [*velocity.context.branches]
    as_it_is = partial(tower.velocity, torch.cat([x, x]), phases.TIMESTEP, velocity.context, rows)
    recorded = partial(RecordedStep(tower, velocity.context), torch.cat([x, x]), phases.TIMESTEP, rows)
    times = interleaved(
        {"as it is": as_it_is, "recorded": recorded}, settings.rounds, device, warmup=RECORDED_AFTER + 1
    )
    plain, played = Spread.of(times["as it is"]), Spread.of(times["recorded"])
    share = counts.step(config, request.tokens, [request.context(config) + 2] * 2) / played.median / rate
    away = float((as_it_is() - recorded()).abs().max())
    beside = of_ratio(ratio(times, "recorded", "as it is"))
    pixels = str(settings.side * config.token_size)
    return pixels, of_time(plain), of_time(played), beside, f"{share:.1%}", f"{away:.1e}"


def profile(name: str) -> Report:
    """One step of an edit with one reference by kernel."""
    settings = settings_of(name)
    config, device = settings.config, settings.device
    request = Request(settings.side, 1, settings.prompt)
    with torch.no_grad():
        tower = random_generation(config, device, settings.dtype)
        conditioning = request.conditioning(config, device, settings.dtype)
        builder = ContextBuilder(tower, device)
        velocity = GuidedVelocity(tower, builder, conditioning, Guidance(3.0), request.side, request.side)
        x = request.latent(config).to(device)
        for _ in range(RECORDED_AFTER + 1):  # the recording itself is not to be in it
            velocity(x, phases.TIMESTEP)
        synchronise(device)
        activities = [torch.profiler.ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as profiled:
            velocity(x, phases.TIMESTEP)
            synchronise(device)
    report = Report("One step by kernel", settings.as_dict(), ("kernel", "calls", "milliseconds", "share"))
    on_device = device.type == "cuda"
    time_of: Callable = (lambda e: e.self_device_time_total) if on_device else (lambda e: e.self_cpu_time_total)
    # on a GPU the operations too are told with the time of the kernels that they start
    of_device = torch.autograd.DeviceType.CUDA if on_device else torch.autograd.DeviceType.CPU
    events = [event for event in profiled.key_averages() if event.device_type == of_device]
    events.sort(key=time_of, reverse=True)
    whole = sum(time_of(event) for event in events) or 1
    for event in events[:_KERNELS]:
        spent = time_of(event)
        report.rows.append((event.key[:90], str(event.count), f"{spent / 1e3:.2f}", f"{spent / whole:.1%}"))
    report.results["milliseconds"] = whole / 1e3
    return report


PARTS: dict[str, Callable[[str], Report]] = {
    "golden": golden, "nano": nano, "pictures": pictures, "compiled": compiled,
    "steps": steps, "phases": lambda name: phases.measure(settings_of(name)), "profile": profile,
}  # fmt: skip


def main(name: str, preset_name: str, file: str) -> None:
    report = PARTS[name](preset_name)
    report.write_json(file)
    if report.series:
        try:
            report.write_plot(str(Path(file).with_suffix(".png")))
        except CapabilityError as error:
            print(error, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
