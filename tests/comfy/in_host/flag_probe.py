"""Draws with nano under one set of ComfyUI's launch flags after another, without a server.

    HOST/.venv/bin/python flag_probe.py HOST PACK

Reads one JSON list of flags a line, or null for what flags there are, and answers each with one JSON object a line.
Libraries are imported once; ComfyUI and the pack anew in a forked process for every set, since flags act while they are
imported. The flags meet a machine without a GPU: `cpu` is set behind the parser, which takes some of them only without
`--cpu`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST, PACK = (Path(argument).resolve() for argument in sys.argv[1:3])
LIBRARIES = (
    "aiohttp.web", "alembic.command", "av", "diffusers.models.autoencoders.autoencoder_kl_wan", "kornia", "pydantic",
    "rich.console", "scipy.integrate", "scipy.optimize", "scipy.special", "scipy.stats", "sqlalchemy.orm", "torchaudio",
    "torchsde", "torchvision", "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
)  # fmt: skip
"""What takes long to import; done once, before the first process is made."""
PROMPT, NEGATIVE = "a red circle on a white field", "blurred"
_REAL_STDOUT = os.dup(1)


def answer(reply: dict[str, Any]) -> None:
    """One line, beside whatever the host prints."""
    os.write(_REAL_STDOUT, json.dumps(reply).encode() + b"\n")


def start(flags: list[str]) -> Any:
    """ComfyUI's parsed arguments, on the CPU."""
    sys.argv = ["main.py", *flags]
    sys.path.insert(0, str(HOST))
    os.chdir(HOST)
    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.cli_args import args

    args.cpu = True
    import utils.extra_config  # noqa: F401  as main.py does, before `nodes` puts another `utils` in its way

    return args


def load_pack() -> None:
    """The pack under the name `pack`, as ComfyUI loads it by its path."""
    place = importlib.util.spec_from_file_location("pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    module = importlib.util.module_from_spec(place)
    sys.modules["pack"] = module
    place.loader.exec_module(module)
    from pack.nodes import folders

    folders.register()


def draw() -> dict[str, Any]:
    """Pictures of a prompt and edits of a picture; in what weights were held; which attention.

    Three of each, in eight steps: rounding moves an outline here and none there, and most where it is unfinished.
    """
    import torch
    from pack.nodes import folders
    from pack.nodes.encode import LightFusionEncode
    from pack.nodes.load import LoadLightFusion
    from pack.nodes.sampling import LightFusionSampler

    own, attentions = folders.FROM_MODEL, _watched_attention()
    with torch.inference_mode():
        model, clip, vae = LoadLightFusion.execute(folders.NANO, own, own, "default").args
        pictures = {}
        for name, references in {"drawn": {}, "edited": {"image_1": _disc(128)}}.items():
            made = LightFusionEncode.execute(clip, PROMPT, NEGATIVE, 128, 128, 3, vae=vae, **references).args
            positive, negative, no_image, latent = made[:4]
            (latent,) = LightFusionSampler.execute(
                model, positive, negative, latent, seed=7, steps=8, shift=3.0, solver="unipc", denoise=1.0,
                no_image=no_image, **_guidance(),
            ).args  # fmt: skip
            pictures[name] = vae.decode(latent["samples"]).float()
        again = vae.decode(vae.encode(_disc(128))).float()[0]
    net, tower = model.model.diffusion_model, clip.cond_stage_model.tower
    return {
        "pictures": {name: (picture * 255).tolist() for name, picture in {**pictures, "again": again}.items()},
        "model": _dtypes(net),
        "text encoder": _dtypes(tower),
        "vae": _dtypes(vae.first_stage_model),
        "attention": sorted(attentions),
    }


def _watched_attention() -> set[str]:
    """The names of the host's attentions that the model will have called."""
    from pack.nodes.native import attention

    called = set()

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            called.add(function.__name__)
            return function(*args, **options)

        return call

    for name in ("attention_pytorch", "optimized_attention"):
        setattr(attention, name, watched(getattr(attention, name)))
    return called


def _disc(side: int) -> Any:
    """A blue disc on white, (1, side, side, 3)."""
    import torch

    places = (torch.arange(side) - side / 2) / side
    outside = (places[:, None] ** 2 + places[None] ** 2 > 0.1).float()
    return torch.stack([outside, outside, torch.ones_like(outside)], -1)[None]


def _guidance() -> dict[str, Any]:
    from pack.nodes.sampling import LightFusionSampler

    schema = LightFusionSampler.define_schema()
    given = {"model", "positive", "negative", "no_image", "latent", "seed", "steps", "shift", "solver", "denoise"}
    return {each.id: each.default for each in schema.inputs if each.id not in given}


def _dtypes(module: Any) -> list[str]:
    return sorted({str(weight.dtype).removeprefix("torch.") for weight in module.parameters()})


def options() -> dict[str, Any]:
    """Every flag of the host's parser, and the features of `--fast`."""
    start([])
    from comfy import cli_args

    return {
        "options": sorted(name for action in cli_args.parser._actions for name in action.option_strings),
        "switches": [
            name for action in cli_args.parser._actions if action.nargs == 0 for name in action.option_strings
        ],
        "fast": [feature.value for feature in cli_args.PerformanceFeature],
    }


def _one(flags: list[str] | None) -> dict[str, Any]:
    if flags is None:
        return options()
    start(flags)
    load_pack()
    return draw()


def prepare() -> None:
    """Import what every drawing needs."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # not every ComfyUI brings all of them
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def main() -> None:
    os.dup2(2, 1)  # what the host prints is no answer
    for line in sys.stdin:
        flags = json.loads(line)
        if flags is not None:
            prepare()
        if os.fork() == 0:
            try:
                answer(_one(flags))
            except BaseException as error:
                answer({"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})
            os._exit(0)
        os.wait()


main()
