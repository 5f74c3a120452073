"""Graphs in API format, small enough to be read in a failure."""

from __future__ import annotations

from typing import Any

from host import Graph

LORA = "wan.safetensors"
SAMPLER, SAVE = "sampler", "save"


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """One node; an input that is a list is a link, [node id, output]."""
    return {"class_type": kind, "inputs": inputs}


def loader(model: str) -> dict[str, Any]:
    """Load LightFusion with everything from the model."""
    own = "from the model"
    return node("LightFusionLoad", model=model, understanding=own, vae=own, weight_dtype="default")


def text_to_image(
    model: str = "tiny/", text: str = "a red circle", negative: str = "", *, seed: int = 1, steps: int = 4,
    cfg: float = 3.0, width: int = 64, height: int = 64, batch: int = 1, lora: float | None = None, slow: float = 0,
) -> Graph:  # fmt: skip
    """The stock graph: CLIPTextEncode twice, KSampler, VAEDecode, SaveImage.

    Args:
        lora: the strength of `LORA`; None is a graph without the node.
        slow: seconds by which every call of the network, and the sampling's end, is delayed.
    """
    graph = {
        "load": loader(model),
        "positive": node("CLIPTextEncode", clip=["load", 1], text=text),
        "negative": node("CLIPTextEncode", clip=["load", 1], text=negative),
        "empty": node("LightFusionEmptyLatent", model=["load", 0], width=width, height=height, batch_size=batch),
        SAMPLER: node(
            "KSampler", model=["load", 0], positive=["positive", 0], negative=["negative", 0],
            latent_image=["empty", 0], seed=seed, steps=steps, cfg=cfg, sampler_name="euler", scheduler="simple",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=[SAMPLER, 0], vae=["load", 2]),
        SAVE: node("SaveImage", images=["decode", 0], filename_prefix="test"),
    }  # fmt: skip
    if lora is not None:
        graph["lora"] = node("LoraLoaderModelOnly", model=["load", 0], lora_name=LORA, strength_model=lora)
        graph[SAMPLER]["inputs"]["model"] = ["lora", 0]
    if slow:
        graph["slow"] = node("LightFusionSlow", model=graph[SAMPLER]["inputs"]["model"], seconds=slow)
        graph[SAMPLER]["inputs"]["model"] = ["slow", 0]
    return graph


def own_text_to_image(
    model: str = "tiny/", text: str = "a red circle", *, seed: int = 1, steps: int = 4, width: int = 64,
    height: int = 64, slow: float = 0, **encode: Any,
) -> Graph:  # fmt: skip
    """The pack's own graph: Encode, Sampler, VAEDecode, SaveImage; `encode` is wired into Encode."""
    graph = {
        "load": loader(model),
        "encode": node("LightFusionEncode", clip=["load", 1], prompt=text, negative_prompt="", width=width,
                       height=height, batch_size=1, **encode),
        SAMPLER: node(
            "LightFusionSampler", model=["load", 0], positive=["encode", 0], negative=["encode", 1],
            no_image=["encode", 2], latent=["encode", 3], seed=seed, steps=steps, text_guidance=3.0,
            image_guidance=1.0, shift=4.0, solver="unipc", denoise=1.0, renorm="none", renorm_min=0.0,
            interval_start=0.0, interval_end=1.0,
        ),
        "decode": node("VAEDecode", samples=[SAMPLER, 0], vae=["load", 2]),
        SAVE: node("SaveImage", images=["decode", 0], filename_prefix="test"),
    }  # fmt: skip
    if slow:
        graph["slow"] = node("LightFusionSlow", model=["load", 0], seconds=slow)
        graph[SAMPLER]["inputs"]["model"] = ["slow", 0]
    return graph


def edit(
    image: str, model: str = "tiny/", text: str = "make it blue", *, seed: int = 1, steps: int = 4, slow: float = 0,
    **optional: Any,
) -> Graph:  # fmt: skip
    """LightFusion Edit of an uploaded picture; `optional` is wired into it."""
    graph = {
        "load": loader(model),
        "image": node("LoadImage", image=image),
        "edit": node(
            "LightFusionEdit", model=["load", 0], clip=["load", 1], vae=["load", 2], image_1=["image", 0],
            instruction=text, seed=seed, steps=steps, text_guidance=3.0, image_guidance=1.0, size="automatic",
            **optional,
        ),
        SAVE: node("SaveImage", images=["edit", 0], filename_prefix="test"),
    }  # fmt: skip
    if slow:
        graph["slow"] = node("LightFusionSlow", model=["load", 0], seconds=slow)
        graph["edit"]["inputs"]["model"] = ["slow", 0]
    return graph


def ask(model: str = "tiny/", question: str = "what is this?", *, length: int = 40, **optional: Any) -> Graph:
    """LightFusion Ask alone; `optional` is wired into it."""
    return {
        "load": loader(model),
        "ask": node(
            "LightFusionAsk", clip=["load", 1], question=question, length=length, temperature=0.0, seed=0, **optional
        ),
    }
