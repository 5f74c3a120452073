"""The workflow that teaches."""

from __future__ import annotations

from .graph import BROWN, GREEN, PURPLE, Graph
from .parts import decode, encode, model_frame, sample, save, start

_SEED = 15


def train_a_lora() -> Graph:
    graph, model = start(
        "train_a_lora",
        "Train a LoRA in the graph",
        "Ten pictures of purple circles on light green are taught to nano as *a circle*, in about a minute on a "
        "processor. *Without* and *With the LoRA* draw the same prompt from the same seed. The file goes to "
        "**output/loras**; move it to **models/loras** and any LoRA loader takes it.",
        "Your own pictures: *Load Image Dataset from Folder* and *Make Training Dataset* take the place of the green "
        "frame and the caption. For the large model go back to the defaults of *Train LoRA* (rate 0.0005, *bf16*) and "
        "turn *gradient checkpointing* on.",
    )
    shown = encode(
        graph, model, "a purple circle on a light green background", "What the ten pictures show", batch_size=10
    )
    taught = sample(graph, model, shown, 1, "fixed", "Draw ten")
    caption = graph.add("CLIPTextEncode", "Caption", clip=model["CLIP"], text="a circle")
    trained = graph.add(
        "TrainLoraNode", "", "fixed", model=model["MODEL"], latents=taught["LATENT"],
        positive=caption["CONDITIONING"], steps=60, learning_rate=0.005, rank=8, training_dtype="fp32",
        lora_dtype="fp32",
    )  # fmt: skip
    loss = graph.add("LossGraphNode", loss=trained["loss_map"])
    file = graph.add("SaveLoRA", lora=trained["lora"], steps=trained["steps"], prefix="loras/a_circle")
    with_lora = graph.add("LoraModelLoader", model=model["MODEL"], lora=trained["lora"])
    prompt = encode(graph, model, "a circle", "Prompt")
    plain = sample(graph, model, prompt, _SEED, "fixed", "Without")
    drawn = graph.add(
        "LightFusionSampler", "With the LoRA", "fixed", model=with_lora["model"], positive=prompt["positive"],
        negative=prompt["negative"], latent=prompt["latent"], seed=_SEED, steps=plain.values["steps"],
    )  # fmt: skip
    before, after = decode(graph, model, plain["LATENT"]), decode(graph, model, drawn["LATENT"])
    preview = graph.add("PreviewImage", "Without the LoRA", images=before["IMAGE"])
    saved = save(graph, after["IMAGE"])
    model_frame(graph, model)
    graph.group("Ten pictures and their caption", GREEN, [shown, caption], [taught])
    graph.group("Teach", BROWN, [trained], [loss, file, with_lora])
    graph.group("Draw without it and with it", PURPLE, [prompt], [plain, drawn], [before, preview], [after, saved])
    return graph
