"""Graphs for the compatibility matrix, made from a server's own description of its nodes.

A node's sockets are filled by their types with the parts of one small graph (`KIT`), and what comes out of it takes
the place of those parts in front of a sampler or of another consumer, as an artist would wire it. Beside it the same
consumer stands with nothing replaced, and a probe compares the two.

An input may be given as a literal, as "@name" for a part of the kit, or as {class: inputs} for one more node, whose
output is the first unless `out` says which.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from graphs import node
from host import Graph

from tools.workflows.schema import GROWING

NANO = "nano (built in)"
LORA = "matrix.safetensors"
PICTURES = ("matrix_1.png", "matrix_2.png")
FOLDER = "matrix"
MASK, GREY = "matrix_mask.png", "matrix_grey.png"

WIDTH, HEIGHT = 96, 64
STEPS, SEED = 4, 7

KIT: dict[str, Any] = {
    "model": {"LightFusionLoad": {"model": NANO}, "out": 0},
    "clip": {"LightFusionLoad": {"model": NANO}, "out": 1},
    "vae": {"LightFusionLoad": {"model": NANO}, "out": 2},
    "model_2": {"LoraLoaderModelOnly": {"model": "@model", "lora_name": LORA}},
    "clip_2": {"CLIPMergeSubtract": {"clip1": "@clip", "clip2": "@clip", "multiplier": 0.05}},
    "positive": {"CLIPTextEncode": {"clip": "@clip", "text": "a red circle on a white field"}},
    "positive_2": {"CLIPTextEncode": {"clip": "@clip", "text": "a blue square on a yellow field"}},
    "negative": {"CLIPTextEncode": {"clip": "@clip", "text": "blurred"}},
    "picture": {"LoadImage": {"image": PICTURES[0]}},
    "picture_2": {"LoadImage": {"image": PICTURES[1]}},
    "mask": {"LoadImageMask": {"image": MASK, "channel": "red"}},
    "latent": {"VAEEncode": {"pixels": "@picture", "vae": "@vae"}},
    "latent_2": {"VAEEncode": {"pixels": "@picture_2", "vae": "@vae"}},
    "halves": {"VAEEncode": {"pixels": {"LoadImage": {"image": MASK}}, "vae": "@vae"}},
    "pair": {"LatentBatch": {"samples1": "@latent", "samples2": "@latent_2"}},
    "start": {"LightFusionEmptyLatent": {"model": "@model", "width": WIDTH, "height": HEIGHT, "batch_size": 1}},
    "noise": {"RandomNoise": {"noise_seed": SEED}},
    "sampler": {"KSamplerSelect": {"sampler_name": "euler"}},
    "sigmas": {"BasicScheduler": {"model": "@model", "scheduler": "simple", "steps": STEPS, "denoise": 1.0}},
    "guider": {"CFGGuider": {"model": "@model", "positive": "@positive", "negative": "@negative", "cfg": 3.0}},
    "hooks": {"CreateHookLoraModelOnly": {"lora_name": LORA, "strength_model": 0.2, "prev_hooks": None}},
    "hooks_2": {"CreateHookLoraModelOnly": {"lora_name": LORA, "strength_model": 0.1, "prev_hooks": None}},
    "keyframes": {"CreateHookKeyframe": {"strength_mult": 0.5, "start_percent": 0.0, "prev_hook_kf": None}},
    "range": {"ConditioningTimestepsRange": {"start_percent": 0.0, "end_percent": 0.5}},
    "operation": {"LatentOperationSharpen": {"sharpen_radius": 1}},
    "large": {"LatentUpscaleBy": {"samples": "@latent", "upscale_method": "nearest-exact", "scale_by": 3.0}},
    "grey": {
        "SetLatentNoiseMask": {"samples": "@latent", "mask": {"LoadImageMask": {"image": GREY, "channel": "red"}}}
    },
    "trained": {
        "TrainLoraNode": {
            "latents": "@latent",
            "positive": "@positive_2",
            "steps": STEPS,
            "learning_rate": 0.01,
            "rank": 4,
            "training_dtype": "fp32",
            "lora_dtype": "fp32",
            "existing_lora": "[None]",
        },
        "out": "LORA_MODEL",
    },
}
"""The parts of the graph that a node is wired into."""

SOCKETS: dict[str, tuple[str, ...]] = {
    "MODEL": ("@model", "@model_2"),
    "CLIP": ("@clip", "@clip_2"),
    "VAE": ("@vae",),
    "CONDITIONING": ("@positive", "@positive_2"),
    "LATENT": ("@latent", "@latent_2"),
    "IMAGE": ("@picture", "@picture_2"),
    "MASK": ("@mask",),
    "NOISE": ("@noise",),
    "SAMPLER": ("@sampler",),
    "SIGMAS": ("@sigmas",),
    "GUIDER": ("@guider",),
    "HOOKS": ("@hooks", "@hooks_2"),
    "HOOK_KEYFRAMES": ("@keyframes",),
    "TIMESTEPS_RANGE": ("@range",),
    "LATENT_OPERATION": ("@operation",),
    "LORA_MODEL": ("@trained",),
}
"""What goes into the first, and into each further, socket of a type."""

STAND_INS = (
    "CLIP_VISION", "CLIP_VISION_OUTPUT", "STYLE_MODEL", "CONTROL_NET", "AUDIO", "GLIGEN", "MODEL_PATCH", "FLOATS",
)  # fmt: skip
"""Types of things that only other models' files hold."""

