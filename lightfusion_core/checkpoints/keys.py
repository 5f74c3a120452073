"""Every name that a tensor has had, to the one name that the engine uses.

Three parts come out of a checkpoint, and their names are those of the modules that take them:
    understanding  `UnderstandingTower`   transformers' present Qwen2.5-VL names
    generation     `GenerationTower`      Wan's original names, the authors' for the fusion
    vae            `ImageVAE.model`       diffusers' AutoencoderKLWan names

A file may also carry the model's small files inside, as tensors of bytes (`DOCUMENTS`): hosts that save a model write
one file and nothing beside it.
"""

from __future__ import annotations

import re

PARTS = ("understanding", "generation", "vae")

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
DOCUMENTS = {
    CONFIG: ("lightfusion_config", "lightfusion_understanding_config"),
    TOKENIZER: ("lightfusion_tokenizer",),
}
"""The names of the tensors that may hold a small file; the configuration that came with the generation side is the
model's, and the understanding side's says what that is where it is alone."""

UNUSED_IN_FROZEN = ("q_und_proj.weight", "q_und_proj.bias", "o_und_proj.weight")
"""Ends of the names of the generation side's tensors that a frozen model never reads."""

# What wrappers put in front: training frameworks, ComfyUI's all-in-one files, our CLIP there, the authors' own models.
_PREFIX = re.compile(
    r"^(?:(?:module|_orig_mod|model\.diffusion_model|diffusion_model|first_stage_model|vae|vision_language_model"
    r"|vgen_model|text_encoders\.\w+(?:\.transformer)?|tower)\.)+"
)

# Buffers that some libraries save and all of them compute.
_DERIVED = re.compile(r"(rotary_emb|rotary_pos_emb)\.inv_freq$")

_FUSION = re.compile(r"^(?:model\.)?(?:language_model\.)?(?:mm_attn_layers|cross_attn_layers)\.(\d+)\.(.+)$")
_VISION = re.compile(r"^(?:model\.)?visual\.(.+)$")
_LANGUAGE = re.compile(
    r"^(?:model\.language_model\.|language_model\.model\.|language_model\.|model\.)((?:embed_tokens|layers|norm)\..+)$"
)
_LM_HEAD = re.compile(r"^(?:language_model\.)?lm_head\.weight$")
_WAN = re.compile(
    r"^(blocks|patch_embedding|text_embedding|time_embedding|time_projection|head|condition_embedder)\..+$"
)
_WAN_TOP = {
    "proj_out.weight": "head.head.weight",
    "proj_out.bias": "head.head.bias",
    "scale_shift_table": "head.modulation",
    "vgen_model_cross_att_context": "vgen_model_cross_att_context",
}
_WAN_FROM_DIFFUSERS = (
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_(q|k|v)\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"^(blocks\.\d+\.)norm2\.", r"\1norm3."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
    (r"\.scale_shift_table$", ".modulation"),
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
)
_VAE = re.compile(r"^(?:(?:encoder|decoder)\..+|(?:conv1|conv2|quant_conv|post_quant_conv)\.(?:weight|bias))$")
_VAE_FROM_WAN = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"^(encoder|decoder)\.head\.0\.", r"\1.norm_out."),
    (r"^(encoder|decoder)\.head\.2\.", r"\1.conv_out."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (
        r"^(encoder|decoder)\.(down|up)samples\.(\d+)\.\2samples\.\d+\.(resample|time_conv)\.",
        r"\1.\2_blocks.\3.\2sampler.\4.",
    ),
    (r"^(encoder|decoder)\.(down|up)samples\.(\d+)\.\2samples\.(\d+)\.", r"\1.\2_blocks.\3.resnets.\4."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)

_VAE_TO_WAN = (
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.(down|up)_blocks\.(\d+)\.resnets\.(\d+)\.", r".\1samples.\2.\1samples.\3."),
)


def authors_name(name: str) -> str:
    """The key of one of the two towers' parameters in the authors' checkpoint layout (rule B28)."""
    if name.startswith("mm_attn_layers."):
        return f"vision_language_model.model.language_model.{name}"
    if name.startswith(("model.", "lm_head.")):
        return f"vision_language_model.{name}"
    return name if name.startswith("vgen_model_") else f"vgen_model.{name}"


def canonical(name: str) -> tuple[str, str] | None:
    """(part, name in the engine) of a tensor, ("derived", name) for what is never read, or None for a
    name that belongs to no known layout."""
    if _DERIVED.search(name):
        return "derived", name
    name = name[len(prefix(name)) :]
    if match := _FUSION.match(name):
        inner = match[2].replace("cross_attn.", "mm_attn.", 1) if match[2].startswith("cross_attn.") else match[2]
        return "generation", f"mm_attn_layers.{match[1]}.{inner}"
    if match := _VISION.match(name):
        return "understanding", f"model.visual.{match[1]}"
    if match := _LANGUAGE.match(name):
        return "understanding", f"model.language_model.{match[1]}"
    if _LM_HEAD.match(name):
        return "understanding", "lm_head.weight"
    if name in _WAN_TOP:
        return "generation", _WAN_TOP[name]
    if _WAN.match(name):
        return "generation", _rewrite(name, _WAN_FROM_DIFFUSERS)
    if _VAE.match(name):
        return "vae", _rewrite(name, _VAE_FROM_WAN)
    return None


def document(name: str) -> str | None:
    """Which name out of `DOCUMENTS` a tensor has; None for every other tensor."""
    bare = name[len(prefix(name)) :]
    return bare if any(bare in names for names in DOCUMENTS.values()) else None


def published(part: str, name: str, vae_depth: int) -> str:
    """The name in the engine as the files that people share have it, so that ours stand in for theirs: the older
    Qwen2.5-VL names of the hub and of ComfyUI, Wan's original names for the VAE. `vae_depth` is the VAE's number
    of residual blocks a level, which Wan's names count."""
    if part == "understanding":
        return name.replace("model.visual.", "visual.", 1).replace("model.language_model.", "model.", 1)
    if part == "generation":
        return name
    if match := re.match(r"^(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(?:down|up)sampler\.(.+)$", name):
        side, way, level, rest = match.groups()
        last = vae_depth + (way == "up")
        return f"{side}.{way}samples.{level}.{way}samples.{last}.{rest}"
    return _rewrite(name, _VAE_TO_WAN)


def prefix(name: str) -> str:
    """What a wrapper put in front of a name; it may be nothing."""
    match = _PREFIX.match(name)
    return match[0] if match else ""


def layout(part: str, names: list[str]) -> str:
    """Whose names a part's tensors have in a file, in a few words."""
    if part == "understanding":
        new = any(".language_model." in name or name.startswith("language_model.") for name in names)
        return "Qwen2.5-VL as transformers names it" + ("" if new else ", the older way")
    if part == "vae":
        diffusers = any(".mid_block." in name for name in names)
        return "diffusers' AutoencoderKLWan" if diffusers else "Wan2.2's original, ComfyUI's too"
    said = "diffusers' WanTransformer3DModel" if any(".attn1." in name for name in names) else "Wan's original"
    if any("cross_attn_layers." in name for name in names):
        return said + ", fusion under its older name (cross_attn_layers)"
    return said + (", fusion as mm_attn_layers" if any("mm_attn_layers." in name for name in names) else "")


def _rewrite(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
