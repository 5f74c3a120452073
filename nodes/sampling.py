"""LightFusion Sampler, and its parts for SamplerCustomAdvanced: Guider, Scheduler, Solver."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..lightfusion_core.sampling.guidance import RENORMS, Guidance
from ..lightfusion_core.sampling.solvers import SOLVERS
from .schema import advanced, schema

STEPS = {"default": 50, "min": 1, "max": 1000, "tooltip": "How many steps; the reference takes 50."}
SHIFT = {
    "default": 4.0, "min": 0.1, "max": 100.0, "step": 0.1,
    "tooltip": "Warps the schedule towards noise; the models are trained with 4.",
}  # fmt: skip
DENOISE = {
    "default": 1.0, "min": 0.01, "max": 1.0, "step": 0.01,
    "tooltip": "1 draws from noise alone; less redraws the given latent in part.",
}  # fmt: skip


def guidance_inputs() -> list[io.Input]:
    """The settings of `Guidance`, in the order that shared files count on."""
    return [
        io.Float.Input(
            "text_guidance", default=3.0, min=0.0, max=30.0, step=0.1,
            tooltip="How far the prompt is followed against the negative prompt. 1 turns all guidance off.",
        ),
        io.Float.Input(
            "image_guidance", default=1.0, min=0.0, max=30.0, step=0.1,
            tooltip="How far the references are followed; 1 turns it off. It needs the no-image conditioning.",
        ),
    ]  # fmt: skip


def advanced_guidance_inputs() -> list[io.Input]:
    """The rest of `Guidance`."""
    rest = [
        io.Combo.Input(
            "renorm", options=list(RENORMS), default="none",
            tooltip="Holds the guided velocity to the prompted one's length: over the picture, over each token, or "
            "over each token before the image guidance.",
        ),
        io.Float.Input("renorm_min", default=0.0, min=0.0, max=1.0, step=0.01, tooltip="The smallest renorm factor."),
        io.Float.Input(
            "interval_start", default=0.0, min=0.0, max=1.0, step=0.01,
            tooltip="Guidance acts above this noise level.",
        ),
        io.Float.Input(
            "interval_end", default=1.0, min=0.0, max=1.0, step=0.01,
            tooltip="Guidance acts up to this noise level.",
        ),
    ]  # fmt: skip
    return [advanced(given) for given in rest]


def cache_input() -> io.Input:
    """The step cache's threshold; optional, as files from before it do not have it."""
    return advanced(
        io.Float.Input(
            "cache", default=0.0, min=0.0, max=1.0, step=0.01, optional=True,
            tooltip="Foresees steps whose velocity hardly bends, and tells how many: 0.05 is half of 50 steps. 0 runs "
            "all.",
        )
    )  # fmt: skip


def skipping_inputs() -> list[io.Input]:
    """What does without passes of the network."""
    every = io.Int.Input(
        "guidance_every", default=1, min=1, max=100, optional=True,
        tooltip="Works guidance out at every k-th step, and keeps its difference in between.",
    )  # fmt: skip
    return [cache_input(), advanced(every)]


def solver_input(optional: bool = False) -> io.Input:
    """One of the engine's solvers."""
    return io.Combo.Input("solver", options=list(SOLVERS), default="unipc", optional=optional)


def conditioning_inputs() -> list[io.Input]:
    """The three branches."""
    return [
        io.Conditioning.Input("positive"),
        io.Conditioning.Input("negative"),
        io.Conditioning.Input(
            "no_image", optional=True, tooltip="The prompt without the references; for image guidance."
        ),
    ]


def _guidance(values: dict[str, Any]) -> Guidance:
    return Guidance(
        values["text_guidance"],
        values["image_guidance"],
        values["renorm"],
        values["renorm_min"],
        (values["interval_start"], values["interval_end"]),
        values.get("guidance_every", 1),
    )


class LightFusionSampler(io.ComfyNode):
    """Draws a latent with the engine's exact schedule and guidance."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        positive, negative, no_image = conditioning_inputs()
        return schema(
            node_id="LightFusionSampler",
            search_aliases=["KSampler", "sample", "draw", "txt2img", "text to image", "img2img", "denoise", "UniPC"],
            display_name="LightFusion Sampler",
            category="LightFusion",
            description="Draws with the reference's exact schedule and UniPC solver, and guidance for text and images.",
            inputs=[
                io.Model.Input("model"),
                positive,
                negative,
                io.Latent.Input("latent"),
                no_image,
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True,
                    tooltip="Picture k of a batch is drawn with seed + k, and equals that single run.",
                ),
                io.Int.Input("steps", **STEPS),
                *guidance_inputs(),
                io.Float.Input("shift", **SHIFT),
                solver_input(),
                io.Float.Input("denoise", **DENOISE),
                *advanced_guidance_inputs(),
                *skipping_inputs(),
            ],
            outputs=[io.Latent.Output()],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, positive, negative, latent, seed, steps, shift, solver, denoise, no_image=None, **guidance):
        from .native.guiding import DualGuider, ExactSolver, exact_sigmas
        from .native.run import draw

        guider = DualGuider(model, _guidance(guidance), guidance.get("cache", 0.0))
        guider.set_branches(positive, negative, no_image)
        return io.NodeOutput(draw(guider, ExactSolver(solver), exact_sigmas(steps, shift, denoise), latent, seed))


class LightFusionGuider(io.ComfyNode):
    """The engine's guidance for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionGuider",
            search_aliases=["CFG", "guidance", "dual CFG", "CFGGuider"],
            display_name="LightFusion Guider",
            category="LightFusion/custom sampling",
            description="Guidance for text and images with interval and renorm, for SamplerCustomAdvanced.",
            inputs=[
                io.Model.Input("model"),
                *conditioning_inputs(),
                *guidance_inputs(),
                *advanced_guidance_inputs(),
                *skipping_inputs(),
            ],
            outputs=[io.Guider.Output()],
        )

    @classmethod
    def execute(cls, model, positive, negative, no_image=None, **guidance) -> io.NodeOutput:
        from .native.guiding import DualGuider

        guider = DualGuider(model, _guidance(guidance), guidance.get("cache", 0.0))
        guider.set_branches(positive, negative, no_image)
        return io.NodeOutput(guider)


class LightFusionScheduler(io.ComfyNode):
    """The reference's exact sigmas."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionScheduler",
            search_aliases=["sigmas", "schedule", "steps", "BasicScheduler"],
            display_name="LightFusion Scheduler",
            category="LightFusion/custom sampling",
            description="The reference's exact schedule, for SamplerCustomAdvanced.",
            inputs=[
                io.Int.Input("steps", **STEPS),
                io.Float.Input("shift", **SHIFT),
                io.Float.Input("denoise", **DENOISE),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, steps: int, shift: float, denoise: float) -> io.NodeOutput:
        from .native.guiding import exact_sigmas

        return io.NodeOutput(exact_sigmas(steps, shift, denoise))


class LightFusionSolver(io.ComfyNode):
    """One of the engine's solvers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionSolver",
            search_aliases=["sampler", "UniPC", "Euler", "Heun", "DPM++", "KSamplerSelect"],
            display_name="LightFusion Solver",
            category="LightFusion/custom sampling",
            description="The reference's UniPC, or DPM++, Euler or Heun, for SamplerCustomAdvanced.",
            inputs=[solver_input()],
            outputs=[io.Sampler.Output()],
        )

    @classmethod
    def execute(cls, solver: str) -> io.NodeOutput:
        from .native.guiding import ExactSolver

        return io.NodeOutput(ExactSolver(solver))
