"""What cannot be loaded is refused in one line that names the file, what was found and what to do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_layouts import config, generation, golden, golden_vae, quantised, understanding, with_conv3d, write
from headers import rewritten
from safetensors.torch import save_file
from torch import Tensor

from lightfusion_core import CheckpointError, ConfigError, LightFusion, LightFusionError

Tensors = dict[str, Tensor]
VLM = "vision_language_model.model.language_model."


def refusal(model: Path, *said: str, kind: type[LightFusionError] = CheckpointError, **paths: Path) -> str:
    """The one line with which loading is refused; all of `said` stands in it."""
    with pytest.raises(kind) as caught:
        LightFusion.load(model, device="cpu", **paths)
    line = str(caught.value)
    assert "\n" not in line
    assert line.endswith(".")
    assert ".." not in line
    for text in said:
        assert str(text) in line, line
    return line


def one_file(folder: Path, change: Callable[[Tensors], object]) -> Path:
    """The tiny model with one change, as a single file beside its config.json."""
    tensors = golden()
    change(tensors)
    return write(folder, {"model.safetensors": tensors}) / "model.safetensors"


# Files that are no model file, or not whole


def broken(folder: Path, content: bytes) -> Path:
    file = write(folder, {}) / "model.safetensors"
    file.write_bytes(content)
    return file


def whole(folder: Path) -> bytes:
    return one_file(folder, lambda tensors: None).read_bytes()


def test_a_file_cut_at_half(tmp_path: Path) -> None:
    content = whole(tmp_path)
    file = broken(tmp_path, content[: len(content) // 2])
    refusal(file, file, f"has {len(content) // 2:,} of its {len(content):,} bytes", "get it again")


def test_a_file_cut_in_its_header(tmp_path: Path) -> None:
    file = broken(tmp_path, whole(tmp_path)[:1000])
    refusal(file, file, "cut off inside of its header", "1,000 bytes", "get it again")


def test_a_file_with_something_behind_its_tensors(tmp_path: Path) -> None:
    file = broken(tmp_path, whole(tmp_path) + b"<html>")
    refusal(file, file, "6 bytes follow", "get it again")


@pytest.mark.parametrize("content", [b"", b"abc"])
def test_an_empty_file(tmp_path: Path, content: bytes) -> None:
    refusal(broken(tmp_path, content), "is not a safetensors file" if content else "is empty")


@pytest.mark.parametrize("content", [b'{"not": "a header"}' * 50, bytes(5000)])
def test_a_text_file_under_the_name(tmp_path: Path, content: bytes) -> None:
    file = broken(tmp_path, content)
    refusal(file, file, "is not a safetensors file", "get the safetensors version")


def test_a_git_lfs_pointer_and_a_gguf_file(tmp_path: Path) -> None:
    refusal(broken(tmp_path, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git-lfs pointer")
    refusal(broken(tmp_path, b"GGUF" + bytes(100)), "GGUF", "convert")


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str, writer: str) -> None:
    file, trap = tmp_path / name, tmp_path / "ran"
    if writer == "torch":
        torch.save({"weight": Trap(trap)}, file)
    else:
        file.write_bytes(pickle.dumps({"weight": Trap(trap)}))
    refusal(file, file, "pickle file, which can run any code", "safetensors version")
    assert not trap.exists()


def test_a_folder_of_pickles_an_empty_folder_and_nothing(tmp_path: Path) -> None:
    refusal(tmp_path, tmp_path, "holds no .safetensors file")
    torch.save({}, tmp_path / "model.pt")
    refusal(tmp_path, tmp_path, "model.pt", "pickle files alone")
    refusal(tmp_path / "nothing", "does not exist", "give a .safetensors file or a model folder")


@pytest.mark.parametrize(
    "value",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": "4", "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0]},
        {"dtype": 32, "shape": [4], "data_offsets": [0, 16]},
        {"shape": [4], "data_offsets": [0, 16]},
        [1, 2],
        None,
    ],
)
def test_a_damaged_header(tmp_path: Path, value: object) -> None:
    file = one_file(tmp_path, lambda tensors: None)
    refusal(rewritten(file, lambda header: header.update(x=value)), file, "header cannot be read", "get it again")


def test_tensors_that_overlap_in_the_file(tmp_path: Path) -> None:
    """The library's own checks count too."""
    file = one_file(tmp_path, lambda tensors: None)

    def overlap(header: dict) -> None:
        name = "vision_language_model.lm_head.weight"
        header[name] = dict(header[f"{VLM}embed_tokens.weight"])

    refusal(rewritten(file, overlap), file, "damaged")


