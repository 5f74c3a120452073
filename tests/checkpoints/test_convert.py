"""What a converted model is: the same numbers within its form's error, in files that load anywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoint_layouts import (
    diffusers_wan,
    generation,
    golden,
    golden_vae,
    older_fusion,
    picture,
    quantised,
    renamed,
    understanding,
    velocity,
    with_conv3d,
    write,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from samples import relative_error
from tiny import CONFIG, write_model
from torch import Tensor

from lightfusion_core import LightFusion
from lightfusion_core.checkpoints.convert import Conversion, Converter
from lightfusion_core.checkpoints.keys import canonical, published
from lightfusion_core.checkpoints.quantise import takes_fp8
from lightfusion_core.checkpoints.report import inspect
from lightfusion_core.config import ModelConfig
from lightfusion_core.config_json import config_from_file, config_to_json

Expected = tuple[Tensor, Tensor]


def convert(source: Path, target: Path, **settings) -> Conversion:
    return Converter(source, target, **settings).run()


def layouts(folder: Path) -> dict[str, Path]:
    """One model in every layout that a source may have."""
    tensors, vae = golden(), golden_vae()
    plain = {"model.safetensors": tensors, "vae.safetensors": vae}
    found = {"folder": write(folder / "folder", plain), "single": write(folder / "single", plain)}
    parts = {"generation.safetensors": generation(tensors), "understanding.safetensors": understanding(tensors)}
    found["parts"] = write(folder / "parts", {**parts, "vae.safetensors": vae})
    names = sorted(tensors)
    halves = [{name: tensors[name] for name in part} for part in (names[::2], names[1::2])]
    files = [f"model-{i}-of-2.safetensors" for i in (1, 2)]
    found["shards"] = write(folder / "shards", dict(zip(files, halves, strict=True)) | {"vae.safetensors": vae})
    index = {name: file for file, half in zip(files, halves, strict=True) for name in half}
    (found["shards"] / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    older = renamed(with_conv3d(generation(tensors)), lambda name: older_fusion(diffusers_wan(name)))
    other = {"generation.safetensors": older, "understanding.safetensors": understanding(tensors)}
    found["diffusers"] = write(folder / "diffusers", {**other, "vae.safetensors": vae})
    return found


@pytest.mark.parametrize("layout", ["folder", "parts", "shards", "diffusers"])
def test_every_layout_gives_the_same_files(layout: str, tmp_path: Path) -> None:
    """Guards the streaming reader: pieces, shards, a permuted convolution and renamed tensors."""
    sources = layouts(tmp_path)
    one, other = tmp_path / "one", tmp_path / "other"
    convert(sources["single"], one, dtype="fp8")
    convert(sources[layout], other, dtype="fp8")
    for file in ("generation.safetensors", "understanding.safetensors", "vae.safetensors"):
        wanted, found = load_file(one / file), load_file(other / file)
        assert wanted.keys() == found.keys()
        assert all(torch.equal(found[name].float(), wanted[name].float()) for name in wanted)


@pytest.mark.parametrize(("dtype", "bound"), [("bf16", 0.01), ("fp8", 0.2)])
def test_what_is_drawn_is_nearly_the_same(
    dtype: str, bound: float, plain: Path, expected: Expected, tmp_path: Path
) -> None:
    """Of a random model, whose guided velocity multiplies every error; a trained one loses a tenth of it."""
    convert(plain, tmp_path / "out", dtype=dtype)
    model = LightFusion.load(tmp_path / "out", device="cpu")
    assert 0 < relative_error(velocity(model), expected[0]) < bound
    assert relative_error(picture(model), expected[1]) < 0.02


def test_bf16_stays_bit_for_bit(plain: Path, tmp_path: Path) -> None:
    """A second conversion has nothing left to round."""
    convert(plain, tmp_path / "once")
    done = convert(tmp_path / "once", tmp_path / "twice")
    assert {error.error for error in done.errors} == {0.0}
    for file in ("generation.safetensors", "understanding.safetensors", "vae.safetensors"):
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "twice" / file).read_bytes()


def test_fp8_is_never_quantised_twice(tmp_path: Path) -> None:
    """Somebody else's scales (no powers of two) are kept with their values."""
    stored, meant = quantised(generation(golden()), "weight_scale")
    taken = {name for name in stored if stored[name].dtype == torch.float8_e4m3fn and takes_fp8("generation", name)}
    source = write(
        tmp_path / "source", {"generation.safetensors": stored, "understanding.safetensors": understanding(golden())}
    )
    convert(source, tmp_path / "out", dtype="fp8")
    found = load_file(tmp_path / "out" / "generation.safetensors")
    for name in taken & found.keys():
        assert found[name].dtype == torch.float8_e4m3fn
        wide = found[name].float() * found[f"{name.removesuffix('.weight')}.scale_weight"]
        torch.testing.assert_close(wide, meant[name], rtol=1e-6, atol=0)


