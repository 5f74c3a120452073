"""A tiny random model behind the command line, in an empty folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import outcome
from command_results import Result
from PIL import Image
from tiny import CONFIG, write_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return write_model(tmp_path_factory.mktemp("cli"), replace(CONFIG, defaults=replace(CONFIG.defaults, steps=2)))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]):
    """Run a command line with the tiny model: (exit code, stdout, stderr)."""

    def call(*arguments: object, model: bool = True) -> Result:
        line = [str(argument) for argument in arguments]
        at = 2 if line[:1] == ["bench"] else 1  # behind the command; what comes later wins
        line[at:at] = ["--model", str(folder), "--device", "cpu"] if model else []
        return outcome(line, capsys)

    return call


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture file of 100 x 80 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((100, 80), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"
