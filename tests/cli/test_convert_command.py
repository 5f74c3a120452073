"""`lightfusion convert`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import write_model

from lightfusion_core import LightFusion
from lightfusion_core.fidelity import TIMESTEPS, velocities


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("source"))


@pytest.fixture
def convert(run):
    """Run `lightfusion convert`: (exit code, stdout, stderr)."""
    return lambda *arguments: run("convert", *arguments, model=False)


def test_it_prints_what_it_wrote_and_what_that_cost(convert, source: Path, tmp_path: Path) -> None:
    code, out, err = convert(source, tmp_path / "out", "--dtype", "fp8")
    assert code == 0
    assert "frozen, fp8" in out
    assert "left out: 15 tensors" in out
    assert "blocks.*.self_attn.q" in out
    assert "velocity of one request" in out
    assert f"at timestep {TIMESTEPS[0]}" in out
    assert "530/530" in err


def test_as_json_it_says_every_layer(convert, source: Path, tmp_path: Path) -> None:
    code, out, err = convert(source, tmp_path / "out", "--dtype", "fp8", "--json", "--quiet")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert set(said["files"]) == {"generation.safetensors", "understanding.safetensors", "vae.safetensors"}
    assert len(said["errors"]) == 530
    assert all(0 <= error["error"] < 0.05 for error in said["errors"])
    wanted = velocities(LightFusion.load(source, device="cpu"))
    found = velocities(LightFusion.load(tmp_path / "out", device="cpu"))
    for timestep, ours, theirs in zip(TIMESTEPS, found, wanted, strict=True):
        measured = float((ours - theirs).norm() / theirs.norm())
        assert said["velocity_errors"][str(timestep)] == pytest.approx(measured, rel=1e-3)
    assert max(said["velocity_errors"].values()) < 0.2


def test_what_is_dropped_is_compared_with_the_source_s(convert, source: Path, tmp_path: Path) -> None:
    code, out, _ = convert(source, tmp_path / "out", "--understanding", "drop", "--quiet")
    assert code == 0
    assert "left out: 81 tensors, the understanding tower" in out
    assert "velocity of one request" in out


def test_parts_alone_have_nothing_to_be_compared_with(convert, source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "one", "--quiet")
    (tmp_path / "one" / "understanding.safetensors").unlink()
    code, out, _ = convert(tmp_path / "one", tmp_path / "two", "--dtype", "fp8", "--quiet")
    assert code == 0
    assert "velocity" not in out


def test_a_large_model_is_compared_only_when_asked(
    convert, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfusion_core.commands.convert._SMALL", 0)
    assert "velocity" not in convert(source, tmp_path / "one", "--quiet")[1]
    assert "velocity" in convert(source, tmp_path / "two", "--quiet", "--check")[1]


def test_refusals_are_one_line(convert, source: Path, tmp_path: Path) -> None:
    code, out, err = convert(source, source, "--quiet")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert convert(source, tmp_path / "out", "--dtype", "int4")[0] == 2


@pytest.mark.slow
def test_the_request_reads_every_weight_that_a_step_reads(source: Path) -> None:
    """A change of any layer must show in the velocity that the command compares."""
    model = LightFusion.load(source, device="cpu")
    before = velocities(model)
    for part in (model.generation, model.understanding):
        for name, parameter in part.named_parameters():
            if name.startswith("lm_head") or ".language_model.norm." in name:  # text output alone
                continue
            kept = parameter.data.clone()
            parameter.data = kept + 0.3 * torch.randn(kept.shape, generator=torch.Generator().manual_seed(0))
            model.encoder.forget()
            changed = velocities(model)
            parameter.data = kept
            assert any(not torch.equal(a, b) for a, b in zip(changed, before, strict=True)), name
