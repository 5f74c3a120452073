"""Layers of ComfyUI's kind whose matrices may stay in scaled fp8, a quarter of float32's memory.

The host has such layers too, but one kind in each of the versions that this pack runs on, which load and patch
differently. These take what the core's loader gives (`hold_scale`) and follow the host in what both versions share:
casting at use, moving, and LoRA patches through `convert_weight` and `set_weight`.
"""

from __future__ import annotations

from typing import Any

import comfy.float
import comfy.lora
import comfy.model_management
import comfy.ops
import torch
import torch.nn.functional as F
from comfy.cli_args import PerformanceFeature, args
from comfy.model_patcher import LowVramPatch
from torch import Tensor

from ...lightfusion_core.generation.scaled import (
    HoldsScale,
    fits_fp8_product,
    fp8_product,
    has_fp8_product,
    scaled_product,
    widened,
)


class ScaledOperations(comfy.ops.manual_cast):
    """ComfyUI's casting layers; a Linear that holds a scale keeps its weight as it is stored."""

    class Linear(HoldsScale, comfy.ops.manual_cast.Linear):
        """The host's layer, which may hold a scale."""

        def forward_comfy_cast_weights(self, x: Tensor) -> Tensor:
            """The product, on the device and in the dtype of x."""
            if self.scale_weight is None:
                return super().forward_comfy_cast_weights(x)
            weight = comfy.model_management.cast_to_device(self.weight, x.device, None)
            bias = self._bias(x)
            if self.weight_function:
                return F.linear(x, self._patched(weight, x.dtype), bias)
            if _fast_product(x, weight):
                return fp8_product(x, weight, self.scale_weight.to(x.device), bias)
            return scaled_product(x.flatten(0, -2), weight, self._factor, bias).unflatten(0, x.shape[:-1])

        def _bias(self, x: Tensor) -> Tensor | None:
            if self.bias is None:
                return None
            bias = comfy.model_management.cast_to_device(self.bias, x.device, x.dtype, copy=bool(self.bias_function))
            for function in self.bias_function:
                bias = function(bias)
            return bias

        def _patched(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
            """The weight with what a partly loaded model adds to it at use. One version's patch undoes the scale by
            itself and the other's does not; so both are given none to undo."""
            weight = widened(weight, dtype) * self._factor
            for function in self.weight_function:
                if isinstance(function, LowVramPatch):
                    patches = function.patches[function.key]
                    weight = comfy.lora.calculate_weight(patches, weight, function.key, intermediate_dtype=dtype)
                else:
                    weight = function(weight)
            return weight

        def convert_weight(self, weight: Tensor, inplace: bool = False, **unused: Any) -> Tensor:
            """Stored values, in a float dtype, to the weight: what the host patches."""
            return weight.mul_(self._factor) if inplace else weight * self._factor

        def set_weight(
            self,
            weight: Tensor,
            inplace_update: bool = False,
            seed: int | None = None,
            return_weight: bool = False,
            **unused: Any,
        ) -> Tensor | None:
            """Store a patched weight, rounded by chance as the host rounds."""
            stored = comfy.float.stochastic_rounding(weight / self._factor, self.weight.dtype, seed=seed)
            if return_weight:
                return stored
            if inplace_update:
                self.weight.data.copy_(stored)
            else:
                self.weight = torch.nn.Parameter(stored, requires_grad=False)
            return None


def _fast_product(x: Tensor, weight: Tensor) -> bool:
    """Whether to multiply in fp8: where the user asked for it, and the device and the shapes allow it."""
    wanted = PerformanceFeature.Fp8MatrixMultiplication in args.fast
    return wanted and has_fp8_product(x.device) and fits_fp8_product(x, weight)
