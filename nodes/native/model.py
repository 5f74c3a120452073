"""The generation tower as a ComfyUI MODEL: a BaseModel in a ModelPatcher."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.patcher_extension
import comfy.supported_models_base
import torch
from torch import Tensor

from ...lightfusion_core.checkpoints.loader import load_generation
from ...lightfusion_core.checkpoints.reader import Checkpoint
from ...lightfusion_core.conditioning import Branch
from ...lightfusion_core.config import ModelConfig, VAEConfig
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.generation.context import VLMLayers
from ...lightfusion_core.generation.plan import BranchTokens, drawing_memory
from ...lightfusion_core.generation.tower import GenerationTower
from ...lightfusion_core.sampling.schedule import timestep_of
from .attention import comfy_attention
from .conditioning import KEY, BatchedBranches, BranchCond, branch_of
from .contexts import PICTURES, RUN, Run, carry_run
from .dtypes import generation_form
from .hooks import hooks_of, unused_patches
from .lora import GENERATION, reads_loras
from .patched import prepare
from .references import read, read_conditions
from .saving import generation_documents
from .scaled import ScaledOperations
from .shapes import as_pictures, cropped, in_tokens
from .step_cache import mixes_branches
from .training import each_under_its_own

TIMESTEP = "lightfusion_timestep"
"""The name of the integer timestep in a run's transformer options, where our own solver steps."""


