"""From arguments to what the engine takes. What can be refused is refused before a model is loaded."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config import THINK_GUIDANCE
from ..errors import CapabilityError, InputError
from ..texts import first_line
from .console import progress

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from ..checkpoints.reader import Checkpoint
    from ..config import ModelConfig
    from ..pipeline import LightFusion
    from ..sampling.guidance import Guidance
    from ..sampling.loop import Sampling
    from ..stored import Stored
    from ..understanding.tokenizer import Tokenizer

_MOST = 256
SAMPLING = {name: name for name in ("steps", "shift", "solver", "denoise", "cache")}
GUIDANCE = {
    "text": "guidance", "image": "image_guidance", "renorm": "renorm", "renorm_min": "renorm_min",
    "interval": "interval", "every": "guidance_every",
}  # fmt: skip


class Drawing:
    """The settings of a drawing command: those that were given, over the model's own."""

    def __init__(self, arguments: Namespace) -> None:
        """Raises InputError for a setting that no model could take."""
        from ..images import check_aspect
        from ..sampling.guidance import Guidance
        from ..sampling.loop import Sampling

        self.arguments = arguments
        self._sampling, self._guidance = given(arguments, SAMPLING), given(arguments, GUIDANCE)
        Sampling(**self._sampling)
        Guidance(**self._guidance)
        loras(arguments)
        if getattr(arguments, "think", False) and arguments.negative is not None:
            raise InputError("--negative has no effect with --think, whose negative branch has no text: leave one out.")
        batch = getattr(arguments, "batch", 1)
        if batch < 1:
            raise InputError(f"A batch needs at least 1 picture, found {batch}.")
        if batch > _MOST:  # they are saved when all are drawn
            raise InputError(
                f"A batch takes at most {_MOST} pictures, found {batch}: draw more in several runs, the next "
                f"with --seed {_MOST}."
            )
        if getattr(arguments, "width", None) is not None and arguments.height is not None:
            check_aspect(arguments.width, arguments.height)

    def sampling(self, config: ModelConfig) -> Sampling:
        from ..sampling.loop import Sampling

        defaults = config.defaults
        return replace(Sampling(defaults.steps, defaults.shift), **self._sampling)

    def guidance(self, config: ModelConfig) -> Guidance:
        from ..sampling.guidance import Guidance

        defaults = config.defaults
        own: dict[str, Any] = {"text": defaults.text_guidance, "image": defaults.image_guidance}
        thinks = getattr(self.arguments, "think", False)
        return Guidance(**(own | (THINK_GUIDANCE if thinks else {}) | self._guidance))

    def size(self, config: ModelConfig, otherwise: tuple[int, int]) -> tuple[int, int]:
        """The size in pixels that is drawn: as given, or `otherwise`, fitted to the model's multiple."""
        from ..images import fit_size

        width, height = self.arguments.width, self.arguments.height
        wanted = otherwise[0] if width is None else width, otherwise[1] if height is None else height
        return fit_size(*wanted, config)


def given(arguments: Namespace, names: dict[str, str]) -> dict[str, Any]:
    """The arguments that were named, as keywords of a dataclass."""
    found = {name: getattr(arguments, argument, None) for name, argument in names.items()}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in found.items() if v is not None}


def load(arguments: Namespace) -> tuple[LightFusion, float]:
    """The model, and the seconds that loading took.

    Raises:
        InputError: a device that is not here. CheckpointError, ConfigError: see `LightFusion.load`.
    """
    start = time.perf_counter()
    with progress(f"Loading {arguments.model}", quiet=arguments.quiet):
        from ..pipeline import LightFusion

        model = LightFusion.load(arguments.model, **loading(arguments))
        for file, strength in loras(arguments):
            from ..checkpoints.lora_merge import merge_lora

            merge_lora(model.generation, file, strength)
        if getattr(arguments, "compile", False):
            from ..generation.compiled import compile_step

            compile_step(model.generation)
    return model, time.perf_counter() - start


def loras(arguments: Namespace) -> list[tuple[str, float]]:
    """The LoRA files that were named, each with its strength. Raises InputError for more strengths than files."""
    files, strengths = getattr(arguments, "lora", []), getattr(arguments, "lora_strength", [])
    if len(strengths) > len(files):
        raise InputError(f"Expected a --lora for each --lora-strength, found {len(files)} of {len(strengths)}.")
    return list(zip(files, [*strengths, *[1.0] * (len(files) - len(strengths))], strict=True))


