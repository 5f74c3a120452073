"""The configuration: there and back through JSON, and every contradiction refused with its numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from tiny import CONFIG

from lightfusion_core import ConfigError, ModelConfig
from lightfusion_core.config import PRESETS
from lightfusion_core.config_json import config_from_dict, config_from_file, config_from_json, config_to_json

# The goldens' config.json, as it is: the authors' section names, with descriptive keys of no use to us.
GOLDEN = """{
 "note": "tiny random LightFusion",
 "text_config": {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
  "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 32768,
  "rms_norm_eps": 1e-06, "tie_word_embeddings": false, "rope_theta": 1000000.0, "use_sliding_window": false,
  "head_dim": 32, "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
  "attention_bias": "q,k,v yes; o no", "mlp_bias": false, "qk_norm": false},
 "vision_config": {"depth": 2, "hidden_size": 64, "hidden_act": "silu", "intermediate_size": 96, "num_heads": 4,
  "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2,
  "window_size": 112, "out_hidden_size": 128, "fullatt_block_indexes": [1], "mlp_bias": true,
  "norm": "RMSNorm eps 1e-6"},
 "vgen_config": {"model_type": "ti2v", "patch_size": [1, 2, 2], "text_len": 16, "in_dim": 48, "dim": 96,
  "ffn_dim": 192, "freq_dim": 64, "text_dim": 48, "out_dim": 48, "num_heads": 3, "num_layers": 6,
  "window_size": [-1, -1], "qk_norm": true, "cross_attn_norm": true, "eps": 1e-06, "num_train_timesteps": 1000,
  "vae_stride": [4, 16, 16], "patch_embedding": "linear (converted from Conv3d)"},
 "fusion": {"num_layers": 5, "num_layer_type": "max", "hidden_size": 96, "num_attention_heads": 3,
  "num_key_value_heads": 3, "head_dim": 32, "qk_norm": true, "rms_norm_eps": 1e-06, "layer_norm_eps": 1e-06,
  "bias": "q,k,v (und and gen) yes; o_und, o_gen no", "o_und_proj": "all zeros", "standalone_num_vlm_layers": 0},
 "special_token_ids": {"bos_token_id": 500, "eos_token_id": 501, "sov_token_id": 502, "eov_token_id": 503},
 "newline_token_ids": [10],
 "weight_seed": 20250613,
 "token_kinds": {"text": 0, "sov": 1, "eov": 2, "vit": 3, "vae_clean": 4, "vae_noisy": 5}
}"""


@pytest.mark.parametrize("config", [CONFIG, *PRESETS.values()], ids=lambda config: config.name)
def test_there_and_back_through_json(config: ModelConfig) -> None:
    """Guards a field that is written and not read, and tuples that come back as lists."""
    changed = replace(config, name="other", tasks=("edit",), max_extent=9)
    for one in (config, changed):
        again = config_from_json(config_to_json(one))
        assert again == one
        assert hash(again) == hash(one)


def test_every_field_is_read_back() -> None:
    """Guards new fields: each, changed in the JSON, must change the object."""
    data = json.loads(config_to_json(CONFIG))
    for section, values in data.items():
        if not isinstance(values, dict):
            continue
        for key, value in values.items():
            if isinstance(value, str):
                changed = {**data, section: {**values, key: "other"}}
                assert config_from_dict(changed) != CONFIG, f"{section}.{key}"
            elif key in ("steps", "max_area", "intermediate_size", "vocab_size", "rope_theta", "shift", "bos_token_id"):
                changed = {**data, section: {**values, key: value * 2}}
                assert config_from_dict(changed) != CONFIG, f"{section}.{key}"


def test_the_goldens_form() -> None:
    """Guards files that the authors' tools wrote."""
    config = config_from_json(GOLDEN)
    assert config.text == replace(CONFIG.text, max_position_embeddings=32768)
    assert (config.vision, config.dit, config.fusion) == (CONFIG.vision, CONFIG.dit, CONFIG.fusion)
    assert config.special_tokens == CONFIG.special_tokens
    assert config.vae == ModelConfig().vae
    assert config.token_size == 32


