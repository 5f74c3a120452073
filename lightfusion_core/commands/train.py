"""`train`: a LoRA, or the whole generation side, from a person's own pictures."""

from __future__ import annotations

import os
import shutil
import signal
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CapabilityError, InputError
from .console import Bar, complain, progress
from .request import device_of, given, load, named_device, opened, tokenizer_of
from .result import check_output, say

if TYPE_CHECKING:
    import torch

    from ..training.data import Example
    from ..training.loop import Training
    from ..training.needs import Needs
    from ..training.settings import Settings
    from ..training.show import Sample

_ALIKE = (
    "steps", "batch", "at_once", "rate", "warmup", "decay", "rank", "alpha", "ema", "seed", "shift", "recompute",
    "optimizer", "save_every", "sample_every",
)  # fmt: skip
_SETTINGS = {**{name: name for name in _ALIKE}, "side": "size"}
_SAMPLES = 4
_STOPPED = 130
"""The exit code of what a person stopped."""
_PACKAGES = ("accelerate", "peft")
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def train(arguments: Namespace) -> int:
    """`lightfusion train DATA... -o FOLDER`: the folder comes to hold the result, a checkpoint, samples and a plot."""
    with _asked_to_stop() as stop:  # libraries that are interrupted while they are imported say all sorts of things
        return _trained(arguments, stop)


def _trained(arguments: Namespace, stop: Callable[[], bool]) -> int:
    settings, folder = _settings(arguments), Path(arguments.output)
    _check_packages()
    check_output(f"{folder}/")
    if arguments.offload == "groups":
        raise InputError("A training needs the whole generation side on its device: leave --offload groups out.")
    from ..training.data import read_examples, with_mirrored

    sources = [read_examples(source) for source in arguments.data]
    if arguments.mirror:
        sources = [with_mirrored(source) for source in sources]
    weights = arguments.weights or [1.0] * len(sources)
    with progress("Working out what it takes", quiet=arguments.quiet):
        needs, encoded, device, dtype = _foreseen(arguments, settings, sources, weights)
    say(_told(settings, needs, encoded, device, dtype))
    if arguments.plan:
        return 0
    needs.require(_free(device), str(device))
    _require_disk(folder, 2 * needs.checkpoint + encoded)
    if stop():
        return _STOPPED
    return _run(arguments, settings, sources, weights, folder, dtype, stop)


def _settings(arguments: Namespace) -> Settings:
    from ..training.draws import Dropout
    from ..training.settings import Settings

    named = given(arguments, _SETTINGS)
    if arguments.full:
        if arguments.rank is not None or arguments.alpha is not None:
            raise InputError("--full trains no LoRA, which --rank and --alpha are for: leave one out.")
        named["rank"] = 0
    if arguments.drop is not None:
        named["dropout"] = Dropout(*arguments.drop)
    return Settings(**named)


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise CapabilityError(
            f"To train takes {' and '.join(missing)}, not installed here: pip install 'comfyui-lightfusion[train]'."
        )


def _foreseen(
    arguments: Namespace, settings: Settings, sources: Sequence[Sequence[Example]], weights: Sequence[float]
) -> tuple[Needs, int, torch.device, torch.dtype]:
    """What the training takes, bytes of its encodings, its device, and what is computed in: from headers alone."""
    import torch

    from ..checkpoints.loader import is_coupled
    from ..checkpoints.memory import own_bytes
    from ..pipeline import default_device
    from ..training.draws import Draws
    from ..training.loop import make_pools
    from ..training.needs import Shape, training_needs
    from ..training.sizes import target_size

    checkpoint, config = opened(arguments)
    tokenizer = tokenizer_of(arguments, checkpoint, config)
    arguments.device = chosen = _own_device(arguments.device or default_device())
    device = named_device(chosen) if arguments.plan else device_of(chosen)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    if arguments.dtype is not None:
        dtype = getattr(torch, arguments.dtype)
    if dtype == torch.float16:
        raise InputError("float16 overflows in training: take --dtype bfloat16 or float32.")
    examples = [example for source in sources for example in source]
    sizes = [target_size(example, settings.side or config.defaults.size, config) for example in examples]
    shapes = [Shape.of(example, size, tokenizer, config) for example, size in zip(examples, sizes, strict=True)]
    pools = make_pools(list(map(len, sources)), weights, sizes)
    references = [len(example.references) for example in examples]
    draws = Draws(pools, references, settings.batch, settings.seed, settings.shift, settings.dropout)
    rows = {(draw.index, draw.shown) for batch in draws.steps(0, settings.steps) for draw in batch}
    others = own_bytes(checkpoint, ("understanding", "vae"), dtype) if device.type == "cpu" else 0
    if device.type != "cpu" and is_coupled(checkpoint):  # it runs in every step
        others = sum(entry.size for entry in checkpoint.part("understanding"))
    needs = training_needs(config, settings, dtype, max(shapes, key=lambda shape: shape.tokens), others)
    return needs, sum(shapes[index].encoded(shown, config, dtype) for index, shown in rows), device, dtype


def _own_device(name: str) -> str:
    """The GPU of this process, where a launcher has started several."""
    rank = os.environ.get("LOCAL_RANK")
    return f"{name}:{rank}" if name == "cuda" and rank is not None else name


