"""Files made to take minutes, or all memory, are refused at once."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from headers import rewritten

from lightfusion_core import LightFusion, LightFusionError
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.checkpoints.report import inspect
from lightfusion_core.config import ModelConfig
from lightfusion_core.config_json import config_to_json

SECONDS = 5
"""Each takes far less; a busy machine may need more."""


def refused(model: Path, *said: str) -> None:
    """By loading, converting and the report, within seconds of processor time and in few words."""
    start = time.process_time()
    found = inspect(model)
    assert not found.is_sound
    for act in (lambda: LightFusion.load(model, device="cpu"), lambda: Converter(model, model.with_name("out"))):
        with pytest.raises(LightFusionError) as caught:
            act()
        line = str(caught.value)
        assert len(line) < 600
        assert all(text in line for text in said), line
    assert time.process_time() - start < SECONDS


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


BOMBS: list[tuple[str, dict]] = [
    ("text_config", {"num_hidden_layers": 10**9}),
    ("text_config", {"num_hidden_layers": 400}),
    ("text_config", {"vocab_size": 10**12}),
    ("text_config", {"hidden_size": 2**40, "num_attention_heads": 2**38}),
    ("vision_config", {"depth": 10**6}),
    ("vision_config", {"depth": 500}),
    ("vision_config", {"window_size": 1}),
    ("vision_config", {"fullatt_block_indexes": [0] * 20_000}),
    ("vgen_config", {"num_layers": 10**6}),
    ("vgen_config", {"text_len": 2**62}),
    ("vgen_config", {"freq_dim": 2**40}),
    ("fusion", {"num_layers": 10**6}),
    ("vae_config", {"num_res_blocks": 10**9}),
    ("vae_config", {"base_dim": 10**9}),
    ("vae_config", {"dim_mult": [10**9] * 4}),
    ("vae_image", {"max_area": 10**18}),
    ("defaults", {"steps": 10**9}),
    ("special_token_ids", {"bos_token_id": -1}),
    ("special_token_ids", {"newline_token_ids": [10**18]}),
]


@pytest.mark.parametrize(("section", "values"), BOMBS, ids=lambda value: str(value)[:50])
def test_sizes_beyond_any_model(model: Path, section: str, values: dict) -> None:
    said = json.loads((model / "config.json").read_text())
    said[section].update(values)
    (model / "config.json").write_text(json.dumps(said))
    refused(model, "config.json")


@pytest.mark.parametrize("extent", [10**5, 10**18, -1])
def test_an_extent_beyond_any_picture(model: Path, extent: int) -> None:
    said = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**said, "max_extent": extent}))
    refused(model, "max_extent")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_json_nested_a_hundred_thousand_deep(model: Path, name: str) -> None:
    (model / name).write_text(nested(100_000))
    refused(model, name)


def test_a_section_nested_a_thousand_deep(model: Path) -> None:
    text = (model / "config.json").read_text()
    for deep in (nested(900), nested(100_000)):
        (model / "config.json").write_text(text.replace('"hidden_size": 128', f'"hidden_size": {deep}'))
        refused(model, "config.json")


def test_a_description_of_layers_nested_too_deep(model: Path) -> None:
    rewritten(
        model / "model.safetensors",
        lambda header: header.update(
            {"__metadata__": {"_quantization_metadata": nested(100_000)}, "a.weight": header.popitem()[1]}
        ),
    )
    assert not inspect(model).is_sound
    with pytest.raises(LightFusionError):
        LightFusion.load(model, device="cpu")


HEADERS: list[Callable[[dict], object]] = [
    lambda header: header.update(x={"dtype": "F32", "shape": [2**62] * 300_000, "data_offsets": [0, 4]}),
    lambda header: header.update(x={"dtype": "F32", "shape": [1] * 300_000, "data_offsets": [0, 4]}),
    lambda header: header.update(x={"dtype": "F32", "shape": [2**63, 2], "data_offsets": [0, 4]}),
    lambda header: header.update(x={"dtype": "F32", "shape": [10**4000], "data_offsets": [0, 4]}),
    lambda header: header.update(
        {f"x{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(110_000)}
    ),
    lambda header: header.update(
        {"blocks.999999999.x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    ),
    lambda header: header.update(
        {"encoder.down_blocks.0.resnets.999999999.x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    "change", [pytest.param(one, marks=pytest.mark.slow if i == 4 else (), id=str(i)) for i, one in enumerate(HEADERS)]
)
def test_headers_beyond_any_file(model: Path, change: Callable[[dict], object]) -> None:
    rewritten(model / "model.safetensors", change)
    refused(model, "model")


def test_a_header_nested_too_deep(model: Path) -> None:
    text = f'{{"x": {nested(100_000)}}}'.encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    refused(model, "header cannot be read")


def test_the_limits_leave_room_for_the_large_model() -> None:
    assert json.loads(config_to_json(ModelConfig()))
