"""LightFusion Ask and Think: text from the understanding model, shown while it is written."""

from __future__ import annotations

from comfy_api.latest import io

from .encode import given_images, image_inputs, more_image_inputs
from .schema import advanced, prompt_input, schema

AUTOMATIC = "automatic"
MANNERS = (AUTOMATIC, "chat", "reference")
REWRITE, THINK = "rewrite", "think"


def decoding_inputs(length: int, temperature: float) -> list[io.Input]:
    """How text is chosen, with a node's own defaults."""
    return [
        io.Int.Input("length", default=length, min=1, max=4096, tooltip="At most so many tokens."),
        io.Float.Input(
            "temperature", default=temperature, min=0.0, max=2.0, step=0.05,
            tooltip="0 always takes the likeliest token; more varies with the seed.",
        ),
        io.Int.Input(
            "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True,
            tooltip="Has no effect at temperature 0.",
        ),
    ]  # fmt: skip


class LightFusionAsk(io.ComfyNode):
    """A question, about pictures or not, and its answer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionAsk",
            search_aliases=[
                "caption", "describe image", "VQA", "question", "image to text", "Qwen", "Qwen2.5-VL", "VLM", "chat",
                "LLM", "interrogate",
            ],
            display_name="LightFusion Ask",
            category="LightFusion",
            description="Answers a question about pictures, or without any; the text shows while it is written.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP of Load LightFusion."),
                io.String.Input("question", multiline=True, default=""),
                *decoding_inputs(256, 0.0),
                *image_inputs(),
                advanced(io.Combo.Input(
                    "manner", options=list(MANNERS), default=AUTOMATIC, optional=True,
                    tooltip="chat: the understanding model's own template. reference: the published script's. "
                    "automatic: reference for a model whose sides are coupled, else chat.",
                )),
                io.String.Input(
                    "history", optional=True, force_input=True,
                    tooltip="What was said before, as another Ask gives it: the question goes on from there, in the "
                    "manner chat. A picture that it has shown is not read again.",
                ),
                *more_image_inputs(),
            ],
            outputs=[
                io.String.Output("answer", display_name="answer"),
                io.String.Output(
                    "history_out", display_name="history",
                    tooltip="What was said so far, this question and its answer last; for another Ask, or to be saved.",
                ),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, clip, question, length, temperature, seed, manner=AUTOMATIC, history="", **images
    ) -> io.NodeOutput:
        from ..lightfusion_core.understanding.answer import Decoding
        from .native import showing
        from .native.answering import ask, goes_on

        decoding, pictures = Decoding(length, temperature, seed), given_images(images)
        answer, said = ask(clip, question, pictures, None if manner == AUTOMATIC else manner, decoding, history)
        return io.NodeOutput(answer, said, ui=showing.of_answer(answer, said, goes_on(clip)))


class LightFusionThink(io.ComfyNode):
    """What to draw, thought over or written out before it is drawn."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionThink",
            search_aliases=[
                "prompt enhance", "rewrite prompt", "expand prompt", "magic prompt", "LLM", "think", "reasoning",
            ],
            display_name="LightFusion Think",
            category="LightFusion",
            description="Rewrites a prompt into a detailed one, or thinks before drawing. Wire prompt, thought and "
            "system into LightFusion Encode.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP of Load LightFusion."),
                prompt_input("prompt"),
                io.Combo.Input(
                    "mode", options=[REWRITE, THINK], default=REWRITE,
                    tooltip="rewrite: a detailed description takes the prompt's place. think: the prompt stays, and a "
                    "thought goes with it, as published.",
                ),
                *decoding_inputs(2048, 0.0),
                io.Vae.Input("vae", optional=True, tooltip="Needed with pictures in the mode think."),
                *image_inputs(),
                *more_image_inputs(),
            ],
            outputs=[
                io.String.Output("prompt_out", display_name="prompt"),
                io.String.Output("thought", display_name="thought"),
                io.String.Output("system", display_name="system"),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, clip, prompt, mode, length, temperature, seed, vae=None, **images) -> io.NodeOutput:
        from ..lightfusion_core.understanding.answer import Decoding
        from .native import showing
        from .native.answering import rewrite, think

        decoding, pictures = Decoding(length, temperature, seed), given_images(images)
        if mode == REWRITE:
            written = rewrite(clip, prompt, pictures, decoding)
            return io.NodeOutput(written, "", "", ui=showing.of_text(written))
        thought, system = think(clip, vae, prompt, pictures, decoding)
        return io.NodeOutput(prompt, thought, system, ui=showing.of_text(thought))