def test_errors_are_those_of_the_files(plain: Path, tmp_path: Path) -> None:
    """The table is computed while writing: it must be what a reader of both files finds."""
    done = convert(plain, tmp_path / "out", dtype="fp8")
    original, stored = generation(golden()), load_file(tmp_path / "out" / "generation.safetensors")
    worst = max((e for e in done.errors if e.part == "generation"), key=lambda e: e.error)
    assert worst.dtype == "F8_E4M3"
    wide = stored[worst.name].float() * stored[f"{worst.name.removesuffix('.weight')}.scale_weight"]
    assert relative_error(wide, original[worst.name]) == pytest.approx(worst.error, rel=1e-5)
    assert 0.01 < worst.error < 0.05
    text = str(done)
    assert "blocks.*.ffn.0" in text
    assert "worst" in text
    json.dumps(done.as_dict())


def test_a_sample_of_the_errors_is_nearly_all(tmp_path: Path) -> None:
    """Guards the default on matrices that are larger than a sample."""
    rows = 1 << 14
    source = write_model(tmp_path / "source", replace(CONFIG, text=replace(CONFIG.text, vocab_size=rows)))
    sampled, whole = (convert(source, tmp_path / measure, measure=measure).errors for measure in ("sample", "all"))
    assert {error.name for error in whole if error.numbers > rows} >= {"lm_head.weight"}
    for some, every in zip(sampled, whole, strict=True):
        assert some.error == (every.error if every.numbers <= 1 << 16 else pytest.approx(every.error, rel=0.03))
    assert sampled != whole


def test_scales_are_powers_of_two_and_reach_nearly_all_of_the_range(plain: Path, tmp_path: Path) -> None:
    convert(plain, tmp_path / "out", dtype="fp8")
    stored = load_file(tmp_path / "out" / "generation.safetensors")
    scales = [float(tensor) for name, tensor in stored.items() if name.endswith(".scale_weight")]
    assert scales
    assert all(torch.frexp(torch.tensor(scale))[0] == 0.5 for scale in scales)
    largest = [float(t.float().abs().max()) for t in stored.values() if t.dtype == torch.float8_e4m3fn and t.numel()]
    assert all(224 <= value <= 448 for value in largest)


def test_a_scaled_fp8_file_is_in_the_older_form(plain: Path, tmp_path: Path) -> None:
    """Both generations of ComfyUI read it: a marker, one scale without dimensions beside each weight, no more."""
    convert(plain, tmp_path / "out", dtype="fp8")
    for file in ("generation.safetensors", "understanding.safetensors"):
        with safe_open(tmp_path / "out" / file, "pt") as opened:
            assert "_quantization_metadata" not in opened.metadata()
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no dictionary)
        assert tensors.pop("scaled_fp8").dtype == torch.float8_e4m3fn
        for name, tensor in tensors.items():
            scale = tensors.get(f"{name.removesuffix('.weight')}.scale_weight") if name.endswith(".weight") else None
            assert (scale is not None) == (tensor.dtype == torch.float8_e4m3fn), name
            assert scale is None or (scale.shape == () and scale.dtype == torch.float32)


def test_tensors_are_mapped_and_not_copied(plain: Path, tmp_path: Path) -> None:
    """Every tensor starts at a multiple of its elements' size, which a reader needs to map it."""
    from lightfusion_core.checkpoints.header import ELEMENT_SIZES, read_header

    convert(plain, tmp_path / "out", dtype="fp8")
    for file in (tmp_path / "out").glob("*.safetensors"):
        header = read_header(file)
        assert header.fault is None
        assert all(entry.offset % ELEMENT_SIZES[entry.dtype] == 0 for entry in header.entries.values())


def test_a_frozen_model_loses_what_it_never_uses(plain: Path, tmp_path: Path) -> None:
    done = convert(plain, tmp_path / "out")
    assert not done.coupled
    assert sum(done.left_out.values()) == 15
    names = load_file(tmp_path / "out" / "generation.safetensors").keys()
    assert not [name for name in names if "q_und_proj" in name or "o_und_proj" in name]
    assert not inspect(tmp_path / "out").coupled


