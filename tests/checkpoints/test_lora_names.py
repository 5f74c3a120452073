"""Names of LoRA files: whoever wrote them, each finds the parameter that it means, and no name finds another's."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tiny import CONFIG

from lightfusion_core.checkpoints.keys import canonical, published
from lightfusion_core.checkpoints.loader import build_generation, build_understanding
from lightfusion_core.checkpoints.lora_names import change, is_authors, is_diffusers, split

WRAPPERS = (
    "", "diffusion_model.", "model.diffusion_model.", "transformer.", "base_model.model.", "vgen_model.",
    "base_model.model.transformer.", "base_model.model.diffusion_model.", "module.", "_orig_mod.", "pipe.dit.",
    "lora_unet_", "lora_unet__", "lycoris_", "lora_transformer_", "lora_unet_diffusion_model_",
)  # fmt: skip
ENDINGS = (".lora_A.weight", ".lora_A.default.weight", ".lora_down.weight", ".lora.down.weight", "_lora.down.weight",
           ".lora_linear_layer.down.weight", ".lora_A")  # fmt: skip


@cache
def _parameters(part: str) -> list[str]:
    if part == "understanding":
        return list(build_understanding(CONFIG).state_dict())
    return list(build_generation(CONFIG, coupled=True, dtype=torch.float32).state_dict())


@cache
def _diffusers_parameters() -> list[str]:
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        model = WanTransformer3DModel(num_layers=2, num_attention_heads=2, attention_head_dim=16, ffn_dim=32)
    return list(model.state_dict())


def _layer(parameter: str) -> str:
    return parameter.removesuffix(".weight").removesuffix(".bias")


def _written(wrapper: str, layer: str) -> str:
    """A layer's name as a trainer writes it behind its own prefix."""
    return wrapper + (layer.replace(".", "_") if wrapper.endswith("_") else layer)


@pytest.mark.parametrize("part", ["generation", "understanding"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_parameter_is_found_under_its_own_name(part: str, wrapper: str) -> None:
    """A layer that a table forgets is lost in every file."""
    for parameter in _parameters(part):
        name = _written(wrapper, _layer(parameter))
        kind = ".diff_b" if parameter.endswith(".bias") else ".diff"
        found = change(name + kind)
        assert found is not None and (found.part, found.parameter, found.kind) == (part, parameter, "diff"), name


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_diffusers_names_are_found_as_in_checkpoints(wrapper: str) -> None:
    """Against diffusers' own model, and the table by which checkpoints are read."""
    for name in _diffusers_parameters():
        wanted = canonical(name)
        kind = ".diff_b" if name.endswith(".bias") else ".diff"
        found = change(_written(wrapper, _layer(name)) + kind)
        assert found is not None and wanted is not None, name
        assert (found.part, found.parameter) == wanted
        assert is_diffusers(name) or name.startswith("patch_embedding") or ".norm2." in name


def test_published_understanding_names_are_found() -> None:
    """Qwen2.5-VL's older names, which most files have, as PEFT wraps them."""
    for parameter in _parameters("understanding"):
        older = published("understanding", parameter, 0)
        for wrapper in ("", "base_model.model.", "text_encoders.qwen25_7b.transformer.", "vision_language_model."):
            found = change(f"{wrapper}{_layer(older)}.lora_B.weight")
            assert found is not None and found.part == "understanding", older
            assert _layer(found.parameter) == _layer(parameter)


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings_of_one_meaning_are_one_kind(ending: str) -> None:
    up = ending.replace("lora_A", "lora_B").replace("down", "up")
    for layer in ("diffusion_model.blocks.0.ffn.2", "lora_unet_blocks_0_ffn_2"):
        down_change, up_change = change(layer + ending), change(layer + up)
        assert down_change is not None and up_change is not None
        assert (down_change.kind, up_change.kind) == ("lora_down.weight", "lora_up.weight")
        assert down_change.parameter == up_change.parameter == "blocks.0.ffn.2.weight"


@pytest.mark.parametrize(
    ("key", "parameter"),
    [
        ("diffusion_model.blocks.3.diff_m", "blocks.3.modulation"),
        ("diffusion_model.head.diff_m", "head.modulation"),
        ("transformer.blocks.3.scale_shift_table.diff", "blocks.3.modulation"),
        ("transformer.scale_shift_table.diff", "head.modulation"),
        ("diffusion_model.blocks.3.modulation.diff", "blocks.3.modulation"),
        ("transformer.blocks.3.attn1.to_q.lora_B.bias", "blocks.3.self_attn.q.bias"),
        ("blocks.3.self_attn.q.lora_B.default.bias", "blocks.3.self_attn.q.bias"),
        ("blocks.3.self_attn.q.bias.diff", "blocks.3.self_attn.q.bias"),
        ("blocks.3.to_out.lora_A.weight", "blocks.3.self_attn.o.weight"),
        ("blocks.3.attn1.processor.to_q_lora.down.weight", "blocks.3.self_attn.q.weight"),
        (
            "vision_language_model.model.language_model.cross_attn_layers.3.cross_attn.q_gen_proj.lora_A.weight",
            "mm_attn_layers.3.mm_attn.q_gen_proj.weight",
        ),
        ("vgen_model_cross_att_context.diff", "vgen_model_cross_att_context"),
    ],
)
def test_names_that_follow_no_pattern(key: str, parameter: str) -> None:
    found = change(key)
    assert found is not None and found.parameter == parameter


@pytest.mark.parametrize(
    "key",
    [
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight",  # Flux
        "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight",  # LTX, whose inner names are Wan's in diffusers
        "lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",  # Qwen-Image
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",  # SD
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",  # CLIP L
        "blocks.0.cross_attn.k_img.lora_A.weight",  # Wan's image-to-video
        "blocks.0.self_attn.q.weight",  # a weight, not a change
        "blocks.0.self_attn.q",
    ],
)
def test_other_models_names_are_unknown(key: str) -> None:
    assert change(key) is None


def test_layers_are_split_from_their_kind() -> None:
    """What is counted where a name is unknown: layers, not tensors."""
    pairs = ("a.b.lora_A.weight", "a.b.lora_B.weight", "a.b.alpha", "a.b.lora_down.weight")
    assert {split(key)[0] for key in pairs} == {"a.b"}


def test_authors_files_tell_themselves() -> None:
    for parameter in _parameters("generation"):
        ours = parameter.startswith(("mm_attn", "vgen_model"))
        assert is_authors(f"diffusion_model.{parameter}") == ours
        assert is_authors(f"vgen_model.{parameter}")
        assert not is_diffusers(f"diffusion_model.{parameter}")
