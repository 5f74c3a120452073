"""An edit as a graph, and several in a row: the nodes that LightFusion Edit and Edits stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from comfy.cli_args import args
from comfy_api.latest import io
from comfy_execution import caching
from comfy_execution.graph import DynamicPrompt
from comfy_execution.graph_utils import GraphBuilder, Node, is_link

import nodes

from ...lightfusion_core.config import Defaults
from ...lightfusion_core.errors import DependencyError, InputError
from ...lightfusion_core.framing import Part
from ...lightfusion_core.images import resized_size
from ...lightfusion_core.sampling.guidance import Guidance
from ..encode import IMAGES, MORE_IMAGES
from ..fitting import EDGES, OWN_SIZE, SAME
from .encoding import check_clip
from .fitting import config_of, given_mask, parts_of, size_rule
from .guiding import check_model

Link = list[Any]


def expanded(build: Callable[..., tuple[Any, ...]], hidden: Any, values: Mapping[str, Any]) -> io.NodeOutput:
    """The output of a node that stands for a graph.

    Args:
        build: makes the graph and the links to the node's outputs, of the inputs as the graph's nodes are to be given
            them and as values.
        hidden: the node's, with its prompt and its id.

    Raises:
        DependencyError: a host that cannot run such a node.
    """
    _check_host()
    graph, *links = build(_links_or_values(hidden.dynprompt, hidden.unique_id, values), values)
    return io.NodeOutput(*links, expand=graph)


def _check_host() -> None:
    """Refuse what the oldest hosts cannot run: without a cache of results they lose track of a node that stands for
    several, whichever it is, and end in a KeyError."""
    if args.cache_none and hasattr(caching, "DependencyAwareCache"):
        raise DependencyError(
            "This version of ComfyUI cannot run a node that stands for several, as this one does, where it is started "
            "with --cache-none: start it with --cache-lru 10 instead, or update ComfyUI."
        )


def _links_or_values(dynprompt: DynamicPrompt, node: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A running node's inputs as links, by which the host knows a node that has run before.

    Where a link may carry a list, whose items the host gives to the node one at a time, the item stands in
    its place.
    """
    inputs = dynprompt.get_node(node)["inputs"]
    values = {key: value for name, given in values.items() for key, value in _listed(name, given)}
    return {
        name: value if is_link(inputs[name]) and _carries_list(dynprompt, inputs[name]) else inputs[name]
        for name, value in values.items()
        if value is not None
    }


def _listed(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """An input, or the inputs of a list that grows, by their names in the prompt."""
    if isinstance(value, Mapping) and name == MORE_IMAGES:
        yield from ((f"{name}.{key}", item) for key, item in value.items())
    else:
        yield name, value


def _is_shared(name: str) -> bool:
    """Whether an input is a reference that all frames have in common."""
    return name in IMAGES[1:] or name.startswith(f"{MORE_IMAGES}.")


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


def edit(inputs: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], Link, Link, Link]:
    """The graph of an edit, and the links to its IMAGE, its LATENT and the MASK of where the IMAGE shows the edit.

    Each frame is encoded and drawn by itself; all frames are decoded and restored together.

    Args:
        inputs: the Edit node's inputs, as the nodes are to be given them.
        values: the same as values.

    Raises:
        InputError: another model's MODEL, CLIP or VAE, or masks that do not fit.
    """
    image_1, own_size = values["image_1"], values["size"] == OWN_SIZE
    mask = given_mask(image_1, values.get("mask"))
    check_model(values["model"])
    config = check_clip(values["clip"]).config
    edges, context = tuple(values.get(edge, 0) for edge in EDGES), values.get("context", 0.0)
    part = parts_of(image_1, own_size, config_of(values["vae"]), mask, edges, context)[0]
    width, height = resized_size(*part.drawn_size, size_rule(own_size, config))
    graph, frames = GraphBuilder(), range(len(image_1))
    source, back = _source(graph, inputs, mask is not None, part)
    from_picture = "mask" in source or values.get("denoise", 1.0) < 1
    canvas, fitted, encoded = _canvas(graph, inputs, source, width, height, len(image_1), from_picture)
    if len(frames) > 1 and values.get("frame_seeds") == SAME:
        canvas = graph.node("LatentBatchSeedBehavior", samples=canvas, seed_behavior="fixed").out(0)
    negative = inputs["negative_prompt"] if values.get("negative_prompt") else config.defaults.negative_prompt
    texts = {name: inputs[name] for name in ("system", "thought") if values.get(name)}
    drawn = []
    for k in frames:
        image, latent = source["image"], canvas
        if len(frames) > 1:
            image = graph.node("ImageFromBatch", image=image, batch_index=k, length=1).out(0)
            # the frame's place goes with its latent, so that it is drawn with seed + k where seeds count
            latent = graph.node("LatentFromBatch", samples=latent, batch_index=k, length=1).out(0)
        conditioning = graph.node(
            "LightFusionEncode", clip=inputs["clip"], vae=inputs["vae"], prompt=inputs["instruction"],
            negative_prompt=negative, width=width, height=height, batch_size=1, image_1=image, **texts,
            **{name: given for name, given in inputs.items() if _is_shared(name)},
        )  # fmt: skip
        drawn.append(_sampler(graph, inputs, values, conditioning, latent, config.defaults).out(0))
    latents = _joined(graph, "LatentBatch", "samples", drawn)
    if fitted is not None and "mask" in source and len(frames) > 1:  # joining keeps the first frame's mask alone
        latents = graph.node("SetLatentNoiseMask", samples=latents, mask=fitted.out(1)).out(0)
    decoded = graph.node("VAEDecode", samples=latents, vae=inputs["vae"])
    if values.get("keep", True):
        encoded = encoded or _encoded(graph, inputs, source)[1]
        back["before"] = graph.node("VAEDecode", samples=encoded, vae=inputs["vae"]).out(0)
    restored = graph.node("LightFusionRestore", image=decoded.out(0), **back)
    return graph.finalize(), restored.out(0), latents, restored.out(1)


