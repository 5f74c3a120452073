"""How the towers' weights are held: as a launch flag asks, else as suits the device and its memory."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.model_management
import torch
from comfy.cli_args import args

from ...lightfusion_core.checkpoints.memory import fitting
from ...lightfusion_core.checkpoints.reader import Checkpoint
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.generation.scaled import FP8

_COMPUTE = [torch.bfloat16, torch.float32]


@dataclass(frozen=True)
class Form:
    """What a tower computes in, and what its large matrices are held in where that is something else.

    Attributes:
        fp8: in scaled fp8.
        as_stored: as the file has them.
    """

    dtype: torch.dtype
    fp8: bool = False
    as_stored: bool = False


def generation_form(checkpoint: Checkpoint, weight_dtype: torch.dtype | None) -> Form:
    """How the MODEL is held.

    Args:
        weight_dtype: chosen in the loader; None for scaled fp8 where the file has it, else for what a launch flag asks
            for, or the device and its memory. fp8, whichever of its kinds the host names, is e4m3fn with a scale for
            each matrix, and the host says in which dtype the device computes with them.

    Raises:
        InputError: fp8 on a device that cannot cast it.
        DeviceMemoryError: see `fitting`.
    """
    device = comfy.model_management.get_torch_device()
    dtype = weight_dtype or (FP8 if checkpoint.is_scaled("generation") else None)
    flagged = args.force_fp32 or _names_dtype("_unet")
    if dtype is None and (flagged or not comfy.model_management.is_device_cpu(device)):
        dtype = comfy.model_management.unet_dtype(device=device, supported_dtypes=_COMPUTE)
    if dtype is not None and dtype.itemsize == 1:
        if not comfy.model_management.supports_cast(device, FP8):
            raise InputError(f"The device {device} does not take fp8 weights: choose another weight dtype.")
        return Form(comfy.model_management.unet_manual_cast(FP8, device, _COMPUTE), fp8=True)
    if dtype is None or comfy.model_management.is_device_cpu(comfy.model_management.unet_offload_device()):
        dtype, as_stored = fitting(checkpoint, ["generation"], dtype, keeps_fp8=False)
        return Form(dtype, as_stored=as_stored)
    return Form(dtype)


def understanding_form(checkpoint: Checkpoint) -> Form:
    """How the CLIP is held. Where no flag says it that is not the host's own choice: float16 has not the range of these
    weights.

    Raises:
        DeviceMemoryError: see `fitting`.
    """
    device = comfy.model_management.text_encoder_device()
    dtype = comfy.model_management.text_encoder_dtype(device) if _names_dtype("_text_enc") else None
    fp8 = dtype is not None and dtype.itemsize == 1
    if dtype is None or fp8:
        dtype = None if comfy.model_management.is_device_cpu(device) else torch.bfloat16
    if dtype is None or comfy.model_management.is_device_cpu(comfy.model_management.text_encoder_offload_device()):
        dtype, as_stored = fitting(checkpoint, ["understanding"], dtype)
        return Form(dtype, fp8, as_stored and not fp8)
    return Form(dtype, fp8)


def _names_dtype(part: str) -> bool:
    """Whether a flag names the dtype of a part, by the end of the flag's name."""
    return any(chosen for name, chosen in vars(args).items() if name.endswith(part))
