"""Models are found in the layouts in which hubs, trainers and people keep them."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightfusion_core import CheckpointError, LightFusion
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.checkpoints.report import inspect

HASH = "0123456789abcdef"


def cache_of(model: Path, place: Path, commit: str = HASH) -> Path:
    """A hub's cache of one model: files under their hashes, and snapshots that are links to them."""
    (place / "blobs").mkdir(parents=True, exist_ok=True)
    (place / "snapshots" / commit).mkdir(parents=True)
    for number, file in enumerate(sorted(model.iterdir())):
        blob = f"{commit}{number}"
        shutil.copyfile(file, place / "blobs" / blob)
        (place / "snapshots" / commit / file.name).symlink_to(Path("..", "..", "blobs", blob))
    return place


def test_a_hubs_cache_and_its_snapshot(model: Path, tmp_path: Path) -> None:
    cache = cache_of(model, tmp_path / "models--OWNER--NAME")
    for path in (cache, cache / "snapshots" / HASH):
        assert inspect(path).is_sound
        loaded = LightFusion.load(path, device="cpu")
        assert loaded.tokenizer is not None
        assert loaded.config.name == "tiny"


def test_of_several_snapshots_the_one_that_the_hub_names(model: Path, tmp_path: Path) -> None:
    cache = cache_of(model, tmp_path / "models--OWNER--NAME", "a" * 16)
    cache_of(model, cache, "b" * 16)
    (cache / "refs").mkdir()
    for commit in ("a" * 16, "b" * 16):
        (cache / "refs" / "main").write_text(commit)
        assert Checkpoint.open(cache).path.name == commit
    for outside in ("..", "/", "../../other", "none", "\0"):
        (cache / "refs" / "main").write_text(outside)
        assert Checkpoint.open(cache).path.parent == cache / "snapshots"


def test_endings_in_capitals(model: Path) -> None:
    (model / "model.safetensors").rename(model / "MODEL.SAFETENSORS")
    assert inspect(model).is_sound
    index = model / "Model.SafeTensors.Index.JSON"
    index.write_text(json.dumps({"weight_map": {"x": "MODEL.SAFETENSORS"}}))
    assert Checkpoint.open(index).names("generation")


def test_a_folder_of_models_names_one_of_them(model: Path, tmp_path: Path) -> None:
    deep = tmp_path / "models" / "OWNER" / "NAME"
    deep.parent.mkdir(parents=True)
    model.rename(deep)
    with pytest.raises(CheckpointError, match=f"give the folder of one model, such as {deep}"):
        LightFusion.load(tmp_path / "models", device="cpu")


def test_hidden_folders_are_no_part_of_a_model(model: Path) -> None:
    (model / ".cache").mkdir()
    shutil.copyfile(model / "model.safetensors", model / ".cache" / "model.safetensors")
    assert inspect(model).is_sound


def test_shards_named_on_windows(model: Path) -> None:
    (model / "shards").mkdir()
    (model / "model.safetensors").rename(model / "shards" / "model.safetensors")
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "shards\\model.safetensors"}}))
    assert Checkpoint.open(index).names("generation")


@pytest.mark.parametrize("name", ["../other.safetensors", "{}/other.safetensors", "..\\other.safetensors", "C:/other"])
def test_no_file_outside_of_an_indexs_folder_is_opened(name: str, model: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "other.safetensors")  # who opened it would wait for ever
    name = name.format(tmp_path)
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "model.safetensors", "y": name}}))
    found = inspect(index)
    assert len(found.faults) == 1
    assert "outside of its folder and is not opened" in found.faults[0]
    assert [file.name for file in found.files] == ["model.safetensors"]
    with pytest.raises(CheckpointError, match="outside of its folder"):
        LightFusion.load(index, device="cpu")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    for act in (inspect, LightFusion.load):
        with pytest.raises(CheckpointError, match="is a device or a pipe"):
            act(tmp_path / "model.safetensors")


def trained(folder: Path, model: Path) -> Path:
    """What the authors' trainer leaves: the weights and their average, in float32, and nothing else."""
    folder.mkdir()
    tensors = load_file(model / "model.safetensors")
    save_file(tensors, folder / "model.safetensors")
    save_file({name: tensor * 0.5 for name, tensor in tensors.items()}, folder / "ema.safetensors")
    shutil.copyfile(model / "config.json", folder / "config.json")  # of a size that no preset has
    return folder


def test_of_a_trainers_folder_the_average_is_taken(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = trained(tmp_path / "run", model)
    found = inspect(folder)
    assert found.is_sound
    assert [file.name for file in found.files] == ["ema.safetensors"]
    text = " ".join(str(found).split())
    assert "ema.safetensors is taken, the average of the weights in model.safetensors" in text
    assert f"`lightfusion convert {folder} FOLDER`" in text
    with caplog.at_level(logging.WARNING, logger="lightfusion_core"):
        loaded = LightFusion.load(folder, device="cpu")
    assert "is taken, the average" in caplog.text
    wanted = LightFusion.load(model, device="cpu")
    assert torch.equal(loaded.generation.blocks[0].ffn[0].weight, wanted.generation.blocks[0].ffn[0].weight * 0.5)


def test_what_was_not_trained_comes_from_beside_the_average(model: Path, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", model)
    average = {n: t for n, t in load_file(folder / "ema.safetensors").items() if "visual" not in n}
    save_file(average, folder / "ema.safetensors")
    assert inspect(folder).is_sound
    assert {file.name for file in Checkpoint.open(folder).used_files()} == {"ema.safetensors", "model.safetensors"}
