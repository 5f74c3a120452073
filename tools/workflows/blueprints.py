"""Blueprints: whole tasks as one node each, which the editor offers beside the others."""

from __future__ import annotations

from typing import Any

from .graph import BLUE, BROWN, GREEN, PURPLE, Blueprint, Node, Output
from .parts import STEPS

IMAGES = "Image generation and editing"
"""Where ComfyUI keeps its own blueprints of this kind."""

_ALIASES = ("LightFusion", "LightBagel")
_MODEL = ("COMBO", "nano (built in)")


def _start(title: str, category: str, description: str, *aliases: str) -> Blueprint:
    return Blueprint(title, title, description, category=f"{IMAGES}/{category}", aliases=(*_ALIASES, *aliases))


def _load(blueprint: Blueprint, outside: Node) -> Node:
    model = blueprint.add("LightFusionLoad", model=outside["model"])
    blueprint.group("The model", BLUE, [model])
    return model


def _encode(blueprint: Blueprint, model: Node, outside: Node, prompt: Output, **inputs: Any) -> Node:
    return blueprint.add(
        "LightFusionEncode", clip=model["CLIP"], prompt=prompt, negative_prompt="", width=outside["width"],
        height=outside["height"], **inputs,
    )  # fmt: skip


def _draw(blueprint: Blueprint, model: Node, outside: Node, encoded: Node) -> None:
    drawn = blueprint.add(
        "LightFusionSampler", model=model["MODEL"], positive=encoded["positive"], negative=encoded["negative"],
        latent=encoded["latent"], seed=outside["seed"], steps=outside["steps"],
    )  # fmt: skip
    picture = blueprint.add("VAEDecode", samples=drawn["LATENT"], vae=model["VAE"])
    blueprint.group("Draw", PURPLE, [drawn], [picture])
    blueprint.outputs["image"] = picture["IMAGE"]


def text_to_image() -> Blueprint:
    blueprint = _start(
        "Text to Image (LightFusion)",
        "Text to image",
        "Draws what a prompt says with LightFusion. Width and height 0 mean the model's own size. The model nano is "
        "built in and draws coloured shapes; pick a checkpoint of models/lightfusion for real pictures.",
        "text to image",
        "t2i",
    )
    outside = blueprint.takes(
        prompt=("STRING", "a red circle left of a blue star"), width=("INT", 0), height=("INT", 0), seed=("INT", 1),
        steps=("INT", STEPS), model=_MODEL,
    )  # fmt: skip
    model = _load(blueprint, outside)
    encoded = _encode(blueprint, model, outside, outside["prompt"])
    blueprint.group("What to draw", GREEN, [encoded])
    _draw(blueprint, model, outside, encoded)
    return blueprint


def _edit(blueprint: Blueprint, outside: Node, **inputs: Any) -> Blueprint:
    model = _load(blueprint, outside)
    edited = blueprint.add(
        "LightFusionEdit", model=model["MODEL"], clip=model["CLIP"], vae=model["VAE"], image_1=outside["image"],
        instruction=outside["instruction"], seed=outside["seed"], steps=outside["steps"], **inputs,
    )  # fmt: skip
    blueprint.group("Edit", PURPLE, [edited])
    blueprint.outputs["image"] = edited["image"]
    return blueprint


def image_edit() -> Blueprint:
    blueprint = _start(
        "Image Edit (LightFusion)",
        "Edit image",
        "Changes a picture as an instruction says, with LightFusion. The result has exactly the picture's size, in "
        "place. The images 2 and 3 may stay empty: they are further pictures that the instruction speaks of.",
        "image edit",
        "instruct",
    )
    outside = blueprint.takes(
        image="IMAGE", image_2="IMAGE", image_3="IMAGE", instruction=("STRING", "make the circle blue"),
        seed=("INT", 1), steps=("INT", STEPS), model=_MODEL,
    )  # fmt: skip
    return _edit(blueprint, outside, image_2=outside["image_2"], image_3=outside["image_3"])


