"""The engine's guidance and solvers as ComfyUI's GUIDER and SAMPLER, over one and the same MODEL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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
from .contexts import PICTURES, RUN
from .model import TIMESTEP, LightFusionModel
from .patched import SCHEDULE
from .shapes import as_pictures, cropped, in_tokens

_FULL = 0.999
"""Levels from here on are a full denoise, which starts from noise alone (rule B19)."""


def to_sigmas(schedule: Schedule) -> Tensor:
    """A schedule as SIGMAS; it carries the integer timesteps, which float32 levels do not quite determine."""
    sigmas = torch.tensor(schedule.sigmas)
    setattr(sigmas, SCHEDULE, schedule)
    return sigmas


def exact_sigmas(steps: int, shift: float, denoise: float) -> Tensor:
    """The reference's schedule as SIGMAS."""
    return to_sigmas(make_schedule(steps, shift).last(denoise))


_EVALUATE = "sampler_calc_cond_batch_function"
_MIXING = ("sampler_pre_cfg_function", "sampler_cfg_function")
"""What a patched MODEL's options call where guidance mixes."""


_NO_NEGATIVE = "Text guidance above 1 needs a negative conditioning: encode one, or set it to 1."


class DualGuider(comfy.samplers.CFGGuider):
    """Guidance for text and image with interval and renorm (rule B21).

    Args:
        cache: the threshold of foreseen velocities (see `Sampling`).
    """

    def __init__(self, model: comfy.model_patcher.ModelPatcher, guidance: Guidance, cache: float = 0.0) -> None:
        check_model(model)
        super().__init__(model)
        self.guidance, self.cache = guidance, cache
        self.set_cfg(guidance.text)  # the host's nodes may set another for some steps

    def set_branches(self, positive: list, negative: list | None, no_image: list | None) -> None:
        """The conditionings of the branches; `no_image` None turns image guidance off."""
        if negative is None and self.guidance.text > 1:
            raise InputError(_NO_NEGATIVE)
        branches = {"positive": positive, "negative": negative, "no_image": no_image}
        self.inner_set_conds({name: branch for name, branch in branches.items() if branch is not None})

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """What the guided velocity foresees at a level, as samplers expect it: x - sigma * velocity.

        The text guidance is the host's own step with the text scale for its cfg, so that all that a patched MODEL
        puts there acts; renorm and image guidance come after it. Outside of the interval nothing is mixed, and of
        those functions the host's "post cfg" ones alone are called.
        """
        options = dict(model_options or {})
        transformer = options.get("transformer_options", {})
        level = transformer[TIMESTEP] if TIMESTEP in transformer else timestep_of(float(timestep[0]))
        guidance = self._of_this_step()
        active = guidance.is_active(level)
        if RUN not in transformer or (self.cache == 0 and self.guidance.every == 1):
            return self._evaluate(x, timestep, options, seed, guidance, active)[1]
        return self._skipping(x, timestep, options, seed, guidance, active)

    def _skipping(
        self, x: Tensor, timestep: Tensor, options: dict[str, Any], seed: int | None, guidance: Guidance, active: bool
    ) -> Tensor:
        """As `predict_noise`, without the passes that the cache and the guidance's steps do without."""
        transformer = options["transformer_options"]
        skipping = transformer[RUN].skipping(self.cache, self.guidance.every)
        sigma = float(timestep[0])

        def evaluate(pictures: Sequence[int], guided: bool) -> tuple[Tensor, Tensor]:
            chosen = {**options, "transformer_options": {**transformer, PICTURES: pictures}}
            foreseen = self._evaluate(x, timestep, chosen, seed, guidance, guided)
            full, mixed = ((x - one)[list(pictures)] / sigma for one in foreseen)
            return full, mixed

        most = guidance.branches("no_image" in self.conds)
        kind = active, guidance.text, *self._acting(sigma)
        return x - sigma * skipping(len(x), sigma, kind, most if active else 1, most, evaluate)

    def _acting(self, sigma: float) -> list[Any]:
        """The conditions that act at a level: where one comes or goes, velocities change at once."""
        return [
            cond["uuid"]
            for conds in self.conds.values()
            for cond in conds
            if cond.get("timestep_end", 0.0) <= sigma <= cond.get("timestep_start", 1.0)
        ]

    def _evaluate(
        self, x: Tensor, timestep: Tensor, options: dict[str, Any], seed: int | None, guidance: Guidance, active: bool
    ) -> tuple[Tensor, Tensor]:
        """What the prompt alone foresees, and what it foresees with guidance where that is `active`."""
        options = dict(options)
        if not active and guidance.text > 1:
            for name in _MIXING:
                options.pop(name, None)
        third = self.conds.get("no_image") if active and guidance.image > 1 else None
        branches = _Branches(third, options.get(_EVALUATE))
        guided = comfy.samplers.sampling_function(
            self.inner_model, x.clone(), timestep, self.conds.get("negative"), self.conds["positive"],
            guidance.text if active else 1.0, {**options, _EVALUATE: branches}, seed,
        )  # fmt: skip
        if third is None and (not active or guidance.renorm == "none"):
            return branches.full, guided
        return branches.full, self._finish(x, timestep, branches.full, guided, branches.no_image)

    def _of_this_step(self) -> Guidance:
        """The guidance with the text scale that holds now. Raises InputError where it needs a branch that is not
        there."""
        if self.cfg > 1 and "negative" not in self.conds:
            raise InputError(_NO_NEGATIVE)
        return replace(self.guidance, text=self.cfg)

    def _finish(self, x: Tensor, timestep: Tensor, full: Tensor, guided: Tensor, no_image: Tensor | None) -> Tensor:
        """Renorm and image guidance, of velocities."""
        sigma = timestep.view(-1, *[1] * (x.ndim - 1))
        patch = self.model_patcher.model.diffusion_model.config.dit.patch_size
        velocities = [
            None if foreseen is None else in_tokens(as_pictures((x - foreseen) / sigma), patch)
            for foreseen in (full, guided, no_image)
        ]
        return x - sigma * cropped(self.guidance.finish(*velocities, patch), x)


