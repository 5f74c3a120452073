"""From the arguments of `evaluate` to a run of a benchmark. What can be refused is refused before a model is loaded."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import THINK_GUIDANCE
from ..errors import CapabilityError, InputError
from .request import GUIDANCE, SAMPLING, device_of, given, loading, loras, opened

if TYPE_CHECKING:
    from ..config import ModelConfig
    from ..evaluation.benchmark import Benchmark
    from ..evaluation.export import Export, Share

_NANO = "nano"


@dataclass(frozen=True, slots=True)
class _Drawing:
    """The published settings with what was given over them; sampling and guidance as fields of those."""

    seed: int
    pictures: int
    thinks: bool
    sampling: dict[str, Any]
    guidance: dict[str, Any]
    thinking: dict[str, int]


def export_of(arguments: Namespace, chosen: Benchmark) -> Export:
    """The arguments as a run of a benchmark.

    Raises:
        InputError: a setting that cannot be used, or a device that is not here.
        CheckpointError, ConfigError: see `LightFusion.load`. CapabilityError: the model was not trained for it.
    """
    from ..evaluation.benchmark import Options
    from ..evaluation.export import Export
    from ..evaluation.record import Record, fingerprint

    if arguments.data is not None and not os.path.exists(arguments.data):  # before torch is imported
        raise InputError(f"{arguments.data}: expected the data of {chosen.title}, found no such place; check the path.")
    drawing, share, record = _drawing(arguments, chosen), _share(arguments), Record(arguments.out)
    load, merged = loading(arguments), loras(arguments)
    config, model = _opened(arguments, load, chosen, drawing.thinks)
    size = _size(arguments, chosen, config)
    settings = _settings(arguments, chosen, drawing, config) | size | model
    settings["loras"] = [[fingerprint([file]), strength] for file, strength in merged]
    makes_data = chosen.made is not None and arguments.data is None
    if makes_data:
        settings["count"] = arguments.count
    return Export(
        chosen,
        Path(arguments.data or ""),
        record,
        Options(drawing.pictures, arguments.language, drawing.seed, arguments.count),
        drawing.seed,
        drawing.thinks,
        settings,
        {
            "staging": str(record.staging),
            "enlarged": chosen.published.enlarged,
            "model": arguments.model if arguments.model == _NANO else os.path.abspath(arguments.model),
            "load": {name: _absolute(name, value) for name, value in load.items()},
            "sampling": drawing.sampling,
            "guidance": drawing.guidance,
            "thinking": drawing.thinking,
            "loras": [(os.path.abspath(file), strength) for file, strength in merged],
            "settings": {"negative_prompt": arguments.negative, **size},
        },
        share,
        chosen.made if makes_data else None,
    )


def _drawing(arguments: Namespace, chosen: Benchmark) -> _Drawing:
    from ..evaluation.benchmark import BASE
    from ..sampling.guidance import Guidance
    from ..sampling.loop import Sampling
    from ..understanding.answer import Decoding

    published = chosen.published
    thinks = published.thinks if arguments.think is None else arguments.think
    guided = THINK_GUIDANCE if thinks else BASE if published.guidance else {}
    drawing = _Drawing(
        published.seed if arguments.seed is None else arguments.seed,
        published.pictures if arguments.pictures is None else arguments.pictures,
        thinks,
        {**published.sampling, **given(arguments, SAMPLING)},
        {**guided, **given(arguments, GUIDANCE)},
        {"max_tokens": published.max_tokens if arguments.max_tokens is None else arguments.max_tokens},
    )
    Sampling(**drawing.sampling), Guidance(**drawing.guidance), Decoding(**drawing.thinking)
    if thinks and arguments.negative is not None:
        raise InputError("--negative has no effect with thinking, whose negative branch has no text: leave it out.")
    for name, value in (("pictures", drawing.pictures), ("limit", arguments.limit), ("count", arguments.count)):
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1, found {value}.")
    for name, value in (("workers", arguments.workers), ("gpus", arguments.gpus)):
        if value < 0:
            raise InputError(f"--{name} must be 0 or more, found {value}.")
    return drawing


def _size(arguments: Namespace, chosen: Benchmark, config: ModelConfig) -> dict[str, int | None]:
    """Width and height of what is drawn; None for edits, which have their reference's size unless one is given."""
    from ..images import fit_size

    if chosen.edits and arguments.width is arguments.height is None:
        return {"width": None, "height": None}
    side = config.defaults.size
    width, height = fit_size(arguments.width or side, arguments.height or side, config)
    return {"width": width, "height": height}


def _settings(arguments: Namespace, chosen: Benchmark, drawing: _Drawing, config: ModelConfig) -> dict[str, Any]:
    """All that makes the pictures, in full, for the record."""
    from ..sampling.guidance import Guidance
    from ..sampling.loop import Sampling
    from ..understanding.answer import THOUGHT

    own = config.defaults
    negative = own.negative_prompt if arguments.negative is None else arguments.negative
    enlarged = "enlarged" if chosen.published.enlarged else "by the model's rule"
    return {
        "benchmark": chosen.name,
        "seed": drawing.seed,
        "pictures": drawing.pictures,
        "sampling": asdict(Sampling(**{"steps": own.steps, "shift": own.shift, **drawing.sampling})),
        "guidance": asdict(Guidance(**{"text": own.text_guidance, "image": own.image_guidance, **drawing.guidance})),
        "thinking": {**asdict(THOUGHT), **drawing.thinking} if drawing.thinks else None,
        "negative_prompt": None if drawing.thinks else negative,
        "references": enlarged if chosen.edits else None,
    }


def _absolute(name: str, value: Any) -> Any:
    """A path as workers of another folder find it."""
    return os.path.abspath(value) if name in ("understanding", "vae", "tokenizer") and value is not None else value


def _opened(
    arguments: Namespace, load: dict[str, Any], chosen: Benchmark, thinks: bool
) -> tuple[ModelConfig, dict[str, str]]:
    """The model's configuration, and what tells it from others, from its files alone; raises as `export_of`."""
    import torch

    from ..checkpoints.memory import held
    from ..evaluation.record import fingerprint
    from ..offload import HOME
    from ..pipeline import default_device

    checkpoint, config = opened(arguments)
    for task in ("edit" if chosen.edits else "generate", *(["answer"] if thinks else [])):
        if task not in config.tasks:
            raise CapabilityError(
                f"{chosen.title} needs a model that was trained to {task}; {config.name} was trained to "
                f"{' and '.join(config.tasks)}. Name another --model."
            )
    device = load["device"] or device_of(default_device())
    dtype = held(checkpoint, device, HOME if load["offload"] else device, load["dtype"]).dtype
    told = {"model": config.name, "weights": fingerprint(checkpoint.used_files()), "device": torch.device(device).type}
    return config, told | {"dtype": str(dtype).removeprefix("torch.")}


def _share(arguments: Namespace) -> Share:
    from ..evaluation.export import Share

    if arguments.shard is None:
        return Share(arguments.limit)
    number, _, of = arguments.shard.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise InputError(f"--shard is I/N, the I-th of N parts (1/4 to 4/4), found {arguments.shard}.")
    return Share(arguments.limit, int(number), int(of))
