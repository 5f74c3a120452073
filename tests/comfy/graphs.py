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
        slow: seconds by which every call of the network is delayed.
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
