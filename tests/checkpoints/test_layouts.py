"""Every layout that a LightFusion file may have loads to the same model, bit for bit."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from checkpoint_layouts import (
    diffusers_wan,
    generation,
    golden,
    golden_vae,
    older_fusion,
    older_transformers,
    picture,
    quantised,
    renamed,
    understanding,
    velocity,
    with_conv3d,
    write,
)
from safetensors.torch import save_file
from tiny import SPECIAL, write_tokenizer
from torch import Tensor

from lightfusion_core import LightFusion
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.checkpoints.keys import canonical
from lightfusion_core.checkpoints.reader import Checkpoint

Expected = tuple[Tensor, Tensor]


def check(model: LightFusion, expected: Expected) -> None:
    assert torch.equal(velocity(model), expected[0])
    if model.vae is not None:
        assert torch.equal(picture(model), expected[1])


def behind(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return renamed(tensors, lambda name: prefix + name)


LAYOUTS = {
    "older fusion names": lambda: renamed(golden(), older_fusion),
    "saved from a wrapper": lambda: behind("module.", golden()),
    "Wan's original with transformers' present names": lambda: understanding(golden()) | generation(golden()),
    "Wan's convolution": lambda: understanding(golden()) | with_conv3d(generation(golden())),
    "diffusers' Wan": lambda: understanding(golden()) | renamed(with_conv3d(generation(golden())), diffusers_wan),
    "transformers' older names": lambda: (
        renamed(understanding(golden()), older_transformers) | behind("vgen_model.", generation(golden()))
    ),
    "ComfyUI, all in one": lambda: (
        behind("model.diffusion_model.", with_conv3d(generation(golden())))
        | behind("text_encoders.qwen25_7b.transformer.", renamed(understanding(golden()), older_transformers))
        | behind("vae.", golden_vae())
    ),
    "with buffers that are computed anyway": lambda: golden() | {
        "vision_language_model.model.language_model.rotary_emb.inv_freq": torch.zeros(16),
        "vision_language_model.model.visual.rotary_pos_emb.inv_freq": torch.zeros(4),
    },
    "frozen, without what a frozen model never reads": lambda: {
        name: tensor for name, tensor in golden().items() if "q_und_proj" not in name and "o_und_proj" not in name
    },
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_model(layout: str, tmp_path: Path, expected: Expected) -> None:
    check(LightFusion.load(write(tmp_path, {"model.safetensors": LAYOUTS[layout]()}), device="cpu"), expected)


@pytest.mark.parametrize("prefix", ["", "vae.", "first_stage_model."])
def test_the_vae_behind_a_prefix(prefix: str, tmp_path: Path, expected: Expected) -> None:
    write(tmp_path, {"model.safetensors": golden(), "vae.safetensors": behind(prefix, golden_vae())})
    check(LightFusion.load(tmp_path, device="cpu"), expected)


def test_the_vae_under_diffusers_names(plain: Path, tmp_path: Path, expected: Expected) -> None:
    own = LightFusion.load(plain, device="cpu").vae.model.state_dict()
    assert any(name.startswith("encoder.down_blocks.0.resnets.") for name in own)
    write(tmp_path, {"model.safetensors": golden(), "vae/diffusion_pytorch_model.safetensors": own})
    check(LightFusion.load(tmp_path, device="cpu"), expected)


def test_names_of_the_libraries_themselves() -> None:
    """Not our idea of their names: what their present classes call their parameters."""
    from diffusers import WanTransformer3DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        wan = WanTransformer3DModel(
            num_attention_heads=3, attention_head_dim=32, in_channels=48, out_channels=48, text_dim=48, freq_dim=64,
            ffn_dim=192, num_layers=2, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
        )  # fmt: skip
        text = {"hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "vocab_size": 512,
                "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]}}  # fmt: skip
        vision = {"depth": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 4, "out_hidden_size": 128}
        qwen = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    ours = {f"{part}:{name}" for part, name in map(canonical, golden())}
    for name in wan.state_dict():
        part, found = canonical(name)
        assert (part, f"generation:{found}" in ours) == ("generation", True), name
    for name in qwen.state_dict():
        part, found = canonical(name)
        assert (part, f"understanding:{found}" in ours) == ("understanding", True), name


def shards(folder: Path, tensors: dict[str, Tensor], number: int = 3) -> Path:
    names, places = sorted(tensors), {}
    for i in range(number):
        file = f"model-{i + 1:05}-of-{number:05}.safetensors"
        places |= dict.fromkeys(names[i::number], file)
        write(folder, {file: {name: tensors[name] for name in names[i::number]}})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def test_shards_by_their_index_and_by_their_folder(tmp_path: Path, expected: Expected) -> None:
    index = shards(tmp_path, golden())
    check(LightFusion.load(index, device="cpu"), expected)
    check(LightFusion.load(tmp_path, device="cpu"), expected)


def test_a_folder_of_parts_one_level_deep(tmp_path: Path, expected: Expected) -> None:
    """As hubs lay models out, beside files that are no part of the model."""
    write(tmp_path, {"transformer/model.safetensors": generation(golden()), "vae/vae.safetensors": golden_vae()})
    shards(tmp_path / "qwen", renamed(understanding(golden()), older_transformers), 2)
    (tmp_path / "qwen" / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    write(tmp_path, {"scheduler/numbers.safetensors": {"something": torch.zeros(3)}})
    (tmp_path / "._model.safetensors").write_bytes(b"a macOS leaving")
    check(LightFusion.load(tmp_path, device="cpu"), expected)


def test_parts_taken_from_other_paths(tmp_path: Path, expected: Expected) -> None:
    """They replace the model's own."""
    broken = {name: torch.full_like(t, 0.1) for name, t in (understanding(golden()) | golden_vae()).items()}
    model = write(tmp_path / "model", {"all.safetensors": generation(golden()) | broken}) / "all.safetensors"
    vlm = write(tmp_path / "vlm", {"qwen.safetensors": renamed(understanding(golden()), older_transformers)})
    vae = write(tmp_path / "vae", {"wan.safetensors": golden_vae()}) / "wan.safetensors"
    check(LightFusion.load(model, understanding=vlm, vae=vae, device="cpu"), expected)