REPLACED: dict[str, tuple[str, ...]] = {
    "MODEL": ("model",),
    "CLIP": ("clip",),
    "VAE": ("vae",),
    "CONDITIONING": ("positive", "negative"),
    "LATENT": ("latent",),
    "NOISE": ("noise",),
    "SAMPLER": ("sampler",),
    "SIGMAS": ("sigmas",),
    "GUIDER": ("guider",),
    "HOOKS": ("hooks",),
    "HOOK_KEYFRAMES": ("keyframes",),
    "TIMESTEPS_RANGE": ("range",),
    "LATENT_OPERATION": ("operation",),
    "LORA_MODEL": ("trained",),
}
"""Whose place the first, and each further, output of a type takes."""

_KSAMPLER: dict[str, Any] = {
    "model": "@model", "positive": "@positive", "negative": "@negative", "latent_image": "@start", "seed": SEED,
    "steps": STEPS, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
}  # fmt: skip
_OURS: dict[str, Any] = {
    "model": "@model", "positive": "@positive", "negative": "@negative", "latent": "@start", "seed": SEED,
    "steps": STEPS, "text_guidance": 3.0,
}  # fmt: skip
_HALF = {"steps": 2 * STEPS, "denoise": 0.5}


def _with(**properties: str) -> dict[str, Any]:
    """KSampler on a prompt with properties."""
    given = {"cond_NEW": "@positive", "mask": None, "hooks": None, "timesteps": None, **properties}
    return {"KSampler": {**_KSAMPLER, "positive": {"ConditioningSetProperties": given}}}


CONSUMERS: dict[str, Any] = {
    "KSampler": {"KSampler": _KSAMPLER},
    "KSampler half denoised": {"KSampler": {**_KSAMPLER, **_HALF, "latent_image": "@latent"}},
    "KSampler on a grey mask": {"KSampler": {**_KSAMPLER, **_HALF, "latent_image": "@grey"}},
    "KSampler with a range": _with(timesteps="@range"),
    "KSampler with hooks": _with(hooks="@hooks"),
    "KSampler with keyframes": _with(hooks={"SetHookKeyframes": {"hooks": "@hooks", "hook_kf": "@keyframes"}}),
    "KSampler with a trained LoRA": {
        "KSampler": {**_KSAMPLER, "model": {"LoraModelLoader": {"model": "@model", "lora": "@trained"}}}
    },
    "LightFusion Sampler": {"LightFusionSampler": _OURS},
    "LightFusion Sampler half denoised": {"LightFusionSampler": {**_OURS, **_HALF, "latent": "@latent"}},
    "SamplerCustomAdvanced": {
        "SamplerCustomAdvanced": {
            "noise": "@noise", "guider": "@guider", "sampler": "@sampler", "sigmas": "@sigmas",
            "latent_image": "@start",
        }
    },
    "LightFusion Encode": {
        "LightFusionEncode": {"clip": "@clip", "vae": "@vae", "image_1": "@picture", "image_2": None, "image_3": None,
                              "image_4": None, "prompt": "make it blue"}
    },
    "VAEDecode": {"VAEDecode": {"samples": "@latent", "vae": "@vae"}},
    "VAEEncode": {"VAEEncode": {"pixels": "@picture", "vae": "@vae"}},
    "LatentApplyOperation": {"LatentApplyOperation": {"samples": "@latent", "operation": "@operation"}},
    "PreviewAudio": {"PreviewAudio": {"audio": "@made"}},
    "latent": "@latent",
}  # fmt: skip
"""What stands behind the node, by the name that the table gives it."""

BY_TYPE: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (frozenset({"MODEL", "CLIP", "CONDITIONING"}), ("KSampler", "LightFusion Sampler")),
    (frozenset({"NOISE", "SAMPLER", "SIGMAS", "GUIDER"}), ("SamplerCustomAdvanced",)),
    (frozenset({"VAE"}), ("VAEEncode",)),
)
"""The consumers of a node that gives one of these types, where its row names none."""

_BY_NAME = {
    "width": WIDTH, "height": HEIGHT, "length": 5, "batch_size": 1, "steps": STEPS, "frame_rate": 24.0,
    "lora_name": LORA, "image": PICTURES[0],
}  # fmt: skip
"""Widgets whose defaults are made for large models."""
_TEXT = "a blue square on a yellow field"

Info = dict[str, Any]


class Unwireable(Exception):  # noqa: N818
    """A socket's type that the kit has nothing for."""


