"""Workflows that begin with a picture."""

from __future__ import annotations

from .graph import BROWN, GREEN, PURPLE, App, Graph
from .parts import EXAMPLE, LOAD_IMAGE, STEPS, decode, edit, encode, load, model_frame, sample, save, source, start


def instruction_edit() -> Graph:
    graph, model = start(
        "instruction_edit",
        "Edit a picture by saying what to change",
        "Write what should change into *LightFusion Edit*. The result has exactly the size of your picture, in place: "
        "nothing is cropped, shifted or zoomed.",
        LOAD_IMAGE,
    )
    model_frame(graph, model)
    before = source(graph, model, "a red circle and a yellow star on a white background", 1)
    edited = edit(graph, model, before, "make the circle blue", 1)
    saved = save(graph, edited["image"])
    graph.group("Edit", PURPLE, [edited], [saved])
    described = next(node for node in graph.nodes if node.kind.name == "LightFusionEncode")
    rows = ((described, "prompt"), (edited, "instruction"), (edited, "seed"), (edited, "steps"))
    graph.app = App((*rows, (model, "model")), (saved,))
    return graph


def edit_app() -> Graph:
    graph, model = start(
        "edit.app",
        "Edit a picture of yours, as a form",
        "Pick a picture, say what to change, and press Run. The button *Graph* at the top shows the nodes behind the "
        "form.",
        "The result has exactly the size of the picture, in place.",
    )
    model_frame(graph, model)
    picture = graph.add("LoadImage", "Your picture", image=EXAMPLE)
    graph.group("A picture to edit", GREEN, [picture])
    edited = edit(graph, model, picture["IMAGE"], "make the circle blue", 1)
    saved = save(graph, edited["image"])
    graph.group("Edit", PURPLE, [edited], [saved])
    rows = ((picture, "image"), (edited, "instruction"), (edited, "seed"), (edited, "steps"), (model, "model"))
    graph.app, graph.opens_as_app = App(rows, (saved,)), True
    return graph


def masked_edit() -> Graph:
    graph, model = start(
        "masked_edit",
        "Edit only where a mask allows it",
        "White in the mask may change; every pixel outside of it comes back bit for bit as it was. Here the mask is "
        "the right half, made of two plain masks of the picture's size, 128 by 128.",
        f"{LOAD_IMAGE} Then right-click it, *Open in Mask Editor*, paint, and wire its MASK into *LightFusion Edit*.",
    )
    model_frame(graph, model)
    before = source(graph, model, "a red circle left of a green square", 1)
    nothing = graph.add("SolidMask", "Keep all", value=0.0, width=128, height=128)
    half = graph.add("SolidMask", "May change", value=1.0, width=64, height=128)
    mask = graph.add(
        "MaskComposite", "Right half", destination=nothing["MASK"], source=half["MASK"], x=64, operation="add"
    )  # fmt: skip
    graph.group("Mask", BROWN, [nothing, half, mask])
    edited = edit(graph, model, before, "make the square purple", 1, mask=mask["MASK"])
    graph.group("Edit", PURPLE, [edited], [save(graph, edited["image"])])
    return graph


def several_references() -> Graph:
    graph, model = start(
        "several_references",
        "A new picture out of several",
        "Up to four pictures, and a sentence that says what to take from each: *first* is image 1. The frames of a "
        "batch on one socket count as further pictures.",
        "If the pictures are followed too little, raise *image guidance* in the sampler to 1.5 or 2.",
        "Both pictures are drawn in the green frames; wire **Load Image** nodes in their place to use your own.",
    )
    model_frame(graph, model)
    first = source(graph, model, "a red circle", 1, "First picture")
    second = source(graph, model, "a blue star on a light green background", 1, "Second picture")
    encoded = encode(
        graph, model, "put the object of the first picture on the background of the second", "What to take from each",
        vae=model["VAE"], image_1=first, image_2=second,
    )  # fmt: skip
    drawn = sample(graph, model, encoded, 1, no_image=encoded["no image"])
    picture = decode(graph, model, drawn["LATENT"])
    graph.group("Draw the new picture", PURPLE, [encoded], [drawn], [picture, save(graph, picture["IMAGE"])])
    return graph