# Other models, and parts that are not there


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    names = [f"model.diffusion_model.other_blocks.{i}.0.in_layers.2.weight" for i in range(4)]
    names += ["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"]
    file = tmp_path / "sd.safetensors"
    save_file({name: torch.zeros(8, 8) for name in names}, file)
    line = refusal(file, file, "has no generation tower", "5 tensors of unknown names", "lightfusion inspect")
    assert "other_blocks" in line or "cond_stage_model" in line
    save_file({"first_stage_model.encoder.conv_in.weight": torch.zeros(8, 3, 3, 3)}, file)
    refusal(file, file, "has no generation tower", "vae (1 tensors)")


@pytest.mark.parametrize("name", ["blocks.0.attn.qkv.weight", "blocks.final.weight", "patch_embedding.weight"])
def test_names_that_are_like_ours(tmp_path: Path, name: str) -> None:
    file = tmp_path / "vit.safetensors"
    save_file({name: torch.zeros(8, 8)}, file)
    refusal(file, file, "plain Wan model")
    save_file({name: torch.zeros(8, 8), "mm_attn_layers.x.weight": torch.zeros(())}, file)
    refusal(file, file)


def test_a_model_with_a_stranger(tmp_path: Path) -> None:
    file = one_file(tmp_path, lambda tensors: tensors.update({"lora_unet_up": torch.zeros(3)}))
    refusal(file, file, "1 tensors belong to no layout", "lora_unet_up")


def test_an_unknown_size_without_a_config(tmp_path: Path) -> None:
    save_file(golden(), tmp_path / "model.safetensors")
    refusal(
        tmp_path, tmp_path, "6 DiT blocks of width 96, 5 fusion layers and 4 VLM layers of width 128", "config.json"
    )


def test_no_generation_tower(tmp_path: Path) -> None:
    file = write(tmp_path, {"q.safetensors": understanding(golden())}) / "q.safetensors"
    refusal(file, file, "has no generation tower", "understanding (81 tensors)")


def test_a_plain_wan(tmp_path: Path) -> None:
    wan = {n: t for n, t in with_conv3d(generation(golden())).items() if "mm_attn" not in n and "vgen" not in n}
    file = write(tmp_path, {"wan.safetensors": wan}) / "wan.safetensors"
    refusal(file, file, "Wan blocks without fusion layers")


def test_no_understanding_tower(tmp_path: Path) -> None:
    file = write(tmp_path, {"g.safetensors": generation(golden())}) / "g.safetensors"
    refusal(file, file, "has no understanding tower", "--understanding PATH")


def test_an_understanding_or_vae_path_without_that_part(tmp_path: Path) -> None:
    files = {
        "g.safetensors": generation(golden()),
        "v.safetensors": golden_vae(),
        "q.safetensors": understanding(golden()),
    }
    write(tmp_path, files)
    model, vae, qwen = (tmp_path / f"{name}.safetensors" for name in "gvq")
    refusal(model, vae, "named for the understanding part", "vae (196 tensors)", understanding=vae)
    refusal(model, qwen, "named for the vae part", understanding=qwen, vae=qwen)
    refusal(model, "does not exist", understanding=tmp_path / "nothing.safetensors")


