"""Every name that a LoRA file has for a change, to the parameter of the engine that it changes.

A file's name is wrappers, a layer and a kind: `base_model.model.` `blocks.0.attn1.to_q` `.lora_A.default.weight`. Each
of the three has a table here. Trainers write the same with underscores (`lora_unet_blocks_0_self_attn_q`), so layers
are compared with their dots replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Names: TypeAlias = Mapping[str, tuple[str, ...]]

# The layers: the engine's name, then what others call it. Wan's original names are the engine's; after them come
# diffusers' (OneTrainer's and SimpleTuner's too) and FastVideo's.
_BLOCK: Names = {
    "self_attn.q": ("attn1.to_q", "to_q"),
    "self_attn.k": ("attn1.to_k", "to_k"),
    "self_attn.v": ("attn1.to_v", "to_v"),
    "self_attn.o": ("attn1.to_out.0", "attn1.to_out", "to_out"),
    "self_attn.norm_q": ("attn1.norm_q", "norm_q"),
    "self_attn.norm_k": ("attn1.norm_k", "norm_k"),
    "cross_attn.q": ("attn2.to_q",),
    "cross_attn.k": ("attn2.to_k",),
    "cross_attn.v": ("attn2.to_v",),
    "cross_attn.o": ("attn2.to_out.0", "attn2.to_out"),
    "cross_attn.norm_q": ("attn2.norm_q",),
    "cross_attn.norm_k": ("attn2.norm_k",),
    "norm3": ("norm2", "self_attn_residual_norm.norm"),
    "ffn.0": ("ffn.net.0.proj", "ffn.fc_in"),
    "ffn.2": ("ffn.net.2", "ffn.fc_out"),
    "modulation": ("scale_shift_table",),
}
_TOP: Names = {
    "patch_embedding": ("patch_embedding.proj",),
    "text_embedding.0": ("condition_embedder.text_embedder.linear_1", "condition_embedder.text_embedder.fc_in"),
    "text_embedding.2": ("condition_embedder.text_embedder.linear_2", "condition_embedder.text_embedder.fc_out"),
    "time_embedding.0": ("condition_embedder.time_embedder.linear_1", "condition_embedder.time_embedder.mlp.fc_in"),
    "time_embedding.2": ("condition_embedder.time_embedder.linear_2", "condition_embedder.time_embedder.mlp.fc_out"),
    "time_projection.1": ("condition_embedder.time_proj", "condition_embedder.time_modulation.linear"),
    "head.head": ("proj_out",),
    "head.modulation": ("scale_shift_table",),
    "vgen_model_cross_att_context": ("cross_att_context",),
}
# The authors' fusion layers (rule B28); the older name of the attention is `cross_attn`.
_FUSION: Names = {
    "llm_norm": (),
    "vgen_norm": (),
    **{
        f"mm_attn.{name}": (f"cross_attn.{name}",)
        for name in (
            *(f"{part}_{side}_proj" for part in "qkvo" for side in ("und", "gen")),
            "q_norm",
            "k_norm",
        )
    },
}
_LANGUAGE: Names = {
    **{f"self_attn.{part}_proj": () for part in "qkvo"},
    **{f"mlp.{part}_proj": () for part in ("gate", "up", "down")},
    "input_layernorm": (),
    "post_attention_layernorm": (),
}
_VISION: Names = {
    "attn.qkv": (),
    "attn.proj": (),
    **{f"mlp.{part}_proj": () for part in ("gate", "up", "down")},
    "norm1": (),
    "norm2": (),
}
_LANGUAGE_TOP: Names = {"embed_tokens": (), "norm": (), "lm_head": ()}
_VISION_TOP: Names = {"patch_embed.proj": (), "merger.ln_q": (), "merger.mlp.0": (), "merger.mlp.2": ()}

_BARE = ("modulation", "vgen_model_cross_att_context")
"""What is a parameter by itself, without a `.weight` behind it."""

# What trainers and libraries put in front. Whole words between dots; behind a trainer's own prefix also with
# underscores, save those that begin a layer's name in other models (`transformer_blocks_0`).
_WRAPPERS = (
    "pipe", "dit", "unet", "net", "generator", "model", "base_model", "diffusion_model", "vgen_model",
    "vision_language_model", "language_model", "qwen25_7b", "qwen2_5_vl", "tower",
)  # fmt: skip
_DOTTED_ONLY = ("transformer", "text_encoder", "text_encoders")
_INSIDE = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|processor)\.")
_TRAINERS = r"lora_unet|lora_transformer|lora_dit|lora_te\d?|lora|lycoris"
_DOTS = re.compile(rf"^(?:(?:{'|'.join((*_WRAPPERS, *_DOTTED_ONLY))})\.)+")
_UNDERSCORES = re.compile(rf"^(?:(?:{_TRAINERS})_+)?(?:(?:{'|'.join(_WRAPPERS)})_+)*")

# The kinds: ComfyUI's name, then the endings that mean it. PEFT puts an adapter's name in the middle.
_ADAPTER = r"(?:\.(?!weight$|bias$)\w+)?"
_KINDS = tuple(
    (kind, re.compile(rf"{ending}$"))
    for kind, ending in (
        ("lora_up.weight", rf"(?:\.lora_B{_ADAPTER}|[._]lora(?:_linear_layer)?\.up|\.lora_up)(?:\.weight)?"),
        ("lora_down.weight", rf"(?:\.lora_A{_ADAPTER}|[._]lora(?:_linear_layer)?\.down|\.lora_down)(?:\.weight)?"),
        ("lora_mid.weight", r"\.lora_mid(?:\.weight)?"),
        ("diff_b", rf"(?:\.diff_b|\.b_norm|\.lora_up\.bias|\.lora_B{_ADAPTER}\.bias)"),
        ("diff_m", r"\.diff_m"),
        ("diff", r"\.(?:diff|w_norm)"),
        ("set_weight", r"\.set_weight"),
        ("alpha", r"(?:\.lora)?\.alpha"),
        ("dora_scale", rf"\.(?:dora_scale|lora_magnitude_vector{_ADAPTER}(?:\.weight)?)"),
        *((name, rf"\.{name}(?:\.weight)?") for name in (
            "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
            "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
            "oft_blocks", "rescale", "reshape_weight",
        )),
        *((f"{name}.weight", rf"\.{name}\.weight") for name in ("a1", "a2", "b1", "b2")),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """What one tensor of a LoRA file is for.

    part: "generation" or "understanding".
    parameter: its name in that part's tower, such as `blocks.0.self_attn.q.weight`.
    kind: ComfyUI's word for what the tensor does to it, such as `lora_up.weight`, `alpha` or `diff`.
    """

    part: str
    parameter: str
    kind: str


def split(key: str) -> tuple[str, str]:
    """(layer with its wrappers, kind) of a name in a file; the kind is "" where no ending is known."""
    for kind, ending in _KINDS:
        if match := ending.search(key):
            return key[: match.start()], kind
    return key, ""


def change(key: str) -> Change | None:
    """What a tensor of a file is for, by its name alone; None for a name of another model or of no known layout."""
    layer, kind = split(key)
    if not kind:
        return None
    parameter = "weight"
    if match := re.search(r"\.(weight|bias)$", layer):  # `X.bias.diff`
        layer, parameter = layer[: match.start()], match[1]
    if kind == "diff_m":
        layer, kind = f"{layer}.modulation", "diff"
    if kind == "diff_b":
        parameter, kind = "bias", "diff"
    found = _layer(layer)
    if found is None:
        return None
    part, name = found
    return Change(part, name if name.endswith(_BARE) else f"{name}.{parameter}", kind)


def is_diffusers(key: str) -> bool:
    """Whether a layer has the name that it has in diffusers' WanTransformer3DModel alone."""
    return re.search(r"attn[12][._]|ffn[._]net[._]|condition_embedder[._]|scale_shift_table|proj_out", key) is not None


