"""LightFusion Edit: a picture and an instruction to the edited picture, in the original's size."""

from __future__ import annotations

from comfy_api.latest import io

from .encode import IMAGES, image_inputs
from .fitting import mask_input, size_input
from .sampling import STEPS, cache_input, guidance_inputs
from .schema import advanced, schema


class LightFusionEdit(io.ComfyNode):
    """Stands for the nodes of an edit, so that the host's cache does the reuse."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionEdit",
            search_aliases=[
                "edit image", "image edit", "instruct", "img2img", "inpaint", "inpainting", "retouch", "change",
                "replace", "remove", "Qwen edit", "Kontext",
            ],
            display_name="LightFusion Edit",
            category="LightFusion",
            description="Edits a picture by instruction and gives it back in its own size. It stands for Encode, "
            "Sampler, VAE Decode and Restore; only what a change touches is run again.",
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip"),
                io.Vae.Input("vae"),
                io.Image.Input("image_1", tooltip="What is edited; a batch is edited frame by frame."),
                io.String.Input("instruction", multiline=True, default="", tooltip="Brackets in it give no weights."),
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True,
                    tooltip="Frame k of a batch is drawn with seed + k, and equals that single run.",
                ),
                io.Int.Input("steps", **STEPS),
                *guidance_inputs(),
                size_input(),
                *image_inputs(IMAGES[1:]),
                mask_input("Where the picture may change; all else comes back bit for bit. One mask for all frames, "
                           "or one for each."),
                cache_input(),
                advanced(io.Boolean.Input(
                    "keep", default=True, optional=True,
                    tooltip="What the edit did not change comes back bit for bit, unless it changed the whole picture. "
                    "With a mask, colours are matched to what is outside of it.",
                )),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.Latent.Output("latent", display_name="latent"),
                io.Mask.Output("changed", display_name="changed", tooltip="Where the picture shows the edit."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            enable_expand=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, **values) -> io.NodeOutput:
        from .native.editing import expand, links_or_values

        inputs = links_or_values(cls.hidden.dynprompt, cls.hidden.unique_id, values)
        graph, *links = expand(inputs, values)
        return io.NodeOutput(*links, expand=graph)