def remove(*parts: str) -> Callable[[Tensors], object]:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if any(part in name for part in parts)]:
            del tensors[name]

    return change


@pytest.mark.parametrize(
    ("part", "count"),
    [
        ("mm_attn_layers.2.", "15 tensors are missing (first: mm_attn_layers.2.llm_norm.weight)"),
        ("mm_attn_layers.4.", "15 tensors are missing (first: mm_attn_layers.4.llm_norm.weight)"),
        ("mm_attn_layers.1.mm_attn.k_norm", "1 tensor is missing (first: mm_attn_layers.1.mm_attn.k_norm.weight)"),
        ("vgen_model_cross_att_context", "1 tensor is missing (first: vgen_model_cross_att_context)"),
        ("visual.merger", "tensors are missing (first: model.visual.merger.ln_q.weight)"),
        ("layers.3.mlp", "3 tensors are missing"),
    ],
)
def test_a_missing_piece(tmp_path: Path, part: str, count: str) -> None:
    file = one_file(tmp_path, remove(f".{part}" if "context" not in part else part))
    refusal(file, file, "does not fit", count, "lightfusion inspect")


def test_a_missing_piece_of_the_vae(tmp_path: Path) -> None:
    vae = golden_vae()
    del vae["decoder.middle.1.proj.bias"]
    write(tmp_path, {"model.safetensors": golden(), "vae.safetensors": vae})
    refusal(tmp_path, "vae part", "decoder.mid_block.attentions.0.proj.bias")


def test_a_vae_with_other_channels(tmp_path: Path) -> None:
    vae = {name: t[:, :16] if name == "decoder.conv1.weight" else t for name, t in golden_vae().items()}
    vae |= {"conv2.weight": torch.zeros(16, 16, 1, 1, 1), "conv2.bias": torch.zeros(16)}
    write(tmp_path, {"model.safetensors": golden(), "vae.safetensors": vae})
    refusal(tmp_path, tmp_path, "this model's VAE", "16 values")


def test_something_unexpected(tmp_path: Path) -> None:
    extra = {"vgen_model.blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 96)}
    file = one_file(tmp_path, lambda tensors: tensors.update(extra))
    refusal(file, "1 tensor is unexpected (first: blocks.0.self_attn.q.lora_A.weight)")


# Configurations


def configured(folder: Path, change: Callable[[dict], object]) -> Path:
    write(folder, {"model.safetensors": golden()})
    said = config()
    change(said)
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def test_shapes_that_contradict_the_configuration(tmp_path: Path) -> None:
    configured(tmp_path, lambda said: said["vgen_config"].update(ffn_dim=256))
    refusal(
        tmp_path, tmp_path / "config.json", "of another shape", "blocks.0.ffn.0.weight is (192, 96), wanted (256, 96)"
    )


def test_a_vae_that_contradicts_the_configuration(tmp_path: Path) -> None:
    configured(tmp_path, lambda said: said.update(vae_config={"base_dim": 16, "decoder_base_dim": 8}))
    save_file(golden_vae(), tmp_path / "vae.safetensors")
    refusal(tmp_path, tmp_path / "config.json", "vae part", "of another shape")


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("text_config", {"hidden_size": 130}, "hidden_size 130 is not a multiple of its 4 heads"),
        ("fusion", {"num_layers": 4}, '5 ("max") or 3 ("min") fusion layers, found 4'),
        ("vgen_config", {"dim": "wide"}, "dim must be of type int, found 'wide'"),
        ("text_config", {"num_attention_heads": 0}, "num_attention_heads must be above 0, found 0"),
    ],
)
def test_a_configuration_that_contradicts_itself(tmp_path: Path, section: str, values: dict, said: str) -> None:
    configured(tmp_path, lambda config: config[section].update(values))
    refusal(tmp_path, tmp_path / "config.json", said, kind=ConfigError)


