"""What `lightfusion convert` writes, read by ComfyUI: by our loader, and by the host's own tools."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import comfy.ops
import comfy.utils
import torch
from harness import ksample, load, node, pack
from torch import Tensor


def converted(dtype: str, name: str = "tiny") -> Path:
    """A test model, converted beside it."""
    source = pack("nodes.folders").model_path(f"{name}/")
    target = Path(source).parent / f"converted-{name}-{dtype}"
    if target.exists():
        shutil.rmtree(target)
    pack("lightfusion_core.checkpoints.convert").Converter(source, target, dtype=dtype).run()
    return target


def loaded(folder: Path, dtype: str = "default") -> tuple[Any, Any, Any]:
    own = "from the model"
    return node("LightFusionLoad", model=f"{folder.name}/", understanding=own, vae=own, weight_dtype=dtype)


def drawn(folder: Path, name: str = "tiny") -> Tensor:
    return ksample(loaded(folder)[0], name=f"{name}/")


def check_a_converted_model_draws_nearly_the_same() -> dict[str, float]:
    """Through Load LightFusion, in both forms."""
    wanted, found = ksample(load()[0]), {}
    for dtype, bound in (("bf16", 0.02), ("fp8", 0.2)):
        found[dtype] = _error(drawn(converted(dtype)), wanted)
        assert 0 < found[dtype] <= bound, found
    return found


def check_a_converted_coupled_model_draws_nearly_the_same() -> dict[str, float]:
    """Its fusion's understanding side is kept."""
    wanted = ksample(load("coupled/")[0], name="coupled/")
    found = {"bf16": _error(drawn(converted("bf16", "coupled"), "coupled"), wanted)}
    assert 0 < found["bf16"] <= 0.05, found
    return found


def check_a_scaled_file_stays_fp8() -> dict[str, float]:
    """Matrices of both towers are held as they are stored, and draw what the same numbers draw in float32."""
    folder = converted("fp8")
    model, clip, _ = loaded(folder)
    wide = loaded(folder, "float32")[0]
    assert model.model.diffusion_model.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
    layer = clip.cond_stage_model.tower.model.language_model.layers[0].mlp.up_proj
    assert layer.weight.dtype == torch.float8_e4m3fn and layer.scale_weight is not None
    assert wide.model.diffusion_model.blocks[0].ffn[0].weight.dtype == torch.float32
    found = {
        "error": _error(ksample(model), ksample(wide)),
        "of float32's bytes": model.model_size() / wide.model_size(),
    }
    assert found["error"] <= 1e-5, found
    assert found["of float32's bytes"] <= 0.6, found  # in so small a model the rest weighs much
    return found


def check_the_host_s_own_layers_read_the_scaled_weights() -> dict[str, float]:
    """The scales mean to ComfyUI what they mean to us: a layer of the host's, given the file's tensors by the host's
    own tools, multiplies as the widened weight does."""
    folder, found = converted("fp8"), {}
    for file, layer in (("generation", "blocks.1.ffn.0"), ("understanding", "model.layers.1.mlp.down_proj")):
        state, metadata = comfy.utils.load_torch_file(str(folder / f"{file}.safetensors"), return_metadata=True)
        weight, scale = state[f"{layer}.weight"], state[f"{layer}.scale_weight"]
        wide, bias = weight.float() * scale, state.get(f"{layer}.bias")
        x = torch.randn(3, weight.shape[1], generator=torch.Generator().manual_seed(0))
        wanted = torch.nn.functional.linear(x, wide, None if bias is None else bias.float())
        made = _host_s_linear(state, metadata, layer, bias is not None)
        found[file] = _error(made(x), wanted)
        assert found[file] <= 0.01, found  # 0.3.64 holds the bias in fp8 too; a wrong scale is off by a factor
    return found


def _host_s_linear(state: dict[str, Tensor], metadata: Any, layer: str, bias: bool) -> torch.nn.Module:
    out_features, in_features = state[f"{layer}.weight"].shape
    if hasattr(comfy.utils, "convert_old_quants"):
        state, _ = comfy.utils.convert_old_quants(dict(state), model_prefix="", metadata=metadata or {})
        assert f"{layer}.comfy_quant" in state
        assert not [name for name in state if name.endswith(("scale_weight", "scaled_fp8"))]
        operations = comfy.ops.mixed_precision_ops({}, torch.float32, full_precision_mm=True)
        made = operations.Linear(in_features, out_features, bias=bias, device="cpu", dtype=torch.float32)
    else:
        operations = comfy.ops.scaled_fp8_ops(override_dtype=state["scaled_fp8"].dtype)
        made = operations.Linear(in_features, out_features, bias=bias, device="cpu", dtype=torch.float32)
    own = {name.removeprefix(f"{layer}."): tensor for name, tensor in state.items() if name.startswith(f"{layer}.")}
    missing, unexpected = made.load_state_dict(own, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return made


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())
