"""LightFusion Encode: prompt and pictures to the three conditionings and a latent that fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..lightfusion_core.config import NEGATIVE_PROMPT
from .schema import advanced, growing_images, prompt_input, schema

PROMPT = "Brackets in it give no weights; {a|b} takes one of both by chance."
IMAGES = ("image_1", "image_2", "image_3", "image_4")
MORE_IMAGES, MORE = "more_images", tuple(f"image_{number}" for number in range(5, 17))
"""The list that grows behind them, and its sockets."""


def image_inputs(names: tuple[str, ...] = IMAGES) -> list[io.Input]:
    """Sockets for references."""
    tooltip = "A reference; the frames of a batch are further references, in order."
    return [io.Image.Input(name, optional=True, tooltip=tooltip) for name in names]


def more_image_inputs() -> list[io.Input]:
    """Further sockets for references, one more with each that is wired, on the hosts that can."""
    return growing_images(
        MORE_IMAGES, MORE, tooltip="References behind image_4: each one that is wired makes room for another."
    )


def thinking_inputs() -> list[io.Input]:
    """The texts around a prompt that was thought over."""
    system = io.String.Input(
        "system", multiline=True, default="", optional=True,
        tooltip="For think, then draw: the system text. With it, or a thought, the negative branch has no text.",
    )  # fmt: skip
    thought = io.String.Input(
        "thought", multiline=True, default="", optional=True,
        tooltip="For think, then draw: the thought that LightFusion Think wrote.",
    )  # fmt: skip
    return [advanced(system), advanced(thought)]


def given_images(images: Mapping[str, Any]) -> list[Any]:
    """The IMAGE batches of the sockets that are wired, in order."""
    images = {**images, **(images.get(MORE_IMAGES) or {})}
    return [images[name] for name in (*IMAGES, *MORE) if images.get(name) is not None]


class LightFusionEncode(io.ComfyNode):
    """One node for text to image, editing, references, and think, then draw."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionEncode",
            search_aliases=[
                "prompt", "text encode", "CLIPTextEncode", "txt2img", "text to image", "img2img", "reference",
                "multiple images",
            ],
            display_name="LightFusion Encode",
            category="LightFusion",
            description="Encodes a prompt and reference pictures; nothing is encoded again when only the seed, the "
            "steps, the guidance or the size change.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP of Load LightFusion."),
                prompt_input("prompt", tooltip=PROMPT),
                prompt_input(
                    "negative_prompt", NEGATIVE_PROMPT,
                    tooltip="What guidance leads away from. The default is the one that the model was published with.",
                ),
                io.Int.Input(
                    "width", default=0, min=0, max=16384, step=32,
                    tooltip="Pixels. 0: from the last reference by the model's rule, else the model's own size.",
                ),
                io.Int.Input("height", default=0, min=0, max=16384, step=32, tooltip="Pixels; 0 as for the width."),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="How many pictures."),
                io.Vae.Input("vae", optional=True, tooltip="Needed with reference pictures."),
                *image_inputs(),
                *thinking_inputs(),
                advanced(io.Float.Input(
                    "megapixels", default=0.0, min=0.0, max=64.0, step=0.05, optional=True,
                    tooltip="With a width and a height of 0: a picture of so many pixels, in the last reference's "
                    "proportions, else square. 1 is 1024x1024; 0 leaves it to the model.",
                )),
                *more_image_inputs(),
            ],
            outputs=[
                io.Conditioning.Output("positive", display_name="positive"),
                io.Conditioning.Output("negative", display_name="negative"),
                io.Conditioning.Output("no_image", display_name="no image"),
                io.Latent.Output("latent", display_name="latent"),
                io.Int.Output("drawn_width", display_name="width"),
                io.Int.Output("drawn_height", display_name="height"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        clip,
        prompt,
        negative_prompt,
        width,
        height,
        batch_size,
        vae=None,
        system="",
        thought="",
        megapixels=0.0,
        **images,
    ) -> io.NodeOutput:
        from .native.encoding import encode
        from .native.tokens import frames

        return io.NodeOutput(
            *encode(
                clip, vae, prompt, negative_prompt, frames(given_images(images)),
                system=system, thought=thought, width=width, height=height, batch_size=batch_size,
                megapixels=megapixels,
            )
        )  # fmt: skip