class _Branches:
    """Runs the network for the host's guidance, and keeps what the host does not ask for.

    Args:
        third: the conditions of a branch to run with the host's two, in the same batch.
        patched: a patched MODEL's own way to run the two; the third then runs by itself.
    """

    full: Tensor
    no_image: Tensor | None = None

    def __init__(self, third: list | None, patched: Callable[[dict[str, Any]], list[Tensor]] | None) -> None:
        self.third, self.patched = third, patched

    def __call__(self, args: dict[str, Any]) -> list[Tensor]:
        """The host's arguments to what both branches, (positive, negative or None), foresee."""
        own = [] if self.third is None else [self.third]
        given = args["model"], args["input"], args["sigma"], args["model_options"]

        def run(conds: list[list | None]) -> list[Tensor]:
            model, x, sigma, options = given
            return comfy.samplers.calc_cond_batch(model, conds, x, sigma, options)

        out = [*self.patched(args), *(run(own) if own else [])] if self.patched else run([*args["conds"], *own])
        self.full = out[0].clone()  # the host's functions may write into what they are given
        self.no_image = out[2] if own else None
        return out[:2]


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
        extra_args["denoise_mask"] = denoise_mask
        options = extra_args["model_options"].setdefault("transformer_options", {})
        schedule = options.get(SCHEDULE)
        if schedule is None or list(schedule.sigmas) != sigmas.tolist():
            schedule = Schedule.from_sigmas(sigmas.tolist())
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        levels = {level: torch.full((len(noise),), level, device=noise.device) for level in schedule.sigmas}

        def predict(x: Tensor, sigma: float, timestep: int) -> Tensor:
            options[TIMESTEP] = timestep
            # a copy: the host's wrappers may write into what is the solver's own
            return (x - model(x.clone(), levels[sigma], **extra_args)) / sigma

        def on_step(step: Step) -> None:
            if callback is not None:
                callback(step.index, step.denoised, step.x.clone(), schedule.steps)

        full = schedule.sigmas[0] >= _FULL or latent_image is None
        start = noise if full else blend(noise, latent_image, schedule.sigmas[0])
        try:
            drawn = self.solve(predict, start, schedule, on_step)
        finally:
            options.pop(TIMESTEP, None)
        return model_wrap.inner_model.model_sampling.inverse_noise_scaling(sigmas[-1], drawn)


def check_model(model: comfy.model_patcher.ModelPatcher) -> None:
    """Refuse another model. Raises InputError."""
    if not isinstance(model.model, LightFusionModel):
        raise InputError("This node takes a LightFusion model: wire the MODEL of Load LightFusion into it.")