def edits(inputs: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], Link, Link]:
    """The graph of several edits, one after another, and the links to the last IMAGE and to those of all steps, in
    order. A step is known by its place and by what comes before it, so that the host keeps what did not change.

    Args:
        inputs, values: as for `edit`, with `instructions`, one a line.

    Raises:
        InputError: there is no instruction.
    """
    lines = [line.strip() for line in values["instructions"].splitlines() if line.strip()]
    if not lines:
        raise InputError("Expected an instruction on each line, found none: write at least one.")
    settings = {name: given for name, given in inputs.items() if name not in ("image_1", "instructions")}
    graph, images = GraphBuilder(), [inputs["image_1"]]
    for k, line in enumerate(lines, 1):
        step = graph.node("LightFusionEdit", f"step {k}", image_1=images[-1], instruction=line, **settings)
        images.append(step.out(0))
    steps = _joined(graph, "ImageBatch", "image", images[1:])
    return graph.finalize(), images[-1], steps


def _source(
    graph: GraphBuilder, inputs: Mapping[str, Any], masked: bool, part: Part
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pictures that are edited, with their mask where they have one; and what Restore needs to put the result
    back."""
    if part.box is None and not any(part.edges):
        mask = {"mask": inputs["mask"]} if masked else {}
        return {"image": inputs["image_1"], **mask}, {"original": inputs["image_1"], **mask}
    given = {name: inputs[name] for name in ("context", *EDGES) if name in inputs}
    given |= {"mask": inputs["mask"]} if masked else {}
    cut = graph.node("LightFusionCrop", vae=inputs["vae"], image=inputs["image_1"], size=inputs["size"], **given)
    back = {"original": cut.out(0), "mask": cut.out(2), "whole": cut.out(3), "left": cut.out(4), "top": cut.out(5)}
    return {"image": cut.out(0), "mask": cut.out(1)}, back


def _canvas(
    graph: GraphBuilder,
    inputs: Mapping[str, Any],
    source: Mapping[str, Any],
    width: int,
    height: int,
    count: int,
    from_picture: bool,
) -> tuple[Link, Node | None, Link | None]:
    """The latents that the frames start from; where those are the pictures' own, the node that fits pictures and masks,
    and the latents without a mask."""
    if not from_picture:
        size = {"width": width, "height": height, "batch_size": count}
        return graph.node("LightFusionEmptyLatent", model=inputs["model"], **size).out(0), None, None
    fitted, encoded = _encoded(graph, inputs, source)
    if "mask" not in source:
        return encoded, fitted, encoded
    return graph.node("SetLatentNoiseMask", samples=encoded, mask=fitted.out(1)).out(0), fitted, encoded


def _encoded(graph: GraphBuilder, inputs: Mapping[str, Any], source: Mapping[str, Any]) -> tuple[Node, Link]:
    """The node that fits the pictures, with their mask where they have one, and their latents."""
    vae = inputs["vae"]
    fitted = graph.node("LightFusionFit", vae=vae, size=inputs["size"], **source)
    return fitted, graph.node("VAEEncode", pixels=fitted.out(0), vae=vae).out(0)


def _sampler(
    graph: GraphBuilder,
    inputs: Mapping[str, Any],
    values: Mapping[str, Any],
    encoded: Node,
    latent: Link,
    defaults: Defaults,
) -> Node:
    rest = Guidance()
    return graph.node(
        "LightFusionSampler", model=inputs["model"], positive=encoded.out(0), negative=encoded.out(1),
        no_image=encoded.out(2), latent=latent, seed=inputs["seed"], steps=inputs["steps"],
        text_guidance=inputs["text_guidance"], image_guidance=inputs["image_guidance"],
        shift=inputs["shift"] if values.get("shift") else defaults.shift, solver=inputs.get("solver", "unipc"),
        denoise=inputs.get("denoise", 1.0), renorm=rest.renorm, renorm_min=rest.renorm_min,
        interval_start=rest.interval[0], interval_end=rest.interval[1], cache=inputs.get("cache", 0.0),
    )  # fmt: skip


def _joined(graph: GraphBuilder, kind: str, name: str, parts: list[Link]) -> Link:
    """One batch of all, by a node that joins two. By halves: the host keeps every node's output, and one after another
    they would grow with the square of their number."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    halves = (_joined(graph, kind, name, some) for some in (parts[:half], parts[half:]))
    return graph.node(kind, **{f"{name}{k}": made for k, made in enumerate(halves, 1)}).out(0)
