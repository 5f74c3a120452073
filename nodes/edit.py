"""LightFusion Edit and Edits: a picture and instructions to the edited picture, in the original's size."""

from __future__ import annotations

from comfy_api.latest import io

from .encode import IMAGES, PROMPT, image_inputs, more_image_inputs, thinking_inputs
from .fitting import COUNTING, SAME, mask_input, part_inputs, size_input
from .sampling import DENOISE, SHIFT, STEPS, cache_input, guidance_inputs, solver_input
from .schema import advanced, prompt_input, schema


def edit_inputs(instruction: io.Input) -> list[io.Input]:
    """What every edit takes, in the order that shared files count on."""
    return [
        io.Model.Input("model"),
        io.Clip.Input("clip"),
        io.Vae.Input("vae"),
        io.Image.Input("image_1", tooltip="What is edited; a batch is edited frame by frame."),
        instruction,
        io.Int.Input(
            "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True,
            tooltip="Frame k of a batch is drawn with seed + k (see frame_seeds), and equals that single run.",
        ),
        io.Int.Input("steps", **STEPS),
        *guidance_inputs(),
        size_input(),
        *image_inputs(IMAGES[1:]),
        mask_input("Where the picture may change; all else comes back bit for bit. One mask for all frames, or one for "
                   "each."),
        cache_input(),
        advanced(io.Boolean.Input(
            "keep", default=True, optional=True,
            tooltip="What the edit did not change comes back bit for bit, unless it changed the whole picture. With a "
            "mask, colours are matched to what is outside of it.",
        )),
    ]  # fmt: skip


def setting_inputs() -> list[io.Input]:
    """What an edit leaves to the model where nothing is said."""
    rows = [
        prompt_input(
            "negative_prompt", optional=True,
            tooltip="What guidance leads away from. Empty: the one that the model was published with.",
        ),
        io.Float.Input(
            "shift", optional=True,
            **{**SHIFT, "default": 0.0, "min": 0.0, "tooltip": f"{SHIFT['tooltip']} 0: the model's own."},
        ),
        solver_input(optional=True),
        io.Float.Input("denoise", optional=True, **{**DENOISE, "tooltip": "Less than 1 redraws the picture in part."}),
        io.Combo.Input(
            "frame_seeds", options=[COUNTING, SAME], default=COUNTING, optional=True,
            tooltip="counting: frame k of a batch is drawn with seed + k. same: each with the seed, so that frames "
            "that are alike stay alike.",
        ),
    ]  # fmt: skip
    return [advanced(row) for row in rows]


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
                *edit_inputs(prompt_input("instruction", tooltip=PROMPT)),
                *map(advanced, part_inputs()),
                *setting_inputs(),
                *thinking_inputs(),
                *more_image_inputs(),
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
        from .native.editing import edit, expanded

        return expanded(edit, cls.hidden, values)


class LightFusionEdits(io.ComfyNode):
    """Stands for one Edit after another, so that the host's cache knows the steps that did not change."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionEdits",
            search_aliases=["several edits", "multi-turn edit", "chain of edits", "steps", "conversation"],
            display_name="LightFusion Edits",
            category="LightFusion",
            description="Edits a picture several times in a row: one instruction a line, each on what the one before "
            "gave. Steps before the first changed line are not run again.",
            inputs=[
                *edit_inputs(prompt_input("instructions", tooltip="One edit a line. Empty lines are passed over.")),
                advanced(part_inputs()[0]),
                *setting_inputs(),
                *more_image_inputs(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="After the last line."),
                io.Image.Output("each", display_name="each", tooltip="After every line, in order, as one batch."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            enable_expand=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, **values) -> io.NodeOutput:
        from .native.editing import edits, expanded

        return expanded(edits, cls.hidden, values)
