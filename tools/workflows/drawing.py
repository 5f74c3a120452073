"""Workflows that draw from text."""

from __future__ import annotations

from .graph import BROWN, GREEN, PURPLE, Graph
from .parts import STEPS, decode, encode, model_frame, sample, save, start


def text_to_image() -> Graph:
    graph, model = start(
        "text_to_image",
        "Text to image",
        "Type what you want to see into *Prompt* and press Run. Width and height 0 mean the model's own size.",
        "Nothing is encoded again while you change only the seed, the steps or the guidance.",
    )
    encoded = encode(graph, model, "a red circle left of a blue star", "Prompt")
    drawn = sample(graph, model, encoded, 1)
    picture = decode(graph, model, drawn["LATENT"])
    saved = save(graph, picture["IMAGE"])
    model_frame(graph, model)
    graph.group("What to draw", GREEN, [encoded])
    graph.group("Draw", PURPLE, [drawn], [picture, saved])
    return graph


def stock_ksampler() -> Graph:
    graph, model = start(
        "stock_ksampler",
        "With ComfyUI's own nodes",
        "Only *Load LightFusion* and *Empty LightFusion Latent* are this pack's. Prompt, KSampler and decoding are the "
        "nodes that you know, so LoRA loaders and everything else that takes a MODEL, CLIP or VAE fits in between.",
        "**LightFusion Sampler** in place of KSampler gives the published schedule and guidance for pictures.",
    )
    positive = graph.add(
        "CLIPTextEncode",
        "Positive prompt",
        clip=model["CLIP"],
        text="a blue star above a green square on a light yellow background",
    )
    negative = graph.add("CLIPTextEncode", "Negative prompt", clip=model["CLIP"], text="")
    empty = graph.add("LightFusionEmptyLatent", model=model["MODEL"])
    drawn = graph.add(
        "KSampler", model=model["MODEL"], positive=positive["CONDITIONING"], negative=negative["CONDITIONING"],
        latent_image=empty["LATENT"], seed=1, steps=STEPS, cfg=3.0, sampler_name="euler", scheduler="simple",
    )  # fmt: skip
    picture = decode(graph, model, drawn["LATENT"])
    saved = save(graph, picture["IMAGE"])
    model_frame(graph, model)
    graph.group("What to draw", GREEN, [positive, negative, empty])
    graph.group("Draw", PURPLE, [drawn], [picture, saved])
    return graph


def batch_of_seeds() -> Graph:
    graph, model = start(
        "batch_of_seeds",
        "Several pictures at once, and one of them again",
        "*Batch size* 4 draws four pictures from four seeds in a row: with seed 1 they are those of the seeds 1, 2, 3 "
        "and 4. Picture number 2 (counted from 0) is taken out and enlarged.",
        "Like one of them? Set its seed, *batch size* 1, and you get exactly that picture, alone.",
    )
    encoded = encode(graph, model, "a green square and a pink heart", "Prompt", batch_size=4)
    drawn = sample(graph, model, encoded, 1)
    pictures = decode(graph, model, drawn["LATENT"])
    saved = save(graph, pictures["IMAGE"], "Save all four")
    one = graph.add("ImageFromBatch", "Take one out", image=pictures["IMAGE"], batch_index=2)
    large = graph.add("ImageScaleBy", image=one["IMAGE"], upscale_method="lanczos", scale_by=2.0)
    shown = graph.add("PreviewImage", "The one", images=large["IMAGE"])
    model_frame(graph, model)
    graph.group("What to draw", GREEN, [encoded])
    graph.group("Draw four", PURPLE, [drawn], [pictures, saved])
    graph.group("Pick one", BROWN, [one, large, shown])
    return graph


def rewrite_then_draw() -> Graph:
    graph, model = start(
        "rewrite_then_draw",
        "Let the model write the prompt",
        "**LightFusion Think** turns a short prompt into a detailed one before it is drawn; you see the text while it "
        "is written. *Mode* **think** keeps your prompt and adds a thought to it, as the model's authors published it.",
        "Its seed stays as it is, so that another picture does not cost another text. nano has read nothing but short "
        "sentences about shapes and writes little of use; the wiring is the same for the large model.",
    )
    thought = graph.add(
        "LightFusionThink", "Write the prompt", "fixed", clip=model["CLIP"], prompt="a red circle", length=48
    )
    encoded = encode(
        graph, model, thought["prompt"], "Prompt, thought and system text",
        thought=thought["thought"], system=thought["system"],
    )  # fmt: skip
    drawn = sample(graph, model, encoded, 1)
    picture = decode(graph, model, drawn["LATENT"])
    saved = save(graph, picture["IMAGE"])
    model_frame(graph, model)
    graph.group("Write", GREEN, [thought])
    graph.group("Draw", PURPLE, [encoded], [drawn], [picture, saved])
    return graph