class LightFusionNet(GenerationTower):
    """The tower with the call that ComfyUI makes."""

    _vlm: tuple[VLMLayers, ...] = ()
    _loaded_for: torch.dtype | None = None

    @property
    def in_channels(self) -> int:
        """The latents' channels, where the host's nodes ask for them."""
        return self.config.dit.in_dim

    @property
    def vlm(self) -> VLMLayers | None:
        """The understanding tower of a coupled model, which the CLIP owns."""
        return self._vlm[0] if self._vlm else None

    def compute_in(self, dtype: torch.dtype | None) -> None:
        """Compute in another dtype than the weights were loaded for; None: in that again."""
        self._loaded_for = self._loaded_for or self.dtype
        self.dtype = dtype or self._loaded_for

    def couple(self, vlm: VLMLayers) -> None:
        """Use an understanding tower without owning it: in a tuple it is no submodule, so that its weights are
        counted, moved and patched by the CLIP's patcher alone."""
        self._vlm = (vlm,)

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor | None = None,
        transformer_options: dict[str, Any] | None = None,
        lightfusion: BatchedBranches | None = None,
        control: Any = None,
        **unused: Any,
    ) -> Tensor:
        """Velocity of x (B, C, h, w) at sigma * 1000, B split evenly over the branches. Sides that are no whole
        number of tokens are filled up and cropped again; one frame (B, C, 1, h, w) stays one frame."""
        if control is not None:
            raise InputError(
                "A LightFusion model has no place for a ControlNet's signal: wire the control picture into LightFusion "
                "Encode as a reference, and take the ControlNet out of the conditioning."
            )
        if lightfusion is None:
            raise InputError(
                "This node calls the model's network without a prompt, as a detector's or an upscaler's is called, and "
                "LightFusion's only draws under one: wire the kind of model that the node is made for."
            )
        wrappers = comfy.patcher_extension.get_all_wrappers(
            comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options or {}
        )
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        calls = [(x, timestep, lightfusion, transformer_options or {})]
        if transformer_options and mixes_branches(transformer_options):
            calls = _branch_by_branch(x, timestep, lightfusion, transformer_options)
        # a copy: wrappers and patches may write into what is the sampler's own
        return torch.cat([executor.execute(rows.clone(), times, context, *rest) for rows, times, *rest in calls])

    def _forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Any,
        lightfusion: BatchedBranches,
        transformer_options: dict[str, Any],
    ) -> Tensor:
        carried: Run = transformer_options.get(RUN) or Run()
        # every step of a training changes weights that the context is made with, and gradients go through it
        run = Run() if torch.is_grad_enabled() else carried
        branches, pictures = lightfusion.branches, len(x) // len(lightfusion.branches)
        chosen = transformer_options.get(PICTURES, range(pictures))
        ran = [first + k for first in range(0, len(x), pictures) for k in chosen]
        given = x if len(ran) == len(x) else x[ran]
        patch = self.config.dit.patch_size
        noisy = in_tokens(as_pictures(given), patch)
        size = (noisy.shape[-2] // patch, noisy.shape[-1] // patch)
        contexts = [run.branch(self, branch, *size, x.device, transformer_options) for branch in branches]
        rows = [made.branches[0] for made in contexts for _ in chosen]
        hooks = hooks_of(transformer_options, comfy_attention, len(self.blocks))
        carried.tell_unused(unused_patches(transformer_options, hooks), len(self.blocks))
        drawn = self.velocity(noisy, _timestep(transformer_options, timestep), contexts[0], rows, hooks)
        drawn = cropped(drawn, given)
        if PICTURES not in transformer_options:
            return drawn
        return carried.filled_up(drawn, ran, x, transformer_options["uuids"])


def _branch_by_branch(
    x: Tensor, timestep: Tensor, batched: BatchedBranches, options: dict[str, Any]
) -> list[tuple[Tensor, Tensor, BatchedBranches, dict[str, Any]]]:
    """One call of the network as a call for each of its branches."""
    count = len(batched.branches)
    parts = zip(x.chunk(count), timestep.chunk(count), batched.branches, options["uuids"], strict=True)
    return [
        (rows, times, BatchedBranches([branch]), {**options, "uuids": [uuid]}) for rows, times, branch, uuid in parts
    ]


def _timestep(transformer_options: dict[str, Any], timestep: Tensor) -> int | list[int]:
    """The integer timestep: the one that our own solver names, or the level's; one for each row where they differ, as
    they do in a training (samplers give the same level to the whole batch)."""
    if TIMESTEP in transformer_options:
        return transformer_options[TIMESTEP]
    sigmas = transformer_options.get("sigmas")
    levels = (timestep.detach() / 1000 if sigmas is None else sigmas.detach()).flatten().tolist()
    if len(set(levels)) == 1:
        return timestep_of(levels[0])
    return [timestep_of(level) for level in levels] * (len(timestep) // len(levels))


def follow_understanding(patcher: comfy.model_patcher.ModelPatcher, clone: comfy.model_patcher.ModelPatcher) -> None:
    """When a coupled MODEL is cloned: the clone's net, which may be one newly loaded, uses the understanding tower
    that the host loads with the clone."""
    for understanding in clone.get_additional_models_with_key(KEY):
        clone.model.diffusion_model.couple(understanding.model.tower)


class ContextShape(list[int]):
    """What stands for a condition's shape: 1, its own tokens, and all; and the references that it begins with."""

    def __init__(self, branch: Branch) -> None:
        shared = sum(segment.split.length for segment in branch.references)
        super().__init__([1, branch.tokens - shared, branch.tokens])
        self.references = branch.references

    @staticmethod
    def rooms(shapes: Iterable[Any]) -> list[BranchTokens]:
        """The branches of a run by the references that they share, as a context holds them."""
        rooms: dict[tuple[int, ...], BranchTokens] = {}
        for shape in shapes:
            if isinstance(shape, ContextShape):
                key = tuple(map(id, shape.references))
                if not key and rooms:  # without references any room will do
                    key = next(iter(rooms))
                _, own, whole = shape
                found = rooms.get(key, BranchTokens(whole - own, ()))
                rooms[key] = BranchTokens(found.shared, [*found.own, own])
        return list(rooms.values())


class LightFusionModel(comfy.model_base.BaseModel):
    """What ComfyUI's samplers talk to."""

    def __init__(self, settings: comfy.supported_models_base.BASE, net: LightFusionNet) -> None:
        super().__init__(settings, comfy.model_base.ModelType.FLOW)
        self.diffusion_model = net

    @property
    def manual_cast_dtype(self) -> torch.dtype | None:
        """The compute dtype that a node may put here, as ModelComputeDtype does."""
        return self._compute_dtype

    @manual_cast_dtype.setter
    def manual_cast_dtype(self, dtype: torch.dtype | None) -> None:
        self._compute_dtype = dtype
        if hasattr(self, "diffusion_model"):
            self.diffusion_model.compute_in(dtype)

    def get_dtype(self) -> torch.dtype:
        """Latents stay float32 on their way to the network; it casts by itself (rule B27)."""
        return torch.float32

    def get_dtype_inference(self) -> torch.dtype:
        """As `get_dtype`, under the name that newer ComfyUI asks for."""
        return torch.float32

    def state_dict_for_saving(self, *parts: Any, **named: Any) -> dict[str, Tensor]:
        """As the host's, which hands over what its version does, with what loading needs beside the weights."""
        config = self.diffusion_model.config
        return super().state_dict_for_saving(*parts, **named) | generation_documents(config)

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """The condition as a handle."""
        return {KEY: BranchCond(kwargs[KEY] if KEY in kwargs else read(kwargs, self))}

    def extra_conds_shapes(self, **kwargs: Any) -> dict[str, Any]:
        """How many tokens a condition's context has: for `memory_required`, before it is built."""
        try:
            branch = kwargs[KEY] if KEY in kwargs else branch_of(kwargs)
        except InputError:
            return {}
        if not isinstance(branch, Branch):  # why there is none
            return {}
        return {KEY: ContextShape(branch)}

    def memory_required(self, input_shape: Any, cond_shapes: dict[str, Any] | None = None) -> float:
        """Bytes beside the weights: before a run those of its contexts too, which it holds together with the segments
        that their texts are copied from; once it runs (a handle has no shape) those of a call of the network alone."""
        net = self.diffusion_model
        rows, columns = (-(-side // net.config.dit.patch_size) for side in input_shape[-2:])
        rooms = ContextShape.rooms((cond_shapes or {}).get(KEY, ()))
        foreseen = drawing_memory(net.config, net.dtype, rooms, rows * columns, input_shape[0])
        held = foreseen.context + foreseen.room + foreseen.segments if rooms else 0
        return held + foreseen.step


class LightFusionLatent(comfy.latent_formats.LatentFormat):
    """ComfyUI's description of a model's latents: statistics and preview colours."""

    latent_dimensions = 2

    def __init__(self, vae: VAEConfig) -> None:
        self.latent_channels = vae.z_dim
        self.spacial_downscale_ratio = vae.stride  # newer ComfyUI fits a stock empty latent by it
        self.latent_rgb_factors = [list(row) for row in vae.preview_factors]
        self.latent_rgb_factors_bias = list(vae.preview_bias)
        self.mean, self.std = (torch.tensor(values) for values in (vae.mean, vae.std))

    def process_in(self, latent: Tensor) -> Tensor:
        if latent.shape[1] != self.latent_channels:
            raise InputError(
                f"This model's latents have {self.latent_channels} channels, and the one given has {latent.shape[1]}: "
                "take Empty LightFusion Latent, or encode a picture with this model's VAE."
            )
        mean, std = self._statistics(latent)
        return (latent - mean) / std

    def process_out(self, latent: Tensor) -> Tensor:
        mean, std = self._statistics(latent)
        return latent * std + mean

    def _statistics(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every channel, for (B, C, h, w) and for one frame (B, C, 1, h, w)."""
        shape = (1, -1, *[1] * (latent.ndim - 2))
        return self.mean.to(latent).view(shape), self.std.to(latent).view(shape)


class LightFusionSettings(comfy.supported_models_base.BASE):
    """ComfyUI's description of a model."""

    # where the host's own files have a Qwen2.5-VL
    text_encoder_key_prefix: ClassVar[list[str]] = ["text_encoders.qwen25_7b."]
    unet_extra_config: ClassVar[dict[str, Any]] = {}
    supported_inference_dtypes: ClassVar[list[torch.dtype]] = [torch.bfloat16, torch.float32]

    def __init__(self, config: ModelConfig) -> None:
        # the host's nodes for U-Nets read the last of them, and are then named as having no effect
        channels = {"in_channels": config.dit.in_dim, "model_channels": config.dit.dim}
        super().__init__({"disable_unet_model_creation": True, **channels})
        self.sampling_settings = {"shift": config.defaults.shift}
        self.latent_format = LightFusionLatent(config.vae)


def load_model(
    checkpoint: Checkpoint, config: ModelConfig, weight_dtype: torch.dtype | None, *, dynamic: bool = True
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL of a checkpoint, on the device where ComfyUI keeps idle models.

    Args:
        weight_dtype: how weights are held; see `generation_form`.
        dynamic: whether the host may bring each weight to the device as it is used, where it does so.

    Raises:
        CheckpointError: see `load_generation`.
        InputError, DeviceMemoryError: see `generation_form`.
    """
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    form = generation_form(checkpoint, weight_dtype)
    operations = ScaledOperations if form.fp8 or form.as_stored else comfy.ops.disable_weight_init
    net = load_generation(
        checkpoint, config, form.dtype, offload_device, operations, comfy_attention, LightFusionNet,
        fp8=form.fp8, as_stored=form.as_stored,
    )  # fmt: skip
    model = LightFusionModel(LightFusionSettings(config), net)
    # Newer ComfyUI's own patcher may cast weights by itself, and knows nothing of a scale beside them
    newer = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    patcher_class = newer if dynamic and operations is not ScaledOperations else comfy.model_patcher.ModelPatcher
    patcher = reads_loras(patcher_class(model, load_device=load_device, offload_device=offload_device), GENERATION)
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, KEY, prepare)
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, KEY, read_conditions)
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, KEY, carry_run)
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, KEY, each_under_its_own)
    for moment in ("ON_CLONE", "ON_DEEPCLONE_MULTIGPU"):  # the second is of newer ComfyUI alone
        if hasattr(comfy.patcher_extension.CallbacksMP, moment):
            moment = getattr(comfy.patcher_extension.CallbacksMP, moment)
            patcher.add_callback_with_key(moment, KEY, follow_understanding)
    return patcher
