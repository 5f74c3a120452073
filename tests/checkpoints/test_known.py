"""What was found out of files by reading them is remembered, and only for as long as they are the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny import write_model

from lightfusion_core import LightFusion
from lightfusion_core.checkpoints import loader
from lightfusion_core.checkpoints.known import known, remember
from lightfusion_core.errors import CheckpointError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lightfusion" / "known.json"


def test_a_fact_is_one_of_its_files_as_they_are(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(b"12")
    assert known(files, "fine") is None
    remember(files, "fine", False)
    assert known(files, "fine") is False
    assert known(files, "other") is None
    files[1].write_bytes(b"13")
    os.utime(files[1], ns=(0, files[0].stat().st_mtime_ns))
    assert known(files, "fine") is None
    assert known(files[:1], "fine") is False


def test_a_model_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = loader.first_not_finite
    monkeypatch.setattr(loader, "first_not_finite", lambda state: looked.append(len(state)) or look(state))
    folder = write_model(tmp_path / "model")
    LightFusion.load(folder, device="cpu")
    assert len(looked) == 3
    LightFusion.load(folder, device="cpu")
    assert len(looked) == 3


def test_a_load_reads_the_table_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "model")
    LightFusion.load(folder, device="cpu")
    read, parse = [], json.loads
    monkeypatch.setattr("lightfusion_core.checkpoints.known._parsed", None)
    monkeypatch.setattr(
        "lightfusion_core.checkpoints.known.json.loads",
        lambda text, **named: read.append("facts" in str(text)) or parse(text, **named),
    )
    LightFusion.load(folder, device="cpu")
    assert sum(read) == 1


def test_a_file_that_changes_is_looked_through_again(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    assert not LightFusion.load(folder, device="cpu").generation.coupled
    tensors = load_file(folder / "model.safetensors")
    next(tensor for name, tensor in tensors.items() if "o_und_proj" in name).fill_(0.1)
    save_file(tensors, folder / "model.safetensors")
    assert LightFusion.load(folder, device="cpu").generation.coupled
    next(tensor for name, tensor in tensors.items() if "o_und_proj" in name).fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="NaN"):
        LightFusion.load(folder, device="cpu")


@pytest.mark.parametrize("spoil", [Path.unlink, Path.mkdir, lambda file: file.write_text("[]"),
                                   lambda file: file.write_text('{"a": 1}')])  # fmt: skip
def test_a_cache_that_cannot_be_used_costs_nothing_else(
    spoil: Callable[[Path], object], tmp_path: Path, cache: Path
) -> None:
    folder = write_model(tmp_path / "model")
    LightFusion.load(folder, device="cpu")
    if spoil is Path.mkdir:
        cache.unlink()
    spoil(cache)
    LightFusion.load(folder, device="cpu")
