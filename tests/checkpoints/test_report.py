"""The report says what a file is and lists all that is wrong with it, as far as its headers go."""

from __future__ import annotations

import json
import struct
from math import prod
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
    quantised,
    renamed,
    understanding,
    with_conv3d,
    write,
)
from safetensors.torch import save_file

from lightfusion_core.checkpoints.loader import build_generation, build_understanding
from lightfusion_core.checkpoints.model import read_config
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.checkpoints.report import Report, inspect
from lightfusion_core.config import PRESETS

SOUND = "Every tensor is there in its shape, and nothing else is."


def report(folder: Path, **files: dict[str, torch.Tensor]) -> Report:
    """The report on a folder with these files; its JSON form must be JSON."""
    found = inspect(write(folder, {f"{name}.safetensors": tensors for name, tensors in files.items()}))
    assert json.loads(json.dumps(found.as_dict()))["kind"] == found.kind
    return found


def test_a_complete_model(plain: Path) -> None:
    found = inspect(plain)
    assert found.is_sound
    assert found.kind == "a complete LightFusion"
    assert found.coupled is False
    assert (found.fusion_layers, found.fusion_kind, found.needs) == (5, "max", [])
    assert found.configuration == str(plain / "config.json")
    assert [(part.name, part.tensors, part.dtypes) for part in found.parts] == [
        ("understanding", 81, {"F32": 81}), ("generation", 268, {"F32": 268}), ("vae", 196, {"F32": 196}),
    ]  # fmt: skip
    assert sum(part.parameters for part in found.parts[:2]) == sum(t.numel() for t in golden().values())
    assert sum(part.bytes for part in found.parts) == 4 * sum(part.parameters for part in found.parts)
    text = str(found)
    assert SOUND in text
    assert "frozen: fusion leaves" in text
    assert "behind vgen_model." in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_coupled_model_of_the_older_names(tmp_path: Path) -> None:
    tensors = renamed(golden(), older_fusion)
    name = next(name for name in tensors if name.endswith("o_und_proj.weight"))
    tensors[name] = torch.ones_like(tensors[name])
    found = report(tmp_path, model=tensors)
    assert found.coupled
    assert found.is_sound
    assert found.kind == "a complete LightFusion without a VAE"
    assert "cross_attn_layers" in str(found)
    assert "coupled: fusion also" in str(found)


def test_a_model_without_a_name_has_its_folders(tmp_path: Path) -> None:
    """Guards another model's name in reports and in a picture's metadata."""
    folder = write(tmp_path / "painter", {"model.safetensors": golden()})
    config = json.loads((folder / "config.json").read_text())
    config.pop("name", None)
    (folder / "config.json").write_text(json.dumps(config))
    assert read_config(Checkpoint.open(folder)).name == "painter"