@pytest.mark.parametrize("content", [b'{"vgen_config": {"dim": 96', b"", b'{"vgen_config": {}} x', b"\xff\xfe"])
def test_a_configuration_that_is_not_json(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, {"model.safetensors": golden()})
    (tmp_path / "config.json").write_bytes(content)
    refusal(tmp_path, tmp_path / "config.json", "not readable as JSON", "repair it", kind=ConfigError)


@pytest.mark.parametrize("section", ["text_config", "vgen_config", "vision_config"])
def test_a_section_of_the_wrong_kind(tmp_path: Path, section: str) -> None:
    configured(tmp_path, lambda config: config.update({section: 7}))
    refusal(tmp_path, tmp_path / "config.json", kind=ConfigError)


# Values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "name",
    [f"{VLM}layers.1.mlp.up_proj.weight", "vgen_model.blocks.3.modulation", f"{VLM}mm_attn_layers.0.llm_norm.weight"],
)
def test_a_value_that_is_no_number(tmp_path: Path, name: str, value: float) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors[name].flatten()[7] = value

    refusal(one_file(tmp_path, spoil), tmp_path / "model.safetensors", name, "NaN or infinity", "get it again")


def test_infinities_that_cancel_in_a_sum_and_sums_that_overflow(tmp_path: Path) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors["vgen_model.head.head.bias"][:2] = torch.tensor([float("inf"), float("-inf")])

    refusal(one_file(tmp_path / "a", spoil), "head.head.bias", "NaN or infinity")

    def enlarge(tensors: Tensors) -> None:
        tensors["vision_language_model.lm_head.weight"].fill_(3e38)

    LightFusion.load(one_file(tmp_path / "b", enlarge), device="cpu")


def test_numbers_that_a_narrow_type_cannot_hold(tmp_path: Path) -> None:
    def enlarge(tensors: Tensors) -> None:
        tensors["vision_language_model.lm_head.weight"][0, 0] = 1e6

    file = one_file(tmp_path, enlarge)
    with pytest.raises(
        CheckpointError, match=r"lm_head.weight holds numbers beyond torch.float16: load it as bfloat16"
    ):
        LightFusion.load(file, device="cpu", dtype=torch.float16)


# fp8 whose scale is not known, and other forms of storage

ONE = f"{VLM}layers.0.mlp.up_proj"


def fp8(change: Callable[[Tensors], object], folder: Path, metadata: dict[str, str] | None = None) -> Path:
    stored = quantised(golden(), "scale_weight")[0]
    change(stored)
    return write(folder, {"model.safetensors": stored}, metadata) / "model.safetensors"


def with_scale(name: str, value: Tensor) -> Callable[[Tensors], object]:
    def change(tensors: Tensors) -> None:
        del tensors[f"{ONE}.scale_weight"]
        tensors[f"{ONE}.{name}"] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        remove(f"{ONE}.scale_weight"),
        with_scale("weight_scale_inv", torch.ones(2, 1)),
        with_scale("scale_weight", torch.ones(256, 1)),
        with_scale("scale_weight", torch.ones(0)),
        lambda tensors: tensors.update({f"{ONE}.weight_scale": torch.ones(())}),
        lambda tensors: tensors.update({f"{ONE}.weight_scale_2": torch.ones(())}),
        lambda tensors: tensors.update({f"{ONE}.pre_quant_scale": torch.ones(128)}),
    ],
)
def test_fp8_without_one_scale_of_a_known_layout(tmp_path: Path, change: Callable[[Tensors], object]) -> None:
    file = fp8(change, tmp_path)
    refusal(file, file, f"{ONE}.weight is F8_E4M3", "one number", "use a bf16 or a scaled fp8 file")


def test_fp8_of_a_whole_file_cast_without_scales(tmp_path: Path) -> None:
    cast = {name: tensor.to(torch.float8_e5m2) for name, tensor in golden().items()}
    file = write(tmp_path, {"model.safetensors": cast}) / "model.safetensors"
    refusal(file, file, "F8_E5M2 with no scale beside it")


