"""The tiny random model behind `lightfusion evaluate`, and its data in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_data import CASES, Case
from command_line import outcome
from tiny import CONFIG, write_model

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, with positions enough for two references and a thought."""
    text = replace(CONFIG.text, max_position_embeddings=2048)
    return write_model(tmp_path_factory.mktemp("evaluate"), replace(CONFIG, text=text))


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Each of the eight benchmarks."""
    return request.param


@pytest.fixture
def data(case: Case, tmp_path: Path) -> Path:
    """Its data."""
    case.write(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `lightfusion evaluate NAME` with the tiny model in two steps: exit code, stdout, stderr."""

    def call(name: str, *arguments: object, model: bool = True) -> tuple[int, str, str]:
        given = ["--model", str(folder), "--device", "cpu", "--steps", "2"] if model else []
        return outcome(["evaluate", name, *given, *map(str, arguments)], capsys)

    return call