def test_a_coupled_model_keeps_everything(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", coupled=True)
    wanted = velocity(LightFusion.load(source, device="cpu"))
    done = convert(source, tmp_path / "out", dtype="fp8")
    model = LightFusion.load(tmp_path / "out", device="cpu")
    assert done.coupled
    assert model.generation.coupled
    assert not done.left_out
    assert relative_error(velocity(model), wanted) < 0.15


@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
def test_the_understanding_side_in_every_place(dtype: str, plain: Path, tmp_path: Path) -> None:
    """Kept, apart and dropped give one model, a dropped one with the tower from another conversion."""
    for place in ("keep", "separate", "drop"):
        convert(plain, tmp_path / place, dtype=dtype, understanding=place)
    files = {
        place: sorted(file.name for file in (tmp_path / place).iterdir()) for place in ("keep", "separate", "drop")
    }
    assert files["keep"] == ["config.json", "model.safetensors", "vae.safetensors"]
    assert files["drop"] == ["config.json", "generation.safetensors", "vae.safetensors"]
    assert files["separate"] == [
        "config.json",
        "generation.safetensors",
        "understanding.safetensors",
        "vae.safetensors",
    ]
    apart = tmp_path / "separate" / "understanding.safetensors"
    found = [
        velocity(LightFusion.load(tmp_path / "keep", device="cpu")),
        velocity(LightFusion.load(tmp_path / "separate", device="cpu")),
        velocity(LightFusion.load(tmp_path / "drop", device="cpu", understanding=apart)),
    ]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[2], found[1], rtol=0, atol=1e-5)


def test_a_stock_understanding_file_is_interchangeable(plain: Path, tmp_path: Path) -> None:
    """The names are those of the hub's and ComfyUI's Qwen2.5-VL files."""
    convert(plain, tmp_path / "out")
    names = load_file(tmp_path / "out" / "understanding.safetensors").keys()
    assert all(
        name.startswith(("visual.", "model.layers.", "model.embed_tokens", "model.norm", "lm_head")) for name in names
    )


def test_the_vae_has_wans_own_names(plain: Path, tmp_path: Path) -> None:
    """ComfyUI's own VAE loader knows Wan's names alone; a source under diffusers' gives them too."""
    convert(plain, tmp_path / "out")
    assert load_file(tmp_path / "out" / "vae.safetensors").keys() == golden_vae().keys()
    depth = ModelConfig().vae.num_res_blocks
    for name in golden_vae():
        part, ours = canonical(name)
        assert published(part, ours, depth) == name
    source = write_model(tmp_path / "diffusers")  # its VAE is under diffusers' names
    convert(source, tmp_path / "other")
    assert load_file(tmp_path / "other" / "vae.safetensors").keys() == golden_vae().keys()


def test_configuration_and_tokenizer_come_along(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source")
    convert(source, tmp_path / "out")
    assert config_from_file(tmp_path / "out" / "config.json") == config_from_file(source / "config.json")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert LightFusion.load(tmp_path / "out", device="cpu").encode("a word").full.segments


def test_a_generation_side_alone_is_converted_again(plain: Path, tmp_path: Path) -> None:
    """From bf16 to fp8 without the rest of the model at hand."""
    convert(plain, tmp_path / "bf16")
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("generation.safetensors", "config.json"):
        (tmp_path / "bf16" / name).rename(alone / name)
    done = convert(alone, tmp_path / "fp8", dtype="fp8")
    assert list(done.files) == ["generation.safetensors"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_tensors(tmp_path: Path) -> None:
    """Guards the pieces: a matrix of 256 MB passes through in less than 1.2 times that (in one process of its own,
    where reading whole tensors, or mapping the file, takes several times it)."""
    import subprocess
    import sys

    source = write_model(tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    rows = 1 << 19
    tensors["vision_language_model.model.language_model.embed_tokens.weight"] = torch.ones(rows, 128)
    tensors["vision_language_model.lm_head.weight"] = torch.ones(rows, 128)
    save_file(tensors, source / "model.safetensors")
    said = json.loads(config_to_json(CONFIG))
    said["text_config"]["vocab_size"] = rows
    (source / "config.json").write_text(json.dumps(said))
    program = """
import resource, sys
from lightfusion_core.checkpoints.convert import Converter
converter = Converter(sys.argv[1], sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
converter.run()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program, source, tmp_path / "out"], cwd=root, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 300