def is_authors(key: str) -> bool:
    """Whether a layer is named as in the authors' own models, or is one that Wan does not have."""
    return re.search(r"vgen_model|mm_attn|cross_attn_layers|cross_att_context", key) is not None


def _layer(name: str) -> tuple[str, str] | None:
    """(part, layer) of a name without its kind."""
    name = _DOTS.sub("", _INSIDE.sub("", name)).replace(".", "_")
    name = name[_UNDERSCORES.match(name).end() :]  # type: ignore[union-attr]  # it matches nothing at least
    for part, pattern, form, inner in _NUMBERED:
        if (match := pattern.match(name)) and match[2] in inner:
            return part, form.format(match[1], inner[match[2]])
    return _NAMED.get(name)


def _flat(table: Names) -> dict[str, str]:
    """Every name of a table with underscores, to the engine's."""
    return {name.replace(".", "_"): own for own, others in table.items() for name in (own, *others)}


_NUMBERED = tuple(
    (part, re.compile(rf"^(?:{pattern})_(\d+)_(.+)$"), form, _flat(table))
    for part, pattern, form, table in (
        ("generation", "blocks", "blocks.{}.{}", _BLOCK),
        ("generation", "mm_attn_layers|cross_attn_layers", "mm_attn_layers.{}.{}", _FUSION),
        ("understanding", "layers", "model.language_model.layers.{}.{}", _LANGUAGE),
        ("understanding", "visual_blocks", "model.visual.blocks.{}.{}", _VISION),
    )
)
_NAMED = {
    **{flat: ("generation", own) for flat, own in _flat(_TOP).items()},
    **{
        flat: ("understanding", own if own == "lm_head" else f"model.language_model.{own}")
        for flat, own in _flat(_LANGUAGE_TOP).items()
    },
    **{f"visual_{flat}": ("understanding", f"model.visual.{own}") for flat, own in _flat(_VISION_TOP).items()},
}