def test_a_model_with_fewer_fusion_layers_is_min(tmp_path: Path) -> None:
    tensors = {n: t for n, t in golden().items() if "mm_attn_layers.3." not in n and "mm_attn_layers.4." not in n}
    folder = write(tmp_path, {"model.safetensors": tensors})
    config = json.loads((folder / "config.json").read_text())
    config["fusion"]["num_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    found = inspect(folder)
    assert (found.fusion_layers, found.fusion_kind, found.is_sound) == (3, "min", True)


def test_parts_alone(tmp_path: Path) -> None:
    wan = {n: t for n, t in with_conv3d(generation(golden())).items() if "mm_attn" not in n and "vgen" not in n}
    found = report(tmp_path / "wan", model=renamed(wan, diffusers_wan))
    assert found.kind == "a plain Wan DiT without fusion"
    assert found.is_sound
    assert "diffusers' WanTransformer3DModel" in str(found)
    found = report(tmp_path / "tower", model=renamed(generation(golden()), lambda n: f"model.diffusion_model.{n}"))
    assert found.kind == "LightFusion's generation tower"
    assert found.is_sound
    assert len(found.needs) == 2
    assert "--understanding PATH" in str(found)
    assert "--vae PATH" in str(found)
    found = report(tmp_path / "qwen", model=renamed(understanding(golden()), older_transformers))
    assert found.kind == "a Qwen2.5-VL"
    assert found.is_sound
    assert "the older way" in str(found)
    assert report(tmp_path / "vae", model=golden_vae()).kind == "a Wan2.2 VAE"
    found = report(tmp_path / "two", q=understanding(golden()), v=golden_vae())
    assert found.kind == "a Qwen2.5-VL and a Wan2.2 VAE"


def test_scaled_fp8_is_told_from_fp8_that_is_not(tmp_path: Path) -> None:
    stored = quantised(understanding(golden()), "scale_weight")[0] | {"scaled_fp8": torch.zeros(0)}
    found = report(tmp_path / "scaled", model=stored)
    dtypes = found.parts[0].dtypes
    assert set(dtypes) == {"F8_E4M3 scaled (scale_weight)", "F32"}
    assert sum(dtypes.values()) == 81
    assert found.is_sound
    assert found.parts[0].tensors == 81
    found = report(tmp_path / "cast", model={n: t for n, t in stored.items() if not n.endswith("scale_weight")})
    number = dtypes["F8_E4M3 scaled (scale_weight)"]
    assert found.parts[0].dtypes["F8_E4M3 (not readable)"] == number
    assert len(found.faults) == 1
    assert f"And {number - 1} more like it." in found.faults[0]
    assert not found.is_sound


def test_every_difference_is_listed(tmp_path: Path) -> None:
    tensors = golden()
    gone = [
        name for name in tensors if "mm_attn_layers.2." in name and "q_und_proj" not in name and "o_und" not in name
    ]
    for name in gone:
        del tensors[name]
    tensors |= {
        "vgen_model.head.head.bias": torch.zeros(7),
        "vgen_model.blocks.0.more": torch.zeros(1),
        "vgen_model.blocks.1.more": torch.zeros(1),
        "lora_thing": torch.zeros(2, 3),
    }
    found = report(tmp_path, model=tensors)
    difference = found.parts[1].difference
    assert len(difference.missing) == len(gone) == 15
    assert difference.unexpected == ["blocks.0.more", "blocks.1.more"]
    assert difference.misshapen == [("head.head.bias", (7,), (192,))]
    text = str(found)
    assert all(f"  generation: {name}" in text for name in (*difference.missing, *difference.unexpected))
    assert "  generation: head.head.bias is [7], wanted [192]" in text
    assert "  lora_thing F32 [2, 3]" in text
    assert "15 tensors missing:" in text
    assert "1 tensor of unknown names:" in text
    assert SOUND not in text
    said = found.as_dict()
    assert said["unknown"] == [{"name": "lora_thing", "dtype": "F32", "shape": [2, 3]}]
    assert said["sound"] is False
    assert said["parts"][1]["difference"]["misshapen"] == [{"name": "head.head.bias", "found": [7], "wanted": [192]}]


def test_another_model(tmp_path: Path) -> None:
    found = report(tmp_path, model={"double_blocks.0.img_attn.qkv.weight": torch.zeros(4, 4)})
    assert (found.kind, found.is_sound, found.parts) == ("a FLUX diffusion model", False, [])
    found = report(tmp_path / "unknown", model={"other_blocks.0.img_attn.qkv.weight": torch.zeros(4, 4)})
    assert (found.kind, found.is_sound, found.parts) == ("unknown", False, [])
    assert "other_blocks.0.img_attn.qkv.weight F32 [4, 4]" in str(found)
    found = report(tmp_path / "like", model={"encoder.conv_in.weight": torch.zeros(4, 4, 3, 3)})
    assert found.kind == "unknown"
    assert found.parts[0].layout == "not recognised"
    assert SOUND not in str(found)


def test_a_file_that_is_cut_off_is_told_by_its_header(tmp_path: Path) -> None:
    file = write(tmp_path, {"model.safetensors": golden()}) / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:400_000])
    found = inspect(file)
    assert found.kind == "a complete LightFusion without a VAE"
    assert not found.is_sound
    assert found.coupled is None
    assert len(found.faults) == 1
    assert "400,000 of its" in found.faults[0]
    assert "problem: " in str(found)
    assert not found.parts[0].difference
    file.write_bytes(content[:1000])
    found = inspect(file)
    assert found.kind == "unknown"
    assert "inside of its header" in found.faults[0]


def test_a_folder_in_which_one_file_is_broken(tmp_path: Path) -> None:
    write(tmp_path, {"model.safetensors": golden(), "twice.safetensors": generation(golden())})
    (tmp_path / "text.safetensors").write_text("nothing of the kind")
    found = inspect(tmp_path)
    assert found.kind == "a complete LightFusion without a VAE"
    assert "text.safetensors is not a safetensors file" in "".join(found.faults)
    assert len(found.doubles) == 268
    assert "268 tensors there twice:" in str(found)
    assert found.doubles[0].endswith("in twice.safetensors")
    assert not found.is_sound


def test_a_missing_shard(tmp_path: Path) -> None:
    write(tmp_path, {"a.safetensors": understanding(golden())})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    for path in (tmp_path, index):
        found = inspect(path)
        assert found.kind == "a Qwen2.5-VL"
        assert not found.is_sound
        assert "b.safetensors" in found.faults[0]


def test_a_configuration_that_says_nothing_sensible(tmp_path: Path) -> None:
    folder = write(tmp_path, {"model.safetensors": golden()})
    (folder / "config.json").write_text('{"vgen_config": {"dim": 95}}')
    found = inspect(folder)
    assert found.kind == "a complete LightFusion without a VAE"
    assert found.configuration is None
    assert "config.json: vgen_config: dim 95" in found.faults[0]
    assert found.parts[0].difference is None
    (folder / "config.json").unlink()
    found = inspect(folder)
    assert "no LightFusion model is known with 6 DiT blocks" in found.faults[0]


def test_a_full_size_model_is_recognised_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a config.json, from a sparse file of 29 GB."""
    monkeypatch.setenv("LIGHTFUSION_ALLOW_ZEROS", "1")
    config = PRESETS["7b-5b"]
    shapes = {name: tuple(t.shape) for name, t in build_understanding(config).state_dict().items()}
    tower = build_generation(config, coupled=False, dtype=torch.bfloat16)
    shapes |= {f"model.diffusion_model.{name}": tuple(t.shape) for name, t in tower.state_dict().items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + 2 * prod(shape)]}
        end += 2 * prod(shape)
    said = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(said)) + said)
        stream.truncate(8 + len(said) + end)
    found = inspect(file)
    assert found.kind == "a complete LightFusion without a VAE"
    assert found.is_sound, str(found)
    assert found.configuration == "the preset lightfusion-7b-5b"
    assert found.fusion_kind == "max"
    assert round(found.parts[0].parameters / 1e9, 2) == 8.29
    save_file({"lm_head.weight": torch.zeros(2, 2)}, tmp_path / "lonely.safetensors")
    assert inspect(tmp_path / "lonely.safetensors").kind == "unknown"
