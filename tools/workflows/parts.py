"""Pieces that several workflows share."""

from __future__ import annotations

from typing import Any

from .graph import BLUE, GREEN, Graph, Node, Output

STEPS = 20
"""Enough for nano; the large model is published with 50."""

EXAMPLE = "example.png"
"""The picture that stands in every ComfyUI's input folder."""

LARGE_MODEL = (
    "**nano (built in)** is a tiny model that knows coloured shapes only. It is picked here so that the graph runs as "
    "soon as it is opened, without a download or a GPU. For real pictures put a LightFusion checkpoint into "
    f"**models/lightfusion**, press R, pick it in *Load LightFusion*, and raise the steps from {STEPS} to 50."
)
LOAD_IMAGE = (
    "The picture to start from is drawn in the green frame, so that no file is needed. To use your own, delete that "
    "frame and wire a **Load Image** node in its place."
)


def start(name: str, title: str, *paragraphs: str) -> tuple[Graph, Node]:
    """A graph with its note and its loader."""
    graph = Graph(name, title, "\n\n".join((*paragraphs, LARGE_MODEL)))
    return graph, load(graph)


def load(graph: Graph, title: str = "") -> Node:
    return graph.add("LightFusionLoad", title)


def encode(graph: Graph, model: Node, prompt: str | Output, title: str = "", **inputs: Any) -> Node:
    """Prompt and pictures as conditionings. nano was trained without a negative prompt."""
    return graph.add("LightFusionEncode", title, clip=model["CLIP"], prompt=prompt, negative_prompt="", **inputs)


def sample(
    graph: Graph, model: Node, encoded: Node, seed: int, control: str = "randomize", title: str = "", **inputs: Output
) -> Node:
    return graph.add(
        "LightFusionSampler", title, control, model=model["MODEL"], positive=encoded["positive"],
        negative=encoded["negative"], latent=encoded["latent"], seed=seed, steps=STEPS, **inputs,
    )  # fmt: skip


def decode(graph: Graph, model: Node, latent: Output) -> Node:
    return graph.add("VAEDecode", samples=latent, vae=model["VAE"])


def save(graph: Graph, picture: Output, title: str = "Save Image") -> Node:
    return graph.add("SaveImage", title, images=picture, filename_prefix=f"LightFusion/{graph.name}")


def source(graph: Graph, model: Node, prompt: str, seed: int, title: str = "A picture to edit") -> Output:
    """A picture drawn with a fixed seed, in a frame of its own, for the nodes that need one."""
    encoded = encode(graph, model, prompt, "What the picture shows")
    drawn = sample(graph, model, encoded, seed, "fixed", "Draw it")
    picture = decode(graph, model, drawn["LATENT"])
    shown = graph.add("PreviewImage", "Before", images=picture["IMAGE"])
    graph.group(title, GREEN, [encoded], [drawn], [picture, shown])
    return picture["IMAGE"]


def edit(
    graph: Graph, model: Node, picture: Output, instruction: str, seed: int, control: str = "randomize",
    **inputs: Output,
) -> Node:  # fmt: skip
    return graph.add(
        "LightFusionEdit", "", control, model=model["MODEL"], clip=model["CLIP"], vae=model["VAE"], image_1=picture,
        instruction=instruction, seed=seed, steps=STEPS, **inputs,
    )  # fmt: skip


def model_frame(graph: Graph, *models: Node) -> None:
    graph.group("The model", BLUE, models)
