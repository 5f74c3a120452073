"""Downloads that did not end well are told from models, by name and with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_layouts import golden, write
from safetensors.torch import load_file, save_file

from lightfusion_core import CheckpointError, ConfigError, LightFusion, LightFusionError
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.checkpoints.report import inspect

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 16\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n" * 20


def refusal(model: Path, *said: str, kind: type[LightFusionError] = CheckpointError) -> None:
    """Loading, converting and the report all say it."""
    lines = inspect(model).faults
    assert len(lines) == 1, lines
    for act in (lambda: LightFusion.load(model, device="cpu"), lambda: Converter(model, model.with_name("out"))):
        with pytest.raises(kind) as caught:
            act()
        lines.append(str(caught.value))
    for line in lines:
        assert all(text in line for text in said), line
        assert "\n" not in line


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_file_that_was_made_in_full_and_filled_in_part(model: Path, share: float) -> None:
    """Right size, whole header, zeros behind: it would load, and draw noise."""
    file = model / "model.safetensors"
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.truncate(int(size * share))
        stream.truncate(size)
    refusal(model, "model.safetensors", "is zero throughout", "cut off; get it again")


def test_a_hole_in_the_middle(model: Path) -> None:
    """Downloaders fetch several pieces side by side."""
    tensors = load_file(model / "vae.safetensors")
    next(t for n, t in tensors.items() if n.endswith("conv1.weight")).zero_()
    save_file(tensors, model / "vae.safetensors")
    refusal(model, "vae.safetensors", "conv1.weight is zero throughout")


def test_zeros_that_training_begins_with_are_taken(model: Path) -> None:
    """Fusion begins as none, a VAE's time is not used by pictures, and any vector may be zero."""
    for name in ("model", "vae"):
        tensors = load_file(model / f"{name}.safetensors")
        for key, tensor in tensors.items():
            begins = "o_und_proj" in key or "o_gen_proj" in key or "time_conv" in key or key.endswith("bias")
            if begins or key == "vgen_model_cross_att_context":
                tensor.zero_()
        save_file(tensors, model / f"{name}.safetensors")
    assert inspect(model).is_sound
    LightFusion.load(model, device="cpu")


def test_files_of_holes_may_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {name: torch.zeros_like(tensor) for name, tensor in golden().items()}
    model = write(tmp_path / "model", {"model.safetensors": tensors})
    refusal(model, "is zero throughout")
    monkeypatch.setenv("LIGHTFUSION_ALLOW_ZEROS", "1")
    assert inspect(model).is_sound
    LightFusion.load(model, device="cpu")


@pytest.mark.parametrize("ending", [".aria2", ".part", ".crdownload"])
def test_a_downloaders_notes_beside_a_file(model: Path, ending: str) -> None:
    (model / f"model.safetensors{ending}").touch()
    refusal(model, f"model.safetensors{ending} beside it", "let it end, or delete that")


def test_a_download_without_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").touch()
    for act in (inspect, LightFusion.load):
        with pytest.raises(CheckpointError, match=r"model.safetensors.part is a download that has not ended"):
            act(tmp_path)


@pytest.mark.parametrize(("content", "said"), [(POINTER, "git lfs pull"), (PAGE, "is a web page")])
@pytest.mark.parametrize("name", ["vae.safetensors", "config.json", "tokenizer.json"])
def test_what_was_saved_in_a_files_place(model: Path, name: str, content: bytes, said: str) -> None:
    (model / name).write_bytes(content)
    refusal(model, name, said, kind=ConfigError if name == "config.json" else CheckpointError)


@pytest.mark.parametrize(("content", "said"), [(POINTER, "git lfs pull"), (PAGE, "is a web page")])
def test_what_was_saved_in_an_indexs_place(tmp_path: Path, content: bytes, said: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(content)
    for act in (inspect, LightFusion.load):
        with pytest.raises(CheckpointError, match=said):
            act(index)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("vae_config", lambda values: values["std"].__setitem__(3, 0.0)),
        ("vae_config", lambda values: values["std"].__setitem__(3, float("nan"))),
        ("vae_config", lambda values: values["mean"].__setitem__(0, float("inf"))),
        ("vae_config", lambda values: values["mean"].__setitem__(0, float("-inf"))),
        ("vae_config", lambda values: values["preview_factors"][2].__setitem__(1, float("nan"))),
        ("text_config", lambda values: values.update(rope_theta=float("nan"))),
        ("vgen_config", lambda values: values.update(eps=float("inf"))),
        ("defaults", lambda values: values.update(shift=float("nan"))),
    ],
)
def test_values_that_no_model_can_have(model: Path, section: str, change: Callable[[dict], object]) -> None:
    said = json.loads((model / "config.json").read_text())
    change(said[section])
    (model / "config.json").write_text(json.dumps(said))
    refusal(model, "config.json", f"{section}: ", "must be", kind=ConfigError)
