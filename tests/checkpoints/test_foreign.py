"""Other models' files of full size, by headers alone, get a sentence that says what they are and what is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_layouts import generation, golden, golden_vae, understanding, write
from full_size.layouts import LAYOUTS
from full_size.sparse import Blank, Blanks
from full_size.sparse import write as write_blank

from lightfusion_core import CheckpointError
from lightfusion_core.checkpoints.foreign import SIGNATURES, foreign
from lightfusion_core.checkpoints.model import open_model
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.checkpoints.report import inspect


def blanks(*names: str, shape: tuple[int, ...] = (8, 8), dtype: str = "BF16") -> Blanks:
    return {name: Blank(shape, dtype) for name in names}


def wan(width: int, channels: int, blocks: int, in_front: str = "") -> Blanks:
    """A plain Wan in its original names."""
    found = blanks(f"{in_front}patch_embedding.weight", shape=(width, channels, 1, 2, 2))
    found |= blanks(f"{in_front}text_embedding.0.weight", shape=(width, 4096))
    for i in range(blocks):
        for kind in ("self_attn", "cross_attn"):
            stem = f"{in_front}blocks.{i}.{kind}"
            found |= blanks(*(f"{stem}.{part}.weight" for part in "qkvo"), shape=(width, width))
            found |= blanks(f"{stem}.norm_q.weight", f"{stem}.norm_k.weight", shape=(width,))
    return found | blanks(f"{in_front}head.modulation", shape=(1, 2, width))


def qwen_vl(width: int, layers: int, mlp: str = "gate_proj", newer: bool = False) -> Blanks:
    """A Qwen-VL: its text layers' attention, a vision block and the merger."""
    text = "model.language_model." if newer else "model."
    visual = "model.visual." if newer else "visual."
    found = blanks(f"{text}norm.weight", shape=(width,)) | blanks(f"{text}embed_tokens.weight", shape=(151936, width))
    for i in range(layers):
        found |= blanks(f"{text}layers.{i}.self_attn.q_proj.weight", shape=(width, width))
    found |= blanks(f"{visual}blocks.0.mlp.{mlp}.weight", shape=(5120, 1280))
    return found | blanks(f"{visual}merger.ln_q.weight", shape=(1280,))


QWEN3_VL = qwen_vl(4096, 36, "linear_fc1", newer=True)
QWEN3_VL |= blanks(
    "model.language_model.layers.0.self_attn.q_norm.weight", "model.visual.deepstack_merger_list.0.norm.weight"
)
FLUX = blanks("double_blocks.0.img_attn.norm.key_norm.scale", "double_blocks.18.img_attn.qkv.weight", "img_in.weight")
SDXL = blanks("input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", shape=(640, 2048))
SDXL |= blanks("input_blocks.1.0.in_layers.2.weight", "label_emb.0.0.weight", shape=(320, 320))
SD1 = blanks("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", shape=(320, 768))
WAN21_VAE = blanks("decoder.middle.0.residual.0.gamma", "decoder.upsamples.0.residual.0.gamma", shape=(384, 1, 1, 1))
WAN21_VAE |= blanks("conv2.weight", shape=(16, 16, 1, 1, 1)) | blanks(
    "encoder.downsamples.0.residual.2.weight", shape=(96, 96, 3, 3, 3)
)
LORA = blanks(*(f"diffusion_model.blocks.{i}.self_attn.q.lora_{side}.weight" for i in range(30) for side in "AB"))


def behind(prefix: str, tensors: Blanks) -> Blanks:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


