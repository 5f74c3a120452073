"""The mean of two trainings' weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tools.nano.average import average


def checkpoint(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A training's checkpoint, whose running mean is not its weights."""
    torch.save({"weights": {name: weight + 9 for name, weight in weights.items()}, "mean": weights}, path)
    return path


def test_the_running_means_are_averaged(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "first.pt", {"a": torch.tensor([1.0, 2.0])})
    second = checkpoint(tmp_path / "second.pt", {"a": torch.tensor([5.0, -2.0])})
    average(first, second, 0.25, second)
    made = torch.load(second, weights_only=True)
    assert made.keys() == {"weights", "mean"}
    assert all(torch.equal(made[part]["a"], torch.tensor([2.0, 1.0])) for part in made)


@pytest.mark.parametrize("other", [{"a": torch.zeros(3)}, {"b": torch.zeros(2)}])
def test_two_models_are_refused(other: dict[str, torch.Tensor], tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "first.pt", {"a": torch.zeros(2)})
    second = checkpoint(tmp_path / "second.pt", other)
    with pytest.raises(ValueError, match="differ in a"):
        average(first, second, 0.5, tmp_path / "made.pt")
    assert not (tmp_path / "made.pt").exists()