def ask_and_caption() -> Graph:
    graph, model = start(
        "ask_and_caption",
        "Ask about a picture, and describe it",
        "The answers appear on the nodes while they are written. *Answer* is a text that other nodes can use: wire it "
        "into a prompt, or into a file name.",
        LOAD_IMAGE,
    )
    model_frame(graph, model)
    picture = source(graph, model, "a pink star above a green square", 7, "A picture to ask about")
    asked = graph.add(
        "LightFusionAsk", "Ask", "fixed", clip=model["CLIP"], question="what is above the square?", length=32,
        image_1=picture,
    )  # fmt: skip
    described = graph.add(
        "LightFusionAsk", "Caption", "fixed", clip=model["CLIP"], question="describe the picture", length=64,
        image_1=picture,
    )  # fmt: skip
    graph.group("Ask", PURPLE, [asked], [described])
    rows = ((asked, "question"), (asked, "length"), (described, "question"), (model, "model"))
    graph.app = App(rows, (asked, described))
    return graph


def ask_app() -> Graph:
    graph, model = start(
        "ask.app",
        "Ask about a picture of yours, as a form",
        "Pick a picture, write a question, and press Run. The answer shows as a text beside the form, and on the node.",
        "The button *Graph* at the top shows the nodes behind the form.",
    )
    model_frame(graph, model)
    picture = graph.add("LoadImage", "Your picture", image=EXAMPLE)
    graph.group("A picture to ask about", GREEN, [picture])
    asked = graph.add(
        "LightFusionAsk", "Ask", "fixed", clip=model["CLIP"], question="describe the picture", image_1=picture["IMAGE"]
    )
    graph.group("Ask", PURPLE, [asked])
    rows = ((picture, "image"), (asked, "question"), (asked, "length"), (model, "model"))
    graph.app, graph.opens_as_app = App(rows, (asked,)), True
    return graph


def generate_edit_upscale() -> Graph:
    graph, model = start(
        "generate_edit_upscale",
        "Draw, edit, enlarge",
        "A picture is drawn, edited, and made four times as large by ComfyUI's own *Upscale Image By*. For photographs "
        "put *Upscale Image (using Model)* in its place.",
        "A new seed in *LightFusion Edit* runs the edit alone; the drawing before it is kept.",
    )
    model_frame(graph, model)
    before = source(graph, model, "a yellow heart and a cyan cross", 1, "Draw")
    edited = edit(graph, model, before, "make the heart purple", 1)
    graph.group("Edit", PURPLE, [edited])
    large = graph.add("ImageScaleBy", image=edited["image"], upscale_method="lanczos", scale_by=4.0)
    graph.group("Enlarge", BROWN, [large, save(graph, large["IMAGE"])])
    return graph


def edit_other_model_edit() -> Graph:
    graph, model = start(
        "edit_other_model_edit",
        "Edit, repaint with another model, edit again",
        "The edited picture goes through another model as image to image, and back for a second edit. Every step is "
        "an ordinary IMAGE, so any model can stand in the middle.",
        "The other model here is a second *Load LightFusion*, so that nothing must be downloaded. Put *Load "
        "Checkpoint* (Flux, SDXL, Wan, …) in its place; the rest of the brown frame stays as it is.",
        LOAD_IMAGE,
    )
    other = load(graph, "The other model")
    model_frame(graph, model)
    before = source(graph, model, "a red circle on a white background", 1)
    first = edit(graph, model, before, "make the circle blue", 1, "fixed")
    graph.group("First edit", PURPLE, [first])
    positive = graph.add("CLIPTextEncode", "Positive prompt", clip=other["CLIP"], text="a blue circle")
    negative = graph.add("CLIPTextEncode", "Negative prompt", clip=other["CLIP"], text="")
    latent = graph.add("VAEEncode", pixels=first["image"], vae=other["VAE"])
    repainted = graph.add(
        "KSampler", "Repaint", "fixed", model=other["MODEL"], positive=positive["CONDITIONING"],
        negative=negative["CONDITIONING"], latent_image=latent["LATENT"], seed=1, steps=STEPS, cfg=3.0,
        sampler_name="euler", scheduler="simple", denoise=0.5,
    )  # fmt: skip
    picture = decode(graph, other, repainted["LATENT"])
    graph.group("Another model", BROWN, [other, positive, negative], [latent, repainted, picture])
    second = edit(graph, model, picture["IMAGE"], "change the background to light blue", 1)
    graph.group("Second edit", PURPLE, [second], [save(graph, second["image"])])
    return graph
