"""The tiny model as it is, which every rewritten one must equal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from checkpoint_layouts import golden, golden_vae, picture, velocity, write
from tiny import write_model
from torch import Tensor

from lightfusion_core import LightFusion


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model and the VAE in one folder, as the authors name them."""
    files = {"model.safetensors": golden(), "vae.safetensors": golden_vae()}
    return write(tmp_path_factory.mktemp("plain"), files)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder, not to be written into."""
    return write_model(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.fixture(scope="session")
def expected(plain: Path) -> tuple[Tensor, Tensor]:
    """Its velocity and its picture."""
    model = LightFusion.load(plain, device="cpu")
    return velocity(model), picture(model)
