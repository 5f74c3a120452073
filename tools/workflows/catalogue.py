"""All example workflows, in the order in which they are best met."""

from __future__ import annotations

from collections.abc import Callable

from .drawing import (
    batch_of_seeds,
    fewer_steps,
    regional_prompts,
    rewrite_then_draw,
    stock_ksampler,
    text_to_image,
    text_to_image_app,
)
from .editing import (
    ask_and_caption,
    ask_app,
    edit_app,
    edit_other_model_edit,
    generate_edit_upscale,
    instruction_edit,
    masked_edit,
    several_references,
)
from .graph import Graph
from .training import train_a_lora

WORKFLOWS: dict[str, Callable[[], Graph]] = {
    make.__name__: make
    for make in (
        text_to_image,
        instruction_edit,
        masked_edit,
        several_references,
        ask_and_caption,
        rewrite_then_draw,
        generate_edit_upscale,
        stock_ksampler,
        regional_prompts,
        fewer_steps,
        batch_of_seeds,
        edit_other_model_edit,
        train_a_lora,
    )
} | {"text_to_image.app": text_to_image_app, "edit.app": edit_app, "ask.app": ask_app}
"""By the names of their files. Those that open as a form have a further ending, as ComfyUI's own."""

KINDS = (
    "CLIPTextEncode",
    "ConditioningCombine",
    "ConditioningSetMask",
    "EasyCache",
    "ImageFromBatch",
    "ImageScaleBy",
    "InvertMask",
    "KSampler",
    "LightFusionAsk",
    "LightFusionEdit",
    "LightFusionEmptyLatent",
    "LightFusionEncode",
    "LightFusionLoad",
    "LightFusionSampler",
    "LightFusionThink",
    "LoadImage",
    "MaskComposite",
    "PreviewImage",
    "SaveImage",
    "SolidMask",
    "VAEDecode",
    "VAEEncode",
)
"""The node classes of the recording, as the oldest ComfyUI that the pack runs on describes them."""

TRAINING_KINDS, TRAINING_SINCE = ("LoraModelLoader", "LossGraphNode", "SaveLoRA", "TrainLoraNode"), "0.24.0"
"""Those that older ones have in another form, and the version that they are recorded from."""