def _told(settings: Settings, needs: Needs, encoded: int, device: torch.device, dtype: torch.dtype) -> str:
    """What is going to happen, in a few lines."""
    from ..checkpoints.report import readable_bytes
    from ..training.needs import matmul_rate

    what = f"a LoRA of rank {settings.rank}" if settings.rank else "the whole generation side"
    listed = ", ".join(f"{name} {readable_bytes(size)}" for name, size in needs.parts().items())
    lines = [
        f"Training {what}: {_counted(needs.parameters)} parameters, {settings.steps} steps of {settings.batch} rows",
        f"Memory on {device}: {readable_bytes(needs.memory)} ({listed})",
        f"On disk: {readable_bytes(encoded)} of encodings, {readable_bytes(needs.checkpoint)} a checkpoint",
        f"A step: {_counted(needs.operations)} operations",
    ]
    if device.type in ("cpu", "cuda"):
        rate = matmul_rate(device, dtype)
        seconds = needs.operations / rate
        lines[-1] += f", at least {_duration(seconds)}; all at least {_duration(seconds * settings.steps)}"
        lines[-1] += f" (matrix products run at {_counted(rate)} a second here)"
    return "\n".join(lines)


def _counted(number: float) -> str:
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _free(device: torch.device) -> float:
    import torch

    from ..checkpoints.memory import available_memory

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()


def _require_disk(folder: Path, needed: int) -> None:
    """Refuse a disk that the files would fill."""
    from ..checkpoints.report import readable_bytes

    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise InputError(
            f"{folder}: the training writes up to {readable_bytes(needed)}, and {readable_bytes(free)} are free on "
            "that disk; free some space, or choose another folder."
        )


def _run(
    arguments: Namespace,
    settings: Settings,
    sources: Sequence[Sequence[Example]],
    weights: Sequence[float],
    folder: Path,
    dtype: torch.dtype,
    stop: Callable[[], bool],
) -> int:
    import torch

    from ..training.loop import LORA, WHOLE, Training
    from ..training.show import Sample, samples_of

    autocast = dtype if arguments.full and dtype != torch.float32 else None
    arguments.dtype = "float32" if arguments.full else str(dtype).removeprefix("torch.")
    if torch.device(arguments.device).type != "cpu":
        arguments.offload = "phases"  # the other parts come when they are needed
    model, _ = load(arguments)
    model.generation.to(model.device)
    if model.generation.coupled:
        model.understanding.to(model.device)
    encodings = Path(arguments.encodings or folder / "encodings")
    training = Training(model, sources, weights, settings, folder, encodings, autocast)
    side = settings.side or model.config.defaults.size
    samples = [Sample(text, (side, side)) for text in arguments.sample or ()]
    samples = samples or samples_of(training.examples, training.sizes, _SAMPLES)
    if not _encode(training, stop, arguments.quiet):
        complain("stopped while encoding; the same command goes on")
        return _STOPPED
    start, done = time.perf_counter(), training.state.step
    left = max(0, settings.steps - done)
    if training.resumed:
        complain(f"going on from step {done}")
    with progress("Training", left or None, quiet=arguments.quiet or not training.leads) as bar:
        whole = training.run(_shown(bar), lambda step: _sheet(training, samples, folder, step, bar), stop)
    if not training.leads:
        return 0
    if not whole:
        complain(f"stopped after step {training.state.step} of {settings.steps}; the same command goes on")
        return _STOPPED
    say(str(folder / (LORA if settings.rank else WHOLE)))
    complain(f"{left} steps in {_duration(time.perf_counter() - start)}")
    return 0


def _encode(training: Training, stop: Callable[[], bool], quiet: bool) -> bool:
    """Encode what is not kept yet; False where a person asked to stop."""
    with training.accelerator.main_process_first():
        missing = training.missing()
        if missing:
            with progress("Encoding", len(missing), quiet=quiet) as bar:
                for index, shown in missing:
                    if stop():
                        return False
                    training.encodings.encode(index, shown)
                    bar.advance()
    return True


def _shown(bar: Bar) -> Callable[[int, float], None]:
    """What tells a bar of steps, with a running mean of the loss."""
    mean: list[float] = []

    def on_step(step: int, loss: float) -> None:
        mean[:] = [loss if not mean else 0.95 * mean[0] + 0.05 * loss]
        bar.phase(f"Training, loss {mean[0]:.4f}")
        bar.advance()

    return on_step


def _sheet(training: Training, samples: Sequence[Sample], folder: Path, step: int, bar: Bar) -> None:
    """A sheet of samples and the loss so far."""
    from ..picture_files import save_png
    from ..training.show import draw_samples, plot_loss
    from .sheet import contact_sheet

    bar.phase("Drawing samples")
    tiles = draw_samples(training.model, samples, training.settings.seed)
    told: dict[str, Any] = {"command": "train", "step": step, "captions": [text for _, text in tiles]}
    save_png(contact_sheet(tiles), folder / "samples" / f"{step:06d}.png", told)
    if not plot_loss(training.state.log, folder / "loss.png"):
        complain("note: a plot of the loss takes matplotlib, which is not installed here")


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl+C (or a polite kill) has come: the step that runs is finished, and all is saved. A second one ends
    at once, with what was saved before."""
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        complain("stopping when this step is done; once more to stop at once")

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        earlier = [signal.signal(number, note) for number in numbers]
    except ValueError:  # not the main thread, which alone hears signals
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, handler in zip(numbers, earlier, strict=True):
            signal.signal(number, handler)
