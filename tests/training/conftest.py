"""Data to learn from, and short trainings on a tiny model."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from small_trainings import Begin, write_picture
from tiny import write_model

from lightfusion_core import LightFusion
from lightfusion_core.training.data import read_examples
from lightfusion_core.training.draws import Dropout
from lightfusion_core.training.loop import Training
from lightfusion_core.training.settings import Settings


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Three pictures of two aspect ratios, with captions."""
    folder = tmp_path / "captions"
    for k, size in enumerate(((64, 64), (96, 64), (64, 64))):
        write_picture(folder / f"{k}.png", size, k)
        (folder / f"{k}.txt").write_text(f"picture {k}", encoding="utf-8")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two pairs of different sizes, with one instruction."""
    folder = tmp_path / "pairs"
    for k, size in enumerate(((64, 64), (64, 96))):
        write_picture(folder / "before" / f"{k}.png", size, 10 + k)
        write_picture(folder / "after" / f"{k}.png", size, 20 + k)
    (folder / "instruction.txt").write_text("change it", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A frozen and a coupled model's folders."""
    return {kind: write_model(tmp_path_factory.mktemp("model"), coupled=kind) for kind in (False, True)}


@pytest.fixture(scope="session")
def loaded(small_models: dict[bool, Path]) -> dict[bool, LightFusion]:
    """The same, of which a training gets copies of what it changes."""
    return {kind: LightFusion.load(folder, device="cpu") for kind, folder in small_models.items()}


@pytest.fixture
def begin(captions: Path, pairs: Path, tmp_path: Path, loaded: dict[bool, LightFusion]) -> Begin:
    """Start or go on with a training of a new tiny model in a folder; settings by name."""

    for package in ("accelerate", "peft"):
        pytest.importorskip(package, reason=f"a training takes {package}")

    def start(folder: str = "run", coupled: bool = False, **named: object) -> Training:
        given = {"steps": 6, "batch": 2, "rank": 2, "rate": 1e-3, "dropout": Dropout(0.3, 0.3, 0.5), "save_every": 100,
                 "sample_every": 0}  # fmt: skip
        sources = [read_examples(captions), read_examples(pairs)]
        of = loaded[coupled]
        training = Training(
            LightFusion(of.config, of.understanding, copy.deepcopy(of.generation), of.vae, of.tokenizer),
            sources,
            [1.0, 2.0],
            Settings(**(given | named)),
            tmp_path / folder,
            tmp_path / "encodings",
        )
        for index, shown in training.missing():
            training.encodings.encode(index, shown)
        return training

    return start