def test_the_large_model_is_the_default() -> None:
    """Guards the published sizes (REFERENCE.md part C) and that nothing more than `{}` is needed for them."""
    config = config_from_json("{}")
    assert config == ModelConfig() == PRESETS["7b-5b"]
    assert (config.text.head_dim, config.dit.head_dim, config.token_size, config.vision.token_size) == (
        128,
        128,
        32,
        28,
    )
    assert (config.text.num_hidden_layers, config.dit.num_layers, config.fusion.num_layers) == (28, 30, 29)
    assert (config.defaults.steps, config.defaults.shift, config.defaults.text_guidance) == (50, 4.0, 3.0)


def test_both_published_depths_of_fusion() -> None:
    """Guards rule B28: 29 is "max", 27 is "min"."""
    for layers in (29, 27):
        assert config_from_dict({"fusion": {"num_layers": layers}}).fusion.num_layers == layers


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        CONFIG.max_extent = 3  # type: ignore[misc]


Change = Callable[[dict], object]
SIX_HEADS = {"vgen_config": {"num_heads": 6}, "fusion": {"num_attention_heads": 6}}
CONTRADICTIONS: list[tuple[str, Change, tuple[str, ...]]] = [
    ("heads of the VLM", lambda d: d["text_config"].update(num_attention_heads=3), ("128", "3")),
    ("key-value heads", lambda d: d["text_config"].update(num_key_value_heads=3), ("4", "3")),
    ("sections", lambda d: d["text_config"].update(mrope_section=[4, 6, 7]), ("16", "17")),
    ("heads of the vision tower", lambda d: d["vision_config"].update(num_heads=5), ("64", "5")),
    ("vision head of 2", lambda d: d["vision_config"].update(num_heads=32), ("64", "32")),
    ("full attention", lambda d: d["vision_config"].update(fullatt_block_indexes=[1, 7]), ("7", "2")),
    ("vision width", lambda d: d["vision_config"].update(out_hidden_size=96), ("96", "128")),
    ("heads of the DiT", lambda d: d["vgen_config"].update(num_heads=7), ("96", "7")),
    ("head size of the DiT", lambda d: [d[s].update(change) for s, change in SIX_HEADS.items()], ("16", "32")),
    ("sinusoid", lambda d: d["vgen_config"].update(freq_dim=63), ("63",)),
    ("channels", lambda d: d["vgen_config"].update(out_dim=96), ("48", "96")),
    ("channels of the VAE", lambda d: d["vgen_config"].update(in_dim=16, out_dim=16), ("48", "16")),
    ("statistics", lambda d: d["vae_config"].update(mean=[0.0] * 47), ("48", "47")),
    ("deviations", lambda d: d["vae_config"].update(std=[1.0] * 49), ("48", "49")),
    ("preview", lambda d: d["vae_config"].update(preview_factors=[[0.0] * 3] * 5), ("48", "5")),
    ("downsampling", lambda d: d["vae_config"].update(temporal_downsample=[True]), ("3", "1")),
    ("fusion layers", lambda d: d["fusion"].update(num_layers=4), ("5", "3", "4")),
    ("fusion width", lambda d: d["fusion"].update(hidden_size=128), ("128", "96")),
    ("fusion heads", lambda d: d["fusion"].update(num_attention_heads=4), ("4", "3")),
    ("VAE image", lambda d: d["vae_image"].update(stride=16), ("16", "32")),
    ("ViT image", lambda d: d["vit_image"].update(stride=42), ("42", "28")),
    ("patch", lambda d: d["vgen_config"].update(patch_size=[1, 2, 4]), ("patch_size", "2, 4")),
    ("no heads", lambda d: d["text_config"].update(num_attention_heads=0), ("num_attention_heads", "0")),
    ("no key-value heads", lambda d: d["text_config"].update(num_key_value_heads=0), ("num_key_value_heads", "0")),
    ("no vision heads", lambda d: d["vision_config"].update(num_heads=0), ("num_heads", "0")),
    ("no DiT heads", lambda d: d["vgen_config"].update(num_heads=0), ("num_heads", "0")),
    ("negative depth", lambda d: d["vgen_config"].update(num_layers=-2), ("num_layers", "-2")),
    ("no stride", lambda d: d["vae_image"].update(stride=0), ("stride", "0")),
    ("no extent", lambda d: d.update(max_extent=0), ("max_extent", "0")),
]  # fmt: skip