def loading(arguments: Namespace) -> dict[str, Any]:
    """What `LightFusion.load` takes beside the model. Raises InputError for a device that is not here."""
    import torch

    return {
        **{name: getattr(arguments, name) for name in ("understanding", "vae", "tokenizer", "offload")},
        "device": None if arguments.device is None else device_of(arguments.device),
        "dtype": None if arguments.dtype is None else getattr(torch, arguments.dtype),
        "mapped": not arguments.no_mmap,
    }


def opened(arguments: Namespace) -> tuple[Checkpoint, ModelConfig]:
    """The files of the model and its configuration, from headers alone; raises as `LightFusion.load`."""
    from ..checkpoints.model import open_model, read_config
    from ..pipeline import NANO

    checkpoint = open_model(
        NANO if arguments.model == "nano" else Path(arguments.model),
        mapped=not arguments.no_mmap, understanding=arguments.understanding, vae=arguments.vae,
    )  # fmt: skip
    return checkpoint, read_config(checkpoint)


def tokenizer_of(arguments: Namespace, checkpoint: Checkpoint, config: ModelConfig) -> Tokenizer:
    """The model's tokenizer. Raises CapabilityError where none came with it and none was named."""
    from ..checkpoints.model import find_tokenizer
    from ..understanding.tokenizer import Tokenizer

    found = find_tokenizer(checkpoint, arguments.tokenizer)
    if found is None:
        raise CapabilityError("This model came without a tokenizer: name one with --tokenizer PATH.")
    return Tokenizer(found, config.special_tokens)


def device_of(name: str) -> torch.device:
    """A device by name, tried: torch has no other way to ask."""
    import torch

    device = named_device(name)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, AttributeError) as error:
        reason = first_line(error).split(". ")[0]
        raise InputError(f"The device {name!r} cannot be used here ({reason}): choose another, or cpu.") from None
    return device


def named_device(name: str) -> torch.device:
    """A device by name, which need not be here. Raises InputError where there is no such kind."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "meta":  # a device of torch's that computes nothing
        raise InputError(f"There is no device {name!r} to run on: choose cpu, cuda or mps.")
    return device


def picture(path: str) -> Image:
    """A picture file in RGB. Raises InputError for one that cannot be read, or is longer than 16:1."""
    from ..modes import to_rgb

    return to_rgb(original(path).image())


def original(path: str) -> Stored:
    """A picture file as it is; raises as `picture`."""
    from ..images import check_aspect
    from ..picture_files import load_stored

    stored = load_stored(path)
    check_aspect(*stored.image().size)
    return stored


def mask(path: str, size: tuple[int, int]) -> torch.Tensor:
    """A mask file as (H, W) in 0..1: white where the picture of `size` (width, height) may change, black or transparent
    where it stays.

    Raises:
        InputError: not a picture, or of another size.
    """
    import torch

    from ..modes import to_mask
    from ..picture_files import load_stored

    image = load_stored(path).image()
    if image.size != size:
        found, wanted = (f"{width}x{height}" for width, height in (image.size, size))
        raise InputError(f"{path}: expected a mask of the picture's size, {wanted}, found {found}; resize the mask.")
    return torch.from_numpy(to_mask(image))


def describe_drawing(
    arguments: Namespace, model: LightFusion, size: Sequence[int], sampling: Sampling, guidance: Guidance
) -> dict[str, Any]:
    """All settings of a drawing, for the picture's metadata and for scripts."""
    negative = model.config.defaults.negative_prompt if arguments.negative is None else arguments.negative
    return {
        "prompt": arguments.prompt,
        "negative_prompt": None if arguments.think else negative,
        "literal": arguments.literal,
        "width": size[0],
        "height": size[1],
        "batch": arguments.batch,
        **asdict(sampling),
        **{GUIDANCE[name]: value for name, value in asdict(guidance).items()},
        **describe_model(arguments, model),
    }


def describe_model(arguments: Namespace, model: LightFusion) -> dict[str, Any]:
    """Which model ran, and how."""
    paths = {name: getattr(arguments, name) for name in ("understanding", "vae", "tokenizer")}
    return {
        "model": arguments.model if arguments.model == "nano" else str(Path(arguments.model).resolve()),
        "model_name": model.config.name,
        **{name: path for name, path in paths.items() if path is not None},
        **({"loras": loras(arguments)} if loras(arguments) else {}),
        "device": str(model.device),
        "offload": model.residency.mode,
        "dtype": str(model.generation.dtype).removeprefix("torch."),
        "version": __version__,
    }