class Wiring:
    """One graph in the making.

    Args:
        known: the server's description of every node.
    """

    def __init__(self, known: Mapping[str, Info]) -> None:
        self.known = known
        self.graph: Graph = {}
        self.made: dict[str, str] = {}

    def add(self, kind: str, given: Mapping[str, Any], replaced: Mapping[str, Any]) -> str:
        """A node and all before it; returns its id, which is shared by equal nodes."""
        if kind not in self.known:
            raise Unwireable(f"this ComfyUI has no node {kind}")
        inputs = {name: self.value(value, replaced) for name, value in self._filled(kind, given)}
        key = json.dumps([kind, inputs], sort_keys=True)
        if key not in self.made:
            self.made[key] = str(len(self.made) + 1)
            self.graph[self.made[key]] = node(kind, **inputs)
        return self.made[key]

    def value(self, value: Any, replaced: Mapping[str, Any]) -> Any:
        """A link for "@name" and for {class: inputs}, all else as it is."""
        if isinstance(value, str) and value.startswith("@"):
            name = value[1:]
            return replaced[name] if name in replaced else self.value(KIT[name], replaced)
        if isinstance(value, dict):
            kind = next(name for name in value if name != "out")
            made = self.add(kind, value[kind] or {}, replaced)
            out = value.get("out", 0)
            return [made, out if isinstance(out, int) else self.known[kind]["output"].index(out)]
        return value

    def _filled(self, kind: str, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Every input of a node: what was given, else by its type, else its default."""
        rest, counts = dict(given), dict.fromkeys(SOCKETS, 0)
        for name, of, options, needed in inputs_of(self.known[kind]):
            if name in rest:
                value = rest.pop(name)
                if value is not None:
                    yield name, value
            elif of in SOCKETS:
                parts = SOCKETS[of]
                if of == "CONDITIONING" and "neg" in name:
                    yield name, "@negative"
                    continue
                yield name, parts[min(counts[of], len(parts) - 1)]
                counts[of] += 1
            elif of in STAND_INS:
                if needed:
                    yield name, {"LightFusionStandIn": {"of": of}}
            elif needed:
                yield from self._widget(name, of, options)
        yield from rest.items()  # names that the description writes otherwise, as of growing inputs

    def _widget(self, name: str, of: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        if of == "COMFY_DYNAMICCOMBO_V3":
            choice = options["options"][0]
            yield name, choice["key"]
            for inner, kind, more, _ in inputs_of({"input": choice["inputs"]}):
                yield from self._widget(f"{name}.{inner}", kind, more)
        elif of == GROWING:
            yield from _grown(name, options["template"])
        elif name in _BY_NAME and (of != "COMBO" or _BY_NAME[name] in options.get("options", ())):
            yield name, _BY_NAME[name]
        elif options.get("default") is not None and (of != "STRING" or options["default"]):
            yield name, options["default"]
        elif of == "COMBO":
            if not options.get("options"):
                raise Unwireable(f"{name} is a choice among files, and there are none")
            yield name, options["options"][0]
        elif of == "STRING":
            yield name, _TEXT
        elif of in ("INT", "FLOAT", "BOOLEAN"):
            yield name, {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}[of]
        else:
            raise Unwireable(f"{name} takes {of}, which no part of the graph gives")


def inputs_of(info: Info) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    """Name, type, options, and whether it is needed, of a node's inputs; a list of choices is a COMBO."""
    for group in ("required", "optional"):
        for name, (kind, *rest) in info["input"].get(group, {}).items():
            options = dict(rest[0]) if rest and rest[0] else {}
            if isinstance(kind, list):
                kind, options = "COMBO", {"options": kind, **options}
            yield name, kind.split(",")[0], options, group == "required"


def _grown(name: str, template: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The first two sockets of an input that grows."""
    ((_, (kind, *_)),) = [item for group in template["input"].values() for item in group.items()]
    names = template.get("names") or [f"{template['prefix']}{index}" for index in range(2)]
    for inner, part in zip(names, SOCKETS.get(kind, ()), strict=False):
        yield f"{name}.{inner}", part


def replacements(outputs: list[str], id: str) -> dict[str, list[Any]]:  # noqa: A002
    """Which parts of the kit the outputs of a node stand for, by their types and order."""
    counts: dict[str, int] = {}
    replaced = {}
    for index, kind in enumerate(outputs):
        names = REPLACED.get(kind, ())
        place = counts.get(kind, 0)
        if place < len(names):
            replaced[names[place]] = [id, index]
        counts[kind] = place + 1
    return replaced


def consumers_of(outputs: list[str], foreign: bool) -> tuple[str, ...]:
    """Where the outputs of a node are wired to, if its row does not say: a latent is measured itself, one of another
    model is drawn on."""
    for kinds, names in BY_TYPE:
        if kinds & set(outputs):
            return names
    return BY_TYPE[0][1] if foreign and "LATENT" in outputs else ("",)
