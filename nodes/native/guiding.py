"""The engine's guidance and solvers as ComfyUI's GUIDER and SAMPLER, over one and the same MODEL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_patcher
import comfy.samplers
import torch
from torch import Tensor

from ...lightfusion_core.errors import InputError
from ...lightfusion_core.sampling.guidance import Guidance
from ...lightfusion_core.sampling.loop import blend
from ...lightfusion_core.sampling.schedule import Schedule, make_schedule, timestep_of
from ...lightfusion_core.sampling.solvers import Step, solver
from .model import TIMESTEP, LightFusionModel
from .shapes import as_pictures, cropped, in_tokens

_SCHEDULE = "lightfusion_schedule"
_FULL = 0.999
"""Levels from here on are a full denoise, which starts from noise alone (rule B19)."""


def to_sigmas(schedule: Schedule) -> Tensor:
    """A schedule as SIGMAS; it carries the integer timesteps, which float32 levels do not quite determine."""
    sigmas = torch.tensor(schedule.sigmas)
    setattr(sigmas, _SCHEDULE, schedule)
    return sigmas


def exact_sigmas(steps: int, shift: float, denoise: float) -> Tensor:
    """The reference's schedule as SIGMAS."""
    return to_sigmas(make_schedule(steps, shift).last(denoise))


class DualGuider(comfy.samplers.CFGGuider):
    """Guidance for text and image with interval and renorm (rule B21)."""

    def __init__(self, model: comfy.model_patcher.ModelPatcher, guidance: Guidance) -> None:
        check_model(model)
        super().__init__(model)
        self.guidance = guidance

    def set_branches(self, positive: list, negative: list | None, no_image: list | None) -> None:
        """The conditionings of the branches; `no_image` None turns image guidance off."""
        if negative is None and self.guidance.text > 1:
            raise InputError("Text guidance above 1 needs a negative conditioning: encode one, or set it to 1.")
        branches = {"positive": positive, "negative": negative, "no_image": no_image}
        self.inner_set_conds({name: branch for name, branch in branches.items() if branch is not None})

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """What the guided velocity foresees at a level, as samplers expect it: x - sigma * velocity."""
        model_options = model_options or {}
        options = model_options.get("transformer_options", {})
        level = options[TIMESTEP] if TIMESTEP in options else timestep_of(float(timestep[0]))
        names = ["positive"]
        if self.guidance.is_active(level):
            names += ["negative"] + (["no_image"] if self.guidance.image > 1 and "no_image" in self.conds else [])
        branches = [self.conds[name] for name in names]
        denoised = comfy.samplers.calc_cond_batch(self.inner_model, branches, x, timestep, model_options)
        if len(denoised) == 1:
            return denoised[0]
        sigma = timestep.view(-1, *[1] * (x.ndim - 1))
        patch = self.model_patcher.model.diffusion_model.config.dit.patch_size
        velocities = [in_tokens(as_pictures((x - foreseen) / sigma), patch) for foreseen in denoised]
        full, negative, *rest = velocities
        return x - sigma * cropped(self.guidance.mix(full, negative, rest[0] if rest else None, patch), x)


class ExactSolver(comfy.samplers.Sampler):
    """One of the engine's solvers on any sigmas. A full denoise starts from noise alone."""

    def __init__(self, name: str) -> None:
        self.solve = solver(name)

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[[int, Tensor, Tensor, int], None] | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Run the solver; `callback(step, denoised, x, steps)` may raise to cancel."""
        schedule = _schedule_of(sigmas)
        extra_args["denoise_mask"] = denoise_mask
        options = extra_args["model_options"].setdefault("transformer_options", {})
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        levels = {level: torch.full((len(noise),), level, device=noise.device) for level in schedule.sigmas}

        def predict(x: Tensor, sigma: float, timestep: int) -> Tensor:
            options[TIMESTEP] = timestep
            return (x - model(x, levels[sigma], **extra_args)) / sigma

        def on_step(step: Step) -> None:
            if callback is not None:
                callback(step.index, step.denoised, step.x, schedule.steps)

        full = schedule.sigmas[0] >= _FULL or latent_image is None
        start = noise if full else blend(noise, latent_image, schedule.sigmas[0])
        try:
            drawn = self.solve(predict, start, schedule, on_step)
        finally:
            options.pop(TIMESTEP, None)
        return model_wrap.inner_model.model_sampling.inverse_noise_scaling(sigmas[-1], drawn)


def _schedule_of(sigmas: Tensor) -> Schedule:
    schedule: Schedule | None = getattr(sigmas, _SCHEDULE, None)
    return schedule or Schedule.from_sigmas(sigmas.tolist())


def check_model(model: comfy.model_patcher.ModelPatcher) -> None:
    """Refuse another model. Raises InputError."""
    if not isinstance(model.model, LightFusionModel):
        raise InputError("This node takes a LightFusion model: wire the MODEL of Load LightFusion into it.")
