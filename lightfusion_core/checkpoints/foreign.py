"""Other models' files, told by names and shapes in their headers: what people have beside LightFusion.

A signature's names are the engine's for tensors that some layout of ours has too (`keys.canonical`), else the file's
own behind its wrapper; "#" stands for any number. The first row that fits names the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .keys import prefix
from .reader import Checkpoint

Shape = tuple[int | None, ...]

WANTED = {
    "generation": "LightFusion's own checkpoint is wanted, whose Wan blocks come with fusion layers (mm_attn_layers)",
    "understanding": "a Qwen2.5-VL is wanted, which for the large model is Qwen2.5-VL-7B",
    "vae": "Wan2.2's VAE is wanted, which has 48 channels (wan2.2_vae.safetensors)",
}
"""What each place in a model takes."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A kind of file.

    has: names that are all there. shape: of the first of them, None for any side. by_size: it differs from a part of
    LightFusion in nothing else.
    """

    what: str
    has: tuple[str, ...]
    shape: Shape | None = None
    by_size: bool = False


_TEXT, _VISUAL = "model.language_model.layers.#.", "model.visual."
_QWEN25_VL = ("model.language_model.norm.weight", f"{_VISUAL}blocks.#.mlp.gate_proj.weight")
_KL_VAE = ("decoder.conv_in.weight", "decoder.up.#.block.#.conv1.weight")
_UNET = "input_blocks.#.#.transformer_blocks.#.attn2.to_k.weight"

SIGNATURES = (
    # models that have Qwen2.5-VL's names in part
    Signature("BAGEL, another model than LightFusion", (f"{_TEXT}mlp_moe_gen.gate_proj.weight",)),
    Signature("a Qwen2.5-Omni", ("thinker.model.layers.#.self_attn.q_proj.weight",)),
    Signature("a Qwen3.5", (f"{_TEXT}linear_attn.A_log",)),
    Signature("a Qwen3-VL", (f"{_VISUAL}deepstack_merger_list.#.norm.weight",)),
    Signature("a Qwen2-VL", (f"{_VISUAL}blocks.#.mlp.fc1.weight", f"{_VISUAL}merger.ln_q.weight")),
    Signature("a Qwen2.5-VL-3B", _QWEN25_VL, (2048,), by_size=True),
    Signature("a Qwen2.5-VL-32B", _QWEN25_VL, (5120,), by_size=True),
    Signature("a Qwen2.5-VL-72B", _QWEN25_VL, (8192,), by_size=True),
    Signature("a Gemma 3 or Gemma 2", (f"{_TEXT}post_feedforward_layernorm.weight",)),
    Signature("a Qwen3 without vision", (f"{_TEXT}self_attn.q_norm.weight",)),
    # Wan, of which LightFusion is one part
    Signature("a Wan VACE or control model", ("vace_patch_embedding.weight",)),
    Signature("a plain Wan2.2-TI2V-5B without fusion layers", ("patch_embedding.weight",), (3072, 48, 1, 2, 2)),
    Signature("a plain Wan2.2-TI2V-5B without fusion layers", ("patch_embedding.weight",), (3072, 192)),
    Signature("a Wan 14B (Wan 2.1 or 2.2, text to video)", ("patch_embedding.weight",), (5120, 16, 1, 2, 2)),
    Signature("a Wan 14B (Wan 2.1 or 2.2, image to video)", ("patch_embedding.weight",), (5120, None, 1, 2, 2)),
    Signature("a Wan 2.1 of 1.3B", ("patch_embedding.weight",), (1536, None, 1, 2, 2)),
    # diffusion models
    Signature("a FLUX.2 diffusion model", ("double_stream_modulation_img.lin.weight",)),
    Signature("a Chroma diffusion model", ("distilled_guidance_layer.in_proj.weight",)),
    Signature("a HunyuanVideo or HunyuanImage", ("txt_in.individual_token_refiner.blocks.#.norm1.weight",)),
    Signature("a FLUX diffusion model", ("double_blocks.#.img_attn.qkv.weight",)),
    Signature("a FLUX diffusion model in diffusers' names", ("single_transformer_blocks.#.attn.to_q.weight",)),
    Signature("a Qwen-Image diffusion model", ("transformer_blocks.#.img_mlp.net.#.proj.weight",)),
    Signature("a Stable Diffusion 3", ("joint_blocks.#.context_block.attn.qkv.weight",)),
    Signature("an SDXL checkpoint", (_UNET, "label_emb.#.#.weight")),
    Signature("a Stable Diffusion 2", (_UNET,), (None, 1024)),
    Signature("a Stable Diffusion 1", (_UNET,), (None, 768)),
    Signature("a Stable Diffusion", ("input_blocks.#.#.in_layers.#.weight",)),
    Signature("a Stable Diffusion in diffusers' names", ("down_blocks.#.resnets.#.time_emb_proj.weight",)),
    Signature("a ControlNet", ("control_model.input_blocks.#.#.weight",)),
    Signature("a ControlNet", ("controlnet_cond_embedding.conv_in.weight",)),
    Signature("an OmniGen2", ("time_caption_embed.timestep_embedder.linear_1.bias",)),
    Signature("a Lumina 2 or Z-Image", ("noise_refiner.#.attention.k_norm.weight",)),
    Signature("a HiDream", ("caption_projection.#.linear.weight",)),
    Signature("an LTX-Video", ("adaln_single.emb.timestep_embedder.linear_1.bias",)),
    Signature("a CogVideoX", ("blocks.#.norm1.linear.weight",)),
    Signature("an AuraFlow", ("double_layers.#.attn.w1q.weight",)),
    # VAEs
    Signature("Wan 2.1's VAE, which has 16 channels and is Qwen-Image's too", ("decoder.upsamples.#.norm1.gamma",)),
    Signature(
        "Wan 2.1's VAE in diffusers' names, which has 16 channels",
        ("decoder.up_blocks.#.upsamplers.#.resample.#.weight", "decoder.mid_block.resnets.#.norm1.gamma"),
    ),
    Signature("HunyuanVideo's VAE", ("decoder.conv_in.conv.weight",)),
    Signature("Stable Diffusion's VAE", _KL_VAE, (None, 4, 3, 3)),
    Signature("FLUX's or SD3's VAE", _KL_VAE, (None, 16, 3, 3)),
    Signature("another model's VAE", ("decoder.up.#.block.#.conv1.weight",)),
    Signature("a Stable Diffusion's or FLUX's VAE in diffusers' names", ("decoder.up_blocks.#.resnets.#.norm1.bias",)),
    # text encoders and other small things
    Signature("a UMT5-XXL or T5-XXL text encoder", ("encoder.block.#.layer.#.SelfAttention.q.weight",)),
    Signature("a CLIP text encoder", ("text_model.encoder.layers.#.mlp.fc1.weight",)),
    Signature("a CLIP vision encoder", ("vision_model.encoder.layers.#.mlp.fc1.weight",)),
    Signature("an upscaler", ("body.#.rdb1.conv1.weight",)),
)  # fmt: skip

_LORA_ENDINGS = re.compile(
    r"(\.lora_(A|B|up|down)(\.default)?\.weight|\.lora_(A|B)|\.alpha|\.dora_scale|\.(hada|lokr)_\w+|\.diff(_b)?)$"
)
_NUMBER = re.compile(r"(?:(?<=\.)|^)\d+(?=\.|$)")


def foreign(checkpoint: Checkpoint, by_size: bool = True) -> str | None:
    """What other model's file this is, in a few words; None where it is none that is known, and for a model that has
    fusion layers.

    Args:
        by_size: parts of sizes that no published LightFusion has are another model's too.
    """
    entries = [*checkpoint.entries.values(), *checkpoint.strangers]
    if entries and sum(bool(_LORA_ENDINGS.search(entry.name)) for entry in entries) > len(entries) / 2:
        return "a LoRA, which ComfyUI's LoraLoaderModelOnly puts on a model that is loaded"
    names = {_general(name): entry.shape for (_, name), entry in checkpoint.entries.items()}
    names.update({_general(entry.name[len(prefix(entry.name)) :]): entry.shape for entry in checkpoint.strangers})
    if any(name.startswith("mm_attn_layers.") for name in names):
        return None
    rows = (row for row in SIGNATURES if by_size or not row.by_size)
    return next((row.what for row in rows if _fits(row, names)), None)


def sentence(path: object, what: str, place: str) -> str:
    """What it is and what is wanted in this place ("generation", "understanding", "vae") of a model."""
    return f"{path} is {what}: {WANTED[place]}."


def _general(name: str) -> str:
    return _NUMBER.sub("#", name)


def _fits(row: Signature, names: dict[str, tuple[int, ...]]) -> bool:
    if any(name not in names for name in row.has):
        return False
    shape = names[row.has[0]]
    return row.shape is None or (
        len(shape) == len(row.shape) and all(w in (None, f) for w, f in zip(row.shape, shape, strict=True))
    )
