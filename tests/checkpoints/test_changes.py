"""Files that change under a loaded model: said before a request, where memory would end the process or draw another
picture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from samples import ids, relative_error

from lightfusion_core import CheckpointError, LightFusion, Sampling
from lightfusion_core.checkpoints.memory import own_bytes
from lightfusion_core.checkpoints.model import open_model
from lightfusion_core.cli import main

PROMPT = ids("a star")


@pytest.fixture
def folder(model: Path) -> Path:
    return model


def cut_off(file: Path) -> None:
    os.truncate(file, 1000)


def overwrite(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(-5000, 2)
        stream.write(bytes(5000))


def replace(file: Path) -> None:
    shutil.copyfile(file, file.with_name("new"))
    os.replace(file.with_name("new"), file)


def draw(model: LightFusion) -> torch.Tensor:
    conditioning = model.encode(PROMPT, negative_prompt=PROMPT)
    return model.sample(conditioning, 64, 64, 0, Sampling(2))


@pytest.mark.parametrize("change", [cut_off, overwrite, replace, Path.unlink])
def test_a_request_ends_in_a_sentence(change: Callable[[Path], object], folder: Path) -> None:
    model = LightFusion.load(folder, device="cpu", dtype=torch.float32)
    conditioning = model.encode(PROMPT, negative_prompt=PROMPT)
    latent = model.sample(conditioning, 64, 64, 0, Sampling(1))
    change(folder / "model.safetensors")
    requests = (
        lambda: model.encode(PROMPT, negative_prompt=PROMPT),
        lambda: model.sample(conditioning, 64, 64, 0, Sampling(1)),
        lambda: model.decode(latent),
        lambda: list(model.answer("what?")),
    )
    for request in requests:
        with pytest.raises(CheckpointError, match=r"model.safetensors .* since it was opened.*mapped=False, --no-mmap"):
            request()


@pytest.mark.parametrize("change", [cut_off, pytest.param(overwrite, marks=pytest.mark.slow)])
def test_a_model_that_is_not_mapped_does_not_mind(change: Callable[[Path], object], folder: Path) -> None:
    mapped = draw(LightFusion.load(folder, device="cpu", dtype=torch.float32))
    model = LightFusion.load(folder, device="cpu", dtype=torch.float32, mapped=False)
    change(folder / "model.safetensors")
    assert relative_error(draw(model), mapped) < 1e-4  # kernels sum in an order of the memory's place


def test_weights_in_another_dtype_are_no_longer_the_files(folder: Path) -> None:
    model = LightFusion.load(folder, device="cpu", dtype=torch.bfloat16)
    backing = {file.path.name for file in model.residency.files}
    os.truncate(folder / "vae.safetensors", 1000)
    assert backing == {"model.safetensors"}  # what computes in float32 always
    draw(model)


def test_memory_is_counted_for_what_is_read(folder: Path) -> None:
    parts = ["understanding", "generation", "vae"]
    sizes = [own_bytes(open_model(folder, mapped=mapped), parts, torch.float32) for mapped in (True, False)]
    assert sizes[0] == 0
    weights = sum((folder / f"{name}.safetensors").stat().st_size for name in ("model", "vae"))
    assert 0.95 * weights < sizes[1] <= weights


def test_the_command_line_can_read_instead_of_mapping(folder: Path, tmp_path: Path) -> None:
    line = ["generate", "a star", "--model", str(folder), "--device", "cpu", "--steps", "1", "--quiet"]
    size = ["--width", "64", "--height", "64"]
    assert main([*line, *size, "--no-mmap", "-o", str(tmp_path / "read.png")]) == 0
    assert (tmp_path / "read.png").is_file()