@pytest.mark.parametrize(("change", "numbers"), [c[1:] for c in CONTRADICTIONS], ids=[c[0] for c in CONTRADICTIONS])
def test_contradictions_are_refused_with_their_numbers(change: Change, numbers: tuple[str, ...]) -> None:
    """Guards errors that a person can act on: what was found and what it contradicts."""
    data = json.loads(config_to_json(CONFIG))
    change(data)
    with pytest.raises(ConfigError) as caught:
        config_from_dict(data)
    for number in numbers:
        assert number in str(caught.value)


WRONG_KINDS: list[tuple[str, object, tuple[str, ...]]] = [
    ("text_config", {"hidden_size": "128"}, ("hidden_size", "int", "'128'")),
    ("text_config", {"hidden_size": 128.0}, ("hidden_size", "int", "128.0")),
    ("text_config", {"num_hidden_layers": True}, ("num_hidden_layers", "int", "True")),
    ("text_config", {"rms_norm_eps": "1e-6"}, ("rms_norm_eps", "float")),
    ("text_config", {"mrope_section": 16}, ("mrope_section", "list of int", "16")),
    ("text_config", {"mrope_section": ["4", "6", "6"]}, ("mrope_section",)),
    ("text_config", {"mrope_section": [40, 24]}, ("mrope_section", "3", "(40, 24)")),
    ("text_config", {"vocab_size": None}, ("vocab_size", "None")),
    ("vgen_config", {"patch_size": []}, ("patch_size",)),
    ("vgen_config", {"patch_size": "2"}, ("patch_size", "'2'")),
    ("vae_config", {"mean": ["0.0"] * 48}, ("mean",)),
    ("vae_config", {"preview_factors": [[0.1, 0.2]] * 48}, ("preview_factors",)),
    ("defaults", {"negative_prompt": 3}, ("negative_prompt", "str", "3")),
    ("special_token_ids", {"bos": 5}, ("bos", "str", "5")),
    ("text_config", 5, ("text_config", "5")),
    ("text_config", None, ("text_config", "None")),
    ("vision_config", [1, 2], ("vision_config",)),
    ("special_token_ids", "none", ("special_token_ids",)),
    ("name", 5, ("name", "5")),
    ("max_extent", "64", ("max_extent", "64")),
    ("tasks", "generate", ("tasks", "generate")),
    ("tasks", ["generate", "paint"], ("tasks", "paint")),
]


@pytest.mark.parametrize(("section", "values", "named"), WRONG_KINDS, ids=[f"{k[0]} {k[1]}"[:40] for k in WRONG_KINDS])
def test_values_of_the_wrong_kind_are_refused(section: str, values: object, named: tuple[str, ...]) -> None:
    """Guards a hand-edited file: the message names the key, not a line of ours."""
    with pytest.raises(ConfigError) as caught:
        config_from_dict({section: values})
    for name in named:
        assert name in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"text_config": {"hidden_size": 12,}}'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        config_from_json(text)


def test_unknown_descriptive_keys_are_passed_over() -> None:
    """Guards files of later releases and of other tools."""
    data = json.loads(config_to_json(CONFIG))
    data["comment"] = "mine"
    for section in data.values():
        if isinstance(section, dict):
            section["comment"] = {"by": "a person"}
    assert config_from_dict(data) == CONFIG


def test_whole_numbers_serve_as_floats() -> None:
    """Guards JSON writers that drop `.0`."""
    assert config_from_dict({"text_config": {"rope_theta": 1000000}, "defaults": {"shift": 4}}) == ModelConfig()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json"):
        config_from_file(file)
    file.write_text(config_to_json(CONFIG), encoding="utf-8")
    assert config_from_file(file) == CONFIG
    file.write_text(config_to_json(CONFIG), encoding="utf-8-sig")
    assert config_from_file(file) == CONFIG
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"config\.json"):
        config_from_file(file)
