"""Workflows that draw from text."""

from __future__ import annotations

from .graph import BROWN, GREEN, PURPLE, App, Graph
from .parts import STEPS, decode, encode, model_frame, sample, save, start


def text_to_image(name: str = "text_to_image") -> Graph:
    graph, model = start(
        name,
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
    rows = ((encoded, "prompt"), (encoded, "width"), (encoded, "height"), (drawn, "seed"), (drawn, "steps"))
    graph.app = App((*rows, (model, "model")), (saved,))
    return graph


def text_to_image_app() -> Graph:
    """The same, seen as a form first."""
    graph = text_to_image("text_to_image.app")
    graph.opens_as_app = True
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


def regional_prompts() -> Graph:
    graph, model = start(
        "regional_prompts",
        "Another prompt for each part of the picture",
        "Each prompt acts where its mask is white. Here the masks are the two halves, made of plain masks, 128 by 128; "
        "a mask that you paint in the *Mask Editor* of a **Load Image** node serves as well.",
        "Each prompt describes a whole picture, and only its part of it is drawn: the circle of the left one, the star "
        "of the right one. All is stock: *Conditioning (Set Mask)* for each, and *Conditioning (Combine)*.",
    )
    left = graph.add("CLIPTextEncode", "Left", clip=model["CLIP"], text="a red circle left of a green square")
    right = graph.add("CLIPTextEncode", "Right", clip=model["CLIP"], text="a yellow heart left of a blue star")
    negative = graph.add("CLIPTextEncode", "Negative prompt", clip=model["CLIP"], text="")
    nothing = graph.add("SolidMask", "All", value=0.0, width=128, height=128)
    half = graph.add("SolidMask", "Half", value=1.0, width=64, height=128)
    left_mask = graph.add(
        "MaskComposite", "Left half", destination=nothing["MASK"], source=half["MASK"], operation="add"
    )  # fmt: skip
    right_mask = graph.add("InvertMask", "Right half", mask=left_mask["MASK"])
    parts = [
        graph.add("ConditioningSetMask", title, conditioning=prompt["CONDITIONING"], mask=mask["MASK"])
        for title, prompt, mask in (("Left prompt", left, left_mask), ("Right prompt", right, right_mask))
    ]
    both = graph.add(
        "ConditioningCombine", conditioning_1=parts[0]["CONDITIONING"], conditioning_2=parts[1]["CONDITIONING"]
    )
    empty = graph.add("LightFusionEmptyLatent", model=model["MODEL"], width=128, height=128)
    drawn = graph.add(
        "KSampler", model=model["MODEL"], positive=both["CONDITIONING"], negative=negative["CONDITIONING"],
        latent_image=empty["LATENT"], seed=1, steps=STEPS, cfg=3.0, sampler_name="euler", scheduler="simple",
    )  # fmt: skip
    picture = decode(graph, model, drawn["LATENT"])
    saved = save(graph, picture["IMAGE"])
    model_frame(graph, model)
    graph.group("What to draw", GREEN, [left, right, negative])
    graph.group("Where", BROWN, [nothing, half, left_mask, right_mask])
    graph.group("Draw", PURPLE, [*parts, both, empty], [drawn], [picture, saved])
    return graph


def fewer_steps() -> Graph:
    graph, model = start(
        "fewer_steps",
        "Faster, by leaving out steps that change little",
        "**EasyCache** looks at how much a step changes and takes the last one's result again where it is little. A "
        "higher *reuse_threshold* leaves out more and is less exact; bypass the node (Ctrl+B) to compare.",
    )
    cached = graph.add("EasyCache", model=model["MODEL"])
    encoded = encode(graph, model, "a red circle left of a blue star", "Prompt")
    drawn = graph.add(
        "LightFusionSampler", model=cached["MODEL"], positive=encoded["positive"], negative=encoded["negative"],
        latent=encoded["latent"], seed=1, steps=STEPS,
    )  # fmt: skip
    picture = decode(graph, model, drawn["LATENT"])
    saved = save(graph, picture["IMAGE"])
    model_frame(graph, model)
    graph.group("What to draw", GREEN, [encoded])
    graph.group("Draw", PURPLE, [cached], [drawn], [picture, saved])
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
