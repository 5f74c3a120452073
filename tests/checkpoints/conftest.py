"""The tiny model as it is, which every rewritten one must equal."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_layouts import golden, golden_vae, picture, velocity, write
from torch import Tensor

from lightfusion_core import LightFusion


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model and the VAE in one folder, as the authors name them."""
    files = {"model.safetensors": golden(), "vae.safetensors": golden_vae()}
    return write(tmp_path_factory.mktemp("plain"), files)


@pytest.fixture(scope="session")
def expected(plain: Path) -> tuple[Tensor, Tensor]:
    """Its velocity and its picture."""
    model = LightFusion.load(plain, device="cpu")
    return velocity(model), picture(model)