def test_a_file_without_lm_head_draws(tmp_path: Path, expected: Expected) -> None:
    tensors = {name: tensor for name, tensor in golden().items() if "lm_head" not in name}
    model = LightFusion.load(write(tmp_path, {"model.safetensors": tensors}), device="cpu")
    assert model.understanding.lm_head is None
    check(model, expected)


def test_bfloat16_files_widen_exactly(tmp_path: Path) -> None:
    narrow = {name: tensor.bfloat16() for name, tensor in golden().items()}
    write(tmp_path / "narrow", {"model.safetensors": narrow})
    write(tmp_path / "wide", {"model.safetensors": {name: tensor.float() for name, tensor in narrow.items()}})
    models = [LightFusion.load(tmp_path / name, device="cpu") for name in ("narrow", "wide")]
    assert torch.equal(velocity(models[0]), velocity(models[1]))


# Scaled fp8


def described(tensors: dict[str, Tensor]) -> dict[str, dict[str, str]]:
    return {
        n.removesuffix(".weight_scale"): {"format": "float8_e4m3fn"} for n in tensors if n.endswith(".weight_scale")
    }


def older_fp8(tensors: dict[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    inputs = {n.replace("scale_weight", "scale_input"): torch.ones(1) for n in tensors if n.endswith("scale_weight")}
    return tensors | inputs | {f"{prefix}scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}, {}


def newer_fp8(tensors: dict[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    layers = {"format_version": "1.0", "layers": described(tensors)}
    return tensors, {"_quantization_metadata": json.dumps(layers)}


def newer_fp8_a_layer(tensors: dict[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    layers = {
        f"{layer}.comfy_quant": torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
        for layer, said in described(tensors).items()
    }
    return tensors | layers, {}


GENERATIONS = {
    "older": ("scale_weight", older_fp8),
    "newer, in the header": ("weight_scale", newer_fp8),
    "newer, a layer": ("weight_scale", newer_fp8_a_layer),
}


@pytest.mark.parametrize("generation_of", GENERATIONS)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_scaled_fp8_is_multiplied(generation_of: str, prefix: str, tmp_path: Path, expected: Expected) -> None:
    """Equal, bit for bit, to the same numbers in float32; near to what was quantised."""
    scale_name, finish = GENERATIONS[generation_of]
    tensors = renamed(understanding(golden()), older_transformers) | behind(prefix, generation(golden()))
    stored, meant = quantised(tensors, scale_name)
    stored, metadata = finish(stored, prefix)
    write(tmp_path / "fp8", {"model.safetensors": stored}, metadata)
    write(tmp_path / "float", {"model.safetensors": meant})
    wanted = velocity(LightFusion.load(tmp_path / "float", device="cpu"))
    widened = velocity(LightFusion.load(tmp_path / "fp8", device="cpu", dtype=torch.float32))
    assert torch.equal(widened, wanted)
    kept = velocity(LightFusion.load(tmp_path / "fp8", device="cpu"))  # the scale acts in the product: another order
    torch.testing.assert_close(kept, wanted, rtol=1e-4, atol=1e-4)
    assert (kept - expected[0]).norm() < 0.25 * expected[0].norm()  # guidance multiplies the rounding


def test_a_scaled_fp8_understanding_file_serves_a_plain_model(tmp_path: Path, expected: Expected) -> None:
    """The file that people own: a Qwen2.5-VL in ComfyUI's older form."""
    stored, _ = older_fp8(quantised(renamed(understanding(golden()), older_transformers), "scale_weight")[0], "")
    qwen = write(tmp_path / "qwen", {"qwen.safetensors": stored}) / "qwen.safetensors"
    model = write(tmp_path / "model", {"model.safetensors": generation(golden())})
    found = velocity(LightFusion.load(model, understanding=qwen, device="cpu"))
    assert 0 < (found - expected[0]).norm() < 0.25 * expected[0].norm()


# Memory


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
def test_float32_weights_stay_in_the_mapped_file(plain: Path) -> None:
    """No second copy: every parameter lies inside of the file's mapping."""
    model = LightFusion.load(plain, device="cpu", dtype=torch.float32)
    mapped = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith((str(plain / "model.safetensors"), str(plain / "vae.safetensors"))):
            mapped.append(tuple(int(end, 16) for end in line.split()[0].split("-")))
    for module in (model.understanding, model.generation, model.vae):
        for name, parameter in module.named_parameters():
            assert any(start <= parameter.data_ptr() < end for start, end in mapped), name


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    """A sparse file of 40 GB opens at once."""
    entry = {"dtype": "BF16", "shape": [200_000, 100_000], "data_offsets": [0, 40_000_000_000]}
    header = json.dumps({"model.language_model.embed_tokens.weight": entry}).encode()
    file = tmp_path / "huge.safetensors"
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        stream.truncate(8 + len(header) + 40_000_000_000)
    shape = Checkpoint.open(file).names("understanding")["model.language_model.embed_tokens.weight"]
    assert shape == (200_000, 100_000)


def test_data_that_begins_at_an_odd_byte(tmp_path: Path, expected: Expected) -> None:
    """Writers other than the library leave the header as long as it is."""
    whole = tmp_path / "whole.safetensors"
    save_file(golden(), whole)
    content = whole.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + length].rstrip() + b" "
    header += b" " * ((3 - len(header)) % 8)
    odd = write(tmp_path / "odd", {}) / "model.safetensors"
    odd.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    check(LightFusion.load(odd, device="cpu"), expected)


# The tokenizer


def test_the_tokenizer_is_found_beside_the_model_or_its_understanding(tmp_path: Path) -> None:
    from tiny import CONFIG, write_model, write_tokenizer

    model = write_model(tmp_path / "model", CONFIG, tokenizer=False, vae=False)
    assert LightFusion.load(model, device="cpu").tokenizer is None
    vlm = tmp_path / "vlm"
    vlm.mkdir()
    shutil.copyfile(model / "model.safetensors", vlm / "model.safetensors")
    write_tokenizer(vlm / "tokenizer.json")
    assert LightFusion.load(model, understanding=vlm, device="cpu").tokenizer.bos == 500
    assert LightFusion.load(model, tokenizer=vlm, device="cpu").tokenizer.bos == 500
    assert LightFusion.load(model, tokenizer=vlm / "tokenizer.json", device="cpu").tokenizer.bos == 500


def test_a_single_file_takes_no_tokenizer_from_the_folders_of_other_models(tmp_path: Path) -> None:
    from tiny import CONFIG, write_model, write_tokenizer

    model = write_model(tmp_path, CONFIG, tokenizer=False, vae=False)
    (tmp_path / "another").mkdir()
    write_tokenizer(tmp_path / "another" / "tokenizer.json")
    assert LightFusion.load(model / "model.safetensors", device="cpu").tokenizer is None
    assert LightFusion.load(model, device="cpu").tokenizer is not None


def test_a_tokenizer_of_vocabulary_and_merges_is_taken(plain: Path, tmp_path: Path) -> None:
    """The form that ComfyUI brings Qwen2.5's in; `convert` writes it as one file."""
    write_tokenizer(tmp_path / "tokenizer.json")
    model = json.loads((tmp_path / "tokenizer.json").read_text())
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(model["model"]["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    added = {str(number): {"content": word, "special": True} for word, number in SPECIAL.items()}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "unk_token": None})
    )
    found = LightFusion.load(plain, device="cpu", tokenizer=folder).tokenizer
    wanted = LightFusion.load(plain, device="cpu", tokenizer=tmp_path).tokenizer
    assert found.segment("a red circle") == wanted.segment("a red circle")
    Converter(plain, tmp_path / "out", tokenizer=folder).run()
    written = LightFusion.load(tmp_path / "out", device="cpu").tokenizer
    assert written.segment("a red circle") == wanted.segment("a red circle")