@pytest.mark.parametrize("form", ["mxfp8", "nvfp4", None])
def test_a_quantisation_that_is_not_read(tmp_path: Path, form: str | None) -> None:
    said = {"layers": {ONE: {"format": form}}}
    file = fp8(lambda tensors: None, tmp_path / "header", {"_quantization_metadata": json.dumps(said)})
    refusal(file, file, f"{ONE}.weight is quantised as {form!r}", "float8_e4m3fn")
    layer = torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)
    file = fp8(lambda tensors: tensors.update({f"{ONE}.comfy_quant": layer}), tmp_path / "layer")
    refusal(file, file, f"{ONE}.weight is quantised as {form!r}")


@pytest.mark.parametrize("said", ["{", "[]", '{"layers": 3}'])
def test_a_description_that_cannot_be_read(tmp_path: Path, said: str) -> None:
    file = fp8(lambda tensors: None, tmp_path / "header", {"_quantization_metadata": said})
    refusal(file, file, "in a form that is not known")
    layer = torch.tensor(list(said.encode()), dtype=torch.uint8)
    file = fp8(lambda tensors: tensors.update({f"{ONE}.comfy_quant": layer}), tmp_path / "layer")
    refusal(file, file, f"{ONE}.weight is quantised as None")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_weights_that_are_no_floats(tmp_path: Path, dtype: torch.dtype) -> None:
    """Integers are quantised weights whose scheme is not known, with a scale beside them or not."""
    stored = {f"{ONE}.weight": torch.ones(256, 128).to(dtype), f"{ONE}.weight_scale": torch.ones(())}
    refusal(one_file(tmp_path, lambda tensors: tensors.update(stored)), f"{ONE}.weight is stored as", "not read")


def test_a_scale_beside_a_float_weight_counts(tmp_path: Path) -> None:
    """A weight is never used without a scale that stands beside it."""
    plain = LightFusion.load(one_file(tmp_path / "a", lambda tensors: None), device="cpu")
    scale = {f"{ONE}.scale_weight": torch.tensor(2.0)}
    scaled = LightFusion.load(one_file(tmp_path / "b", lambda tensors: tensors.update(scale)), device="cpu")
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    assert torch.equal(scaled.understanding.state_dict()[name], 2 * plain.understanding.state_dict()[name])


# Several files


def test_a_missing_shard(tmp_path: Path) -> None:
    write(tmp_path, {"a.safetensors": understanding(golden()), "b.safetensors": generation(golden())})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "c.safetensors"}}))
    refusal(index, index, "c.safetensors", "add it")
    refusal(tmp_path, index, "c.safetensors", "add it")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"weight_map": 3}', b"\xff", b'{"metadata": {}}'])
def test_an_index_that_is_none(tmp_path: Path, content: bytes) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(content)
    refusal(index, index, "has no weight_map")


def test_a_tensor_that_is_there_twice(tmp_path: Path) -> None:
    """Two files of one model in a folder: nobody can tell which is meant."""
    write(tmp_path, {"ema.safetensors": golden(), "other/model.safetensors": understanding(golden())})
    refusal(tmp_path, "is there twice", "ema.safetensors", "other/model.safetensors", "keep one")


def test_a_tensor_that_is_there_under_two_names(tmp_path: Path) -> None:
    tensors = generation(golden())
    twice = {"blocks.0.attn1.to_q.bias": tensors["blocks.0.self_attn.q.bias"]}
    file = one_file(tmp_path, lambda t: t.update(twice))
    refusal(file, "blocks.0.self_attn.q.bias is there twice", "blocks.0.attn1.to_q.bias")


def test_a_tokenizer_that_is_not_there(plain: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.raises(CheckpointError, match=r"tokenizer.json does not exist: give a tokenizer.json"):
            LightFusion.load(plain, tokenizer=path, device="cpu")