def masked_edit() -> Blueprint:
    blueprint = _start(
        "Masked Image Edit (LightFusion)",
        "Inpaint image",
        "Changes a picture as an instruction says, with LightFusion, only where the mask is white. Every pixel outside "
        "of the mask comes back bit for bit as it was.",
        "inpaint",
        "mask",
    )
    outside = blueprint.takes(
        image="IMAGE", mask="MASK", instruction=("STRING", "make the square purple"), seed=("INT", 1),
        steps=("INT", STEPS), model=_MODEL,
    )  # fmt: skip
    return _edit(blueprint, outside, mask=outside["mask"])


def think_then_draw() -> Blueprint:
    blueprint = _start(
        "Think then Draw (LightFusion)",
        "Text to image",
        "Lets LightFusion's own language model think about a prompt, or rewrite it, and draws what comes out. The text "
        "is an output too. nano knows short sentences about shapes and has little to say.",
        "prompt enhance",
        "reasoning",
    )
    outside = blueprint.takes(
        prompt=("STRING", "a red circle"), mode=("COMBO", "think"), length=("INT", 2048), width=("INT", 0),
        height=("INT", 0), seed=("INT", 1), steps=("INT", STEPS), model=_MODEL,
    )  # fmt: skip
    model = _load(blueprint, outside)
    written = blueprint.add(
        "LightFusionThink", "", "fixed", clip=model["CLIP"], prompt=outside["prompt"], mode=outside["mode"],
        length=outside["length"],
    )  # fmt: skip
    encoded = _encode(
        blueprint, model, outside, written["prompt"], thought=written["thought"], system=written["system"]
    )
    blueprint.group("Think", GREEN, [written])
    blueprint.group("What to draw", GREEN, [encoded])
    _draw(blueprint, model, outside, encoded)
    blueprint.outputs |= {"prompt": written["prompt"], "thought": written["thought"]}
    return blueprint


def regional_prompts() -> Blueprint:
    blueprint = _start(
        "Regional Prompts (LightFusion)",
        "Conditioned",
        "Draws with one prompt where the mask is white and with another where it is black, with LightFusion. Each "
        "prompt describes a whole picture, and its part of it is drawn. Give the mask the picture's shape.",
        "regional prompting",
        "area",
        "mask",
    )
    outside = blueprint.takes(
        mask="MASK", prompt_in_mask=("STRING", "a red circle left of a green square"),
        prompt_elsewhere=("STRING", "a yellow heart left of a blue star"), width=("INT", 0), height=("INT", 0),
        seed=("INT", 1), steps=("INT", STEPS), model=_MODEL,
    )  # fmt: skip
    model = _load(blueprint, outside)
    inside, elsewhere, negative = (
        blueprint.add("CLIPTextEncode", title, clip=model["CLIP"], text=text)
        for title, text in (
            ("In the mask", outside["prompt_in_mask"]),
            ("Elsewhere", outside["prompt_elsewhere"]),
            ("Negative prompt", ""),
        )
    )
    inverted = blueprint.add("InvertMask", "All but the mask", mask=outside["mask"])
    parts = [
        blueprint.add("ConditioningSetMask", title, conditioning=prompt["CONDITIONING"], mask=mask)
        for title, prompt, mask in (
            ("Prompt in the mask", inside, outside["mask"]),
            ("Prompt elsewhere", elsewhere, inverted["MASK"]),
        )
    ]
    both = blueprint.add(
        "ConditioningCombine", conditioning_1=parts[0]["CONDITIONING"], conditioning_2=parts[1]["CONDITIONING"]
    )
    empty = blueprint.add(
        "LightFusionEmptyLatent", model=model["MODEL"], width=outside["width"], height=outside["height"]
    )
    drawn = blueprint.add(
        "LightFusionSampler", model=model["MODEL"], positive=both["CONDITIONING"], negative=negative["CONDITIONING"],
        latent=empty["LATENT"], seed=outside["seed"], steps=outside["steps"],
    )  # fmt: skip
    picture = blueprint.add("VAEDecode", samples=drawn["LATENT"], vae=model["VAE"])
    blueprint.group("What to draw", GREEN, [inside, elsewhere, negative])
    blueprint.group("Where", BROWN, [inverted, *parts, both])
    blueprint.group("Draw", PURPLE, [empty], [drawn], [picture])
    blueprint.outputs["image"] = picture["IMAGE"]
    return blueprint


BLUEPRINTS = (text_to_image, image_edit, masked_edit, think_then_draw, regional_prompts)
"""All of them, in the order in which they are best met."""