FILES = {
    "a plain Wan2.2-TI2V-5B": ("generation", wan(3072, 48, 30)),
    "a Wan 14B (Wan 2.1 or 2.2, text to video)": ("generation", wan(5120, 16, 40, "model.diffusion_model.")),
    "a Wan 14B (Wan 2.1 or 2.2, image to video)": ("generation", wan(5120, 36, 40)),
    "a Wan 2.1 of 1.3B": ("generation", wan(1536, 16, 30)),
    "a Qwen-Image": ("generation", blanks(*(f"transformer_blocks.{i}.img_mlp.net.0.proj.weight" for i in range(60)))),
    "a FLUX diffusion model": ("generation", FLUX),
    "an SDXL checkpoint": ("generation", behind("model.diffusion_model.", SDXL)),
    "a Stable Diffusion 1": ("generation", behind("model.diffusion_model.", SD1)),
    "a Qwen3-VL": ("understanding", QWEN3_VL),
    "a Qwen2-VL": ("understanding", qwen_vl(3584, 28, "fc1")),
    "a Qwen2.5-VL-3B": ("understanding", qwen_vl(2048, 36)),
    "a Qwen2.5-VL-72B": ("understanding", qwen_vl(8192, 80, newer=True)),
    "Wan 2.1's VAE": ("vae", WAN21_VAE),
    "FLUX's or SD3's VAE": (
        "vae",
        blanks("decoder.conv_in.weight", shape=(512, 16, 3, 3)) | blanks("decoder.up.0.block.0.conv1.weight"),
    ),
    "a LoRA": ("generation", LORA),
    "a UMT5-XXL": ("understanding", blanks("shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight")),
}  # fmt: skip
WANTED = {"generation": "fusion layers", "understanding": "a Qwen2.5-VL is wanted", "vae": "48 channels"}


@pytest.mark.parametrize("what", FILES)
def test_a_foreign_file_is_named(tmp_path: Path, what: str) -> None:
    """Guards a list of a thousand unknown names in place of an answer, in the report and where the file is given as
    the model, or as the part that it is like."""
    place, tensors = FILES[what]
    file = write_blank(tmp_path / "other.safetensors", tensors)
    report = inspect(file)
    assert report.kind.startswith(what)
    assert not report.is_sound
    assert report.wanted in str(report)
    assert len(str(report).splitlines()) < 20
    refused(what, "fusion layers", file)
    if place != "generation":
        model = write(tmp_path / "model", {"g.safetensors": generation(golden())})
        refused(what, WANTED[place], model, **{place: file})


def refused(what: str, wanted: str, *files: Path, **parts: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_model(*files, **parts)
    line = str(caught.value)
    assert f"other.safetensors is {what}" in line
    assert wanted in line
    assert "\n" not in line


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_no_file_of_ours_is_foreign(tmp_path: Path, layout: object) -> None:
    """Guards a signature that is too wide, by every layout at full size."""
    for path in layout.make(tmp_path / "files").values():
        assert foreign(Checkpoint.open(path)) is None


def test_no_part_of_another_size_is_foreign(tmp_path: Path) -> None:
    parts = {"g": generation(golden()), "u": understanding(golden()), "v": golden_vae()}
    for name, tensors in parts.items():
        assert foreign(Checkpoint.open(write(tmp_path / name, {"m.safetensors": tensors}))) is None


def test_a_model_of_another_size_takes_an_understanding_part_of_its_width(tmp_path: Path) -> None:
    """Guards a LightFusion of 3B to come, which brings its config.json."""
    qwen = write_blank(tmp_path / "qwen.safetensors", qwen_vl(2048, 36))
    narrow = blanks("mm_attn_layers.0.mm_attn.k_und_proj.weight", shape=(1024, 2048))
    model = write_blank(tmp_path / "model.safetensors", narrow | blanks("blocks.0.cross_attn.norm_q.weight"))
    assert open_model(model, understanding=qwen).names("understanding")
    (tmp_path / "config.json").write_text('{"vgen_config": {}}')
    assert inspect(qwen).kind == "a Qwen2.5-VL"


def test_every_signature_can_be_the_first_to_fit() -> None:
    """Guards rows that an earlier one hides."""
    seen: list[tuple] = []
    for row in SIGNATURES:
        hidden = any(
            set(has) <= set(row.has) and shape in (None, row.shape) and has[0] == row.has[0] for has, shape in seen
        )
        assert not hidden, row
        seen.append((row.has, row.shape))
