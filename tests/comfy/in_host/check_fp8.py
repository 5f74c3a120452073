"""Weights held as fp8: how far the picture moves, and that everything else still works on them."""

from __future__ import annotations

from typing import Any

import torch
from harness import ksample, largest, load, load_again, node, offloaded, pack, weight_budget, with_lora
from torch import Tensor

LORA = "wan.safetensors"


def load_as(dtype: str, name: str = "tiny/") -> tuple[Any, Any, Any]:
    """A test model with its generation weights held in a dtype."""
    own = "from the model"
    return node("LightFusionLoad", model=name, understanding=own, vae=own, weight_dtype=dtype)


def check_fp8_holds_the_matrices_alone() -> dict[str, float]:
    """Norms, biases and what acts on the residual stream are few bytes and much picture."""
    fp8, bf16 = (load_as(dtype)[0] for dtype in ("fp8_e4m3fn", "bfloat16"))
    net = fp8.model.diffusion_model
    held = dict(net.named_parameters())
    small = {name for name, tensor in held.items() if tensor.dtype == torch.float8_e4m3fn}
    keeps = pack("lightfusion_core.generation.tower").keeps_float32
    wanted = {f"{name}.weight" for name, part in net.named_modules()
              if isinstance(part, torch.nn.Linear) and name.startswith(("blocks.", "mm_attn_layers."))}  # fmt: skip
    assert small == wanted, small ^ wanted
    assert all(tensor.dtype == torch.float32 for name, tensor in held.items() if keeps(name))
    assert fp8.model.diffusion_model.dtype == torch.float32, "on a CPU the host computes in float32"
    return {"of bfloat16's bytes": fp8.model_size() / bf16.model_size()}


def check_fp8_draws_nearly_the_same() -> dict[str, float]:
    """Against float32: what rounding weights to three bits may cost, beside what bfloat16 costs."""
    exact = ksample(load_as("float32")[0], steps=8)
    found = {dtype: _error(ksample(load_as(dtype)[0], steps=8), exact) for dtype in ("bfloat16", "fp8_e4m3fn")}
    rounded = load_as("float32")[0]
    with torch.no_grad():
        net = load_as("fp8_e4m3fn")[0].model.diffusion_model
        scales = {name.replace("scale_weight", "weight"): scale for name, scale in net.named_buffers()}
        for name, tensor in net.named_parameters():
            rounded.model.diffusion_model.get_parameter(name).copy_(tensor.float() * scales.get(name, 1.0))
    found["fp8 against its own numbers"] = _error(ksample(load_as("fp8_e4m3fn")[0], steps=8), ksample(rounded, steps=8))
    assert 0 < found["bfloat16"] <= 0.02, found
    assert 0 < found["fp8_e4m3fn"] <= 0.15, found
    assert found["fp8 against its own numbers"] <= 1e-5, found
    return found


def check_fp8_takes_a_lora() -> dict[str, float]:
    """Patched weights are rounded to fp8 again: the LoRA's change must come through, and leave again."""
    exact, fp8 = load()[0], load_as("fp8_e4m3fn")[0]
    plain, strong = ksample(fp8), ksample(with_lora(fp8, LORA))
    wanted = ksample(with_lora(exact, LORA))
    found = {"change": _error(strong, plain), "error": _error(strong, wanted)}
    assert found["error"] <= 0.25 < found["change"], found
    assert torch.equal(ksample(fp8), plain), "the LoRA left a trace"
    return found


def check_partly_loaded_fp8_draws_the_same() -> dict[str, float]:
    """Weights that stay behind are cast as they are used; with a LoRA they are patched then, unrounded."""
    found = {}
    for what, lora in (("plain", False), ("LoRA", True)):
        model = load_as("fp8_e4m3fn")[0]
        model = with_lora(model, LORA) if lora else model
        whole = ksample(model)
        for share in (0.5, 0.1):
            with weight_budget(share), offloaded(model, model.model.diffusion_model) as left:
                partial = ksample(model)
                assert left, "nothing was left on the offload device"
            found[f"{what} {share}"] = _error(partial, whole)
            assert found[f"{what} {share}"] <= (0.15 if lora else 1e-5), found
        assert torch.equal(ksample(model), whole)
    return found


def check_fp8_of_a_coupled_model_draws_nearly_the_same() -> dict[str, float]:
    """Its fusion also writes into the understanding stream, through projections of its own."""
    exact = ksample(load_again("coupled/")[0], name="coupled/")
    found = {"error": _error(ksample(load_as("fp8_e4m3fn", "coupled/")[0], name="coupled/"), exact)}
    assert 0 < found["error"] <= 0.15, found
    return found


def check_fp8_draws_with_references() -> None:
    """Clean references run through the tower while the context is built."""
    from check_edit import edit, picture

    image, model = picture(), load_as("fp8_e4m3fn")[0]
    drawn, wanted = edit(image, model=model)[0], edit(image)[0]
    assert 0 < largest(drawn - wanted) <= 0.5


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())
