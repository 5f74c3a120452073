"""An edit as a graph: the nodes that LightFusion Edit stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_execution.graph import DynamicPrompt
from comfy_execution.graph_utils import GraphBuilder, Node, is_link

import nodes

from ...lightfusion_core.sampling.guidance import Guidance
from ..fitting import OWN_SIZE
from .encoding import check_clip
from .fitting import config_of, fitted_size, given_mask, masks_for
from .guiding import check_model

Link = list[Any]
_SHARED = ("image_2", "image_3", "image_4")


def links_or_values(dynprompt: DynamicPrompt, node: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A running node's inputs as links, by which the host knows a node that has run before.

    Where a link may carry a list, whose items the host gives to the node one at a time, the item stands in
    its place.
    """
    inputs = dynprompt.get_node(node)["inputs"]
    return {
        name: value if is_link(inputs[name]) and _carries_list(dynprompt, inputs[name]) else inputs[name]
        for name, value in values.items()
        if value is not None
    }


def _carries_list(dynprompt: DynamicPrompt, link: Link) -> bool:
    """Whether a list is made anywhere on the way to a link."""
    waiting, seen = [link[0]], set()
    while waiting:
        name = waiting.pop()
        if name in seen or not dynprompt.has_node(name):
            continue
        seen.add(name)
        node = dynprompt.get_node(name)
        if any(getattr(nodes.NODE_CLASS_MAPPINGS[node["class_type"]], "OUTPUT_IS_LIST", None) or ()):
            return True
        waiting += [value[0] for value in node["inputs"].values() if is_link(value)]
    return False


def expand(inputs: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], Link, Link, Link]:
    """The graph of an edit, and the links to its IMAGE, its LATENT and the MASK of where the IMAGE shows the edit.

    Each frame is encoded and drawn by itself; all frames are decoded and restored together.

    Args:
        inputs: the Edit node's inputs, as the nodes are to be given them.
        values: the same as values.

    Raises:
        InputError: another model's MODEL, CLIP or VAE, or masks that do not fit.
    """
    image_1 = values["image_1"]
    mask = given_mask(image_1, values.get("mask"))
    check_model(values["model"])
    config = check_clip(values["clip"]).config
    width, height = fitted_size(image_1, values["size"] == OWN_SIZE, config_of(values["vae"]))
    if mask is not None:
        masks_for(image_1, mask)
    graph, frames = GraphBuilder(), range(len(image_1))
    canvas, fitted, encoded = _canvas(graph, inputs, width, height, len(image_1), mask is not None)
    drawn = []
    for k in frames:
        image, latent = inputs["image_1"], canvas
        if len(frames) > 1:
            image = graph.node("ImageFromBatch", image=image, batch_index=k, length=1).out(0)
            # the frame's place goes with its latent, so that it is drawn with seed + k
            latent = graph.node("LatentFromBatch", samples=latent, batch_index=k, length=1).out(0)
        conditioning = graph.node(
            "LightFusionEncode", clip=inputs["clip"], vae=inputs["vae"], prompt=inputs["instruction"],
            negative_prompt=config.defaults.negative_prompt, width=width, height=height, batch_size=1, image_1=image,
            **{name: inputs[name] for name in _SHARED if name in inputs},
        )  # fmt: skip
        drawn.append(_sampler(graph, inputs, conditioning, latent, config.defaults.shift).out(0))
    latents = _joined(graph, drawn)
    if fitted is not None and len(frames) > 1:  # joining keeps the first frame's mask alone
        latents = graph.node("SetLatentNoiseMask", samples=latents, mask=fitted.out(1)).out(0)
    decoded = graph.node("VAEDecode", samples=latents, vae=inputs["vae"])
    more = {} if mask is None else {"mask": inputs["mask"]}
    if values.get("keep", True):
        encoded = encoded or _encoded(graph, inputs)[1]
        more["before"] = graph.node("VAEDecode", samples=encoded, vae=inputs["vae"]).out(0)
    restored = graph.node("LightFusionRestore", image=decoded.out(0), original=inputs["image_1"], **more)
    return graph.finalize(), restored.out(0), latents, restored.out(1)


def _canvas(
    graph: GraphBuilder, inputs: Mapping[str, Any], width: int, height: int, count: int, masked: bool
) -> tuple[Link, Node | None, Link | None]:
    """The latents that the frames start from; with a mask the node that fits pictures and masks, and the pictures'
    latents."""
    if not masked:
        size = {"width": width, "height": height, "batch_size": count}
        return graph.node("LightFusionEmptyLatent", model=inputs["model"], **size).out(0), None, None
    fitted, encoded = _encoded(graph, inputs, mask=inputs["mask"])
    return graph.node("SetLatentNoiseMask", samples=encoded, mask=fitted.out(1)).out(0), fitted, encoded


def _encoded(graph: GraphBuilder, inputs: Mapping[str, Any], **mask: Any) -> tuple[Node, Link]:
    """The node that fits the pictures, and their latents."""
    vae = inputs["vae"]
    fitted = graph.node("LightFusionFit", vae=vae, image=inputs["image_1"], size=inputs["size"], **mask)
    return fitted, graph.node("VAEEncode", pixels=fitted.out(0), vae=vae).out(0)


def _sampler(graph: GraphBuilder, inputs: Mapping[str, Any], encoded: Node, latent: Link, shift: float) -> Node:
    rest = Guidance()
    return graph.node(
        "LightFusionSampler", model=inputs["model"], positive=encoded.out(0), negative=encoded.out(1),
        no_image=encoded.out(2), latent=latent, seed=inputs["seed"], steps=inputs["steps"],
        text_guidance=inputs["text_guidance"], image_guidance=inputs["image_guidance"], shift=shift, solver="unipc",
        denoise=1.0, renorm=rest.renorm, renorm_min=rest.renorm_min, interval_start=rest.interval[0],
        interval_end=rest.interval[1], cache=inputs.get("cache", 0.0),
    )  # fmt: skip


def _joined(graph: GraphBuilder, latents: list[Link]) -> Link:
    """One batch of all. By halves: the host keeps every node's output, and one after another they would grow
    with the square of their number."""
    if len(latents) == 1:
        return latents[0]
    half = len(latents) // 2
    halves = {"samples1": _joined(graph, latents[:half]), "samples2": _joined(graph, latents[half:])}
    return graph.node("LatentBatch", **halves).out(0)
