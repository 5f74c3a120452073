"""Weights that are not all on the compute device, and weights that a LoRA changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from harness import (
    NEGATIVE,
    PROMPT,
    ksample,
    largest,
    load,
    load_again,
    node,
    offloaded,
    pack,
    weight_budget,
    with_lora,
)

LORA = "wan.safetensors"
Parts: TypeAlias = tuple[Any, Any, Any]


def check_partly_loaded_model_draws_the_same() -> dict[str, float]:
    """Layers outside of the host's classes, and bare parameters, stay on the offload device."""
    return _compare(load_again()[0])


def check_partly_loaded_model_with_lora_draws_the_same() -> dict[str, float]:
    """Under partial loading a LoRA is applied as weights are cast: a layer that casts by itself misses it."""
    model = with_lora(load_again()[0], LORA)
    assert largest(ksample(model) - ksample()) > 1e-2, "the LoRA changes nothing"
    return _compare(model)


def check_partly_loaded_coupled_model_draws_the_same() -> dict[str, float]:
    """A coupled model runs the understanding tower's layers in every step."""
    return _compare(load_again("coupled/")[0], "coupled/")


def _compare(model: object, name: str = "tiny/") -> dict[str, float]:
    whole, found = ksample(model, name=name), {}
    for share in (0.5, 0.1):
        with weight_budget(share), offloaded(model, model.model.diffusion_model) as left:
            partial = ksample(model, name=name)
            size, loaded = model.model_size(), model.loaded_size()
            assert left, "nothing was left on the offload device"
            assert loaded <= share * size, f"{loaded} of {size} bytes were loaded"
            assert sum(left.values()) >= 0.98 * (1 - share) * size, (
                f"of {size} bytes only {sum(left.values())} were left"
            )
        found[f"{share}: bytes left"] = sum(left.values())
        found[f"{share}: difference"] = largest(partial - whole) / largest(whole)
        assert found[f"{share}: difference"] <= 1e-5, found
    again = ksample(model, name=name)
    assert torch.equal(again, whole), "after partial loading the whole model draws something else"
    return found


def check_partly_loaded_clip_encodes_the_same() -> dict[str, float]:
    """The tower's tables stay behind, and its device is not where its smallest weight lies."""
    return _compare_states(lambda parts: node("CLIPTextEncode", clip=parts[1], text=PROMPT)[0])


def check_partly_loaded_clip_sees_the_same() -> dict[str, float]:
    """The vision tower has tables and windows of its own to bring along."""
    picture = torch.rand(1, 80, 100, 3, generator=torch.Generator().manual_seed(0))

    def encode_with_picture(parts: Parts) -> Any:
        texts = {"prompt": PROMPT, "negative_prompt": NEGATIVE}
        size = {"width": 64, "height": 64, "batch_size": 1}
        return node("LightFusionEncode", clip=parts[1], vae=parts[2], image_1=picture, **texts, **size)[0]

    return _compare_states(encode_with_picture)


def _compare_states(encode_with: Callable[[Parts], Any]) -> dict[str, float]:
    whole, found = _states(encode_with(load_again())), {}
    for share in (0.5, 0.1):
        parts = load_again()
        clip = parts[1]
        with weight_budget(share), offloaded(clip.patcher, clip.cond_stage_model) as left:
            partial = _states(encode_with(parts))
            assert left, "nothing was left on the offload device"
        found[f"{share}: difference"] = max(
            largest(a - b) / largest(b) for a, b in zip(partial, whole, strict=True)
        )  # fmt: skip
        assert found[f"{share}: difference"] <= 1e-5, found
    return found


def _states(conditioning: Any) -> list[torch.Tensor]:
    branch = conditioning[0][0].lightfusion.branch
    return [branch.markers, *(segment.hidden for segment in branch.segments)]


def check_partly_loaded_vae_decodes_the_same() -> dict[str, float]:
    """A VAE of plain layers must be loaded whole: whatever is left behind cannot be moved at use."""
    vae = load_again()[2]
    samples = {"samples": ksample()}
    whole = node("VAEDecode", samples=samples, vae=vae)[0]
    with weight_budget(0.1), offloaded(vae.patcher, vae.first_stage_model):
        partial = node("VAEDecode", samples=samples, vae=vae)[0]
        encoded = node("VAEEncode", pixels=whole, vae=vae)[0]["samples"]
    difference = largest(partial - whole)
    assert difference <= 1e-5, difference
    assert bool(encoded.isfinite().all())
    return {"difference": difference}


def check_lora_patches_every_layer_that_it_names() -> dict[str, float]:
    """Names that do not match are only logged: the LoRA then works in part, or not at all."""
    model = load()[0]
    patched = with_lora(model, LORA)
    added = set(patched.patches) - set(model.patches)
    blocks = len(model.model.diffusion_model.blocks)
    layers = [f"{part}.{name}" for part in ("self_attn", "cross_attn") for name in "qkvo"] + ["ffn.0", "ffn.2"]
    wanted = {f"diffusion_model.blocks.{i}.{layer}.{part}" for i in range(blocks) for layer in layers
              for part in ("weight", "bias")}  # fmt: skip
    wanted |= {f"diffusion_model.blocks.{i}.{part}.norm_{name}.weight" for i in range(blocks)
               for part in ("self_attn", "cross_attn") for name in "qk"}  # fmt: skip
    wanted |= {f"diffusion_model.blocks.{i}.norm3.{part}" for i in range(blocks) for part in ("weight", "bias")}
    assert wanted <= added, f"not patched: {sorted(wanted - added)}"
    return {"layers patched": len(added)}


def check_lora_strengths_leave_nothing_behind() -> dict[str, float]:
    """Clones share one module, so what is kept from weights of another strength would draw an old picture."""
    model = load()[0]
    plain, strong = ksample(model), ksample(with_lora(model, LORA, 1.0))
    half, none = ksample(with_lora(model, LORA, 0.5)), ksample(with_lora(model, LORA, 0.0))
    assert largest(strong - plain) > 1e-2
    assert largest(half - strong) > 1e-3
    assert torch.equal(none, plain)
    assert torch.equal(ksample(model), plain)
    fresh = with_lora(load_again()[0], LORA, 1.0)
    assert torch.equal(ksample(fresh), strong), "what was drawn before changes the picture"
    return {"change": largest(strong - plain)}


def check_matrices_without_room_in_another_dtype_stay_mapped() -> dict[str, float]:
    """A float32 file of 62 GB, held in bfloat16, is more than a machine of 32 GB has."""
    memory = pack("lightfusion_core.checkpoints.memory")
    own = "from the model"
    name = {"model": "tiny/", "understanding": own, "vae": own, "weight_dtype": "bfloat16"}
    whole, available = node("LightFusionLoad", **name), memory.available_memory
    checkpoint = pack("lightfusion_core.checkpoints.model").open_model(pack("nodes.folders").model_path("tiny/"))
    least = memory.own_bytes(checkpoint, ["generation"], torch.bfloat16, as_stored=True)
    memory.available_memory = lambda: 1 + int(least / memory._SHARE)
    try:
        mapped = node("LightFusionLoad", **name)
    finally:
        memory.available_memory = available
    dtypes = [parts[0].model.diffusion_model.blocks[0].ffn[0].weight.dtype for parts in (whole, mapped)]
    assert dtypes == [torch.bfloat16, torch.float32], dtypes
    wanted, found = (ksample(parts[0]) for parts in (whole, mapped))
    difference = largest(found - wanted) / largest(wanted)
    assert difference < 0.05, difference
    return {"difference": difference}
