"""Runs: what was stopped goes on bit for bit, and whatever ends a run leaves whole files."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import Begin
from torch import Tensor

from lightfusion_core import LightFusion
from lightfusion_core.checkpoints.lora_names import change
from lightfusion_core.errors import CapabilityError, DeviceMemoryError, InputError, LightFusionError
from lightfusion_core.training import files
from lightfusion_core.training.adapters import PREFIX, RECORD, lora_layers
from lightfusion_core.training.files import read_tensors
from lightfusion_core.training.loop import LORA, SETTINGS, WHOLE, Training
from lightfusion_core.training.settings import Settings
from lightfusion_core.training.state import CHECKPOINT


def _equal(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _until(training: Training, step: int) -> None:
    done: list[int] = []
    stopped = not training.run(lambda k, loss: done.append(k), stop=lambda: training.state.step >= step)
    assert stopped and done[-1] == training.state.step == step


def test_a_stopped_run_is_the_unbroken_one(begin: Begin, tmp_path: Path) -> None:
    """Bit for bit: weights, their average, the optimiser's states, the log; and longer than was first asked for."""
    state = torch.get_rng_state()
    assert begin("whole", steps=7).run()
    _until(begin("parts", steps=5), 2)
    begin("parts", steps=5, save_every=2).run()
    begin("parts", steps=7).run()
    assert torch.equal(torch.get_rng_state(), state), "a training touched the global random state"
    for name in (CHECKPOINT, LORA):
        assert _equal(tmp_path / "whole" / name, tmp_path / "parts" / name), name
    moved = load_file(tmp_path / "whole" / LORA)
    assert all(tensor.any() for name, tensor in moved.items() if name.endswith("lora_B.weight"))


def test_the_lora_has_the_names_that_loaders_want(begin: Begin, tmp_path: Path) -> None:
    """Every layer that it changes, under the pack's own reading of names; its settings in the metadata."""
    training = begin(steps=1, alpha=1.0)
    training.run()
    found = read_tensors(tmp_path / "run" / LORA)
    assert found is not None
    tensors, metadata = found
    changes = {key: change(key) for key in tensors}
    assert all(one is not None and one.part == "generation" for one in changes.values())
    layers = set(lora_layers(training.model.generation))
    assert {one.parameter.removesuffix(".weight") for one in changes.values() if one} == layers
    assert all(key.startswith(PREFIX) for key in tensors)
    assert {float(tensor) for key, tensor in tensors.items() if key.endswith(".alpha")} == {1.0}
    record = json.loads(metadata[RECORD])
    assert record["rank"] == 2 and record["steps"] == record["step"] == 1 and record["base"] == "tiny"
    assert record == json.loads((tmp_path / "run" / SETTINGS).read_text())
    assert {kind.kind for kind in changes.values() if kind} == {"lora_down.weight", "lora_up.weight", "alpha"}


def test_the_average_is_the_result(begin: Begin, tmp_path: Path) -> None:
    """And the weights are the last ones again after samples were drawn with it."""
    training, drawn = begin(steps=3), []
    name = next(name for name in training.state.trained if ".lora_B." in name)

    def on_sample(step: int) -> None:
        drawn.append(training.state.trained[name].detach().clone())

    training.run(on_sample=on_sample)
    average, last = training.state.average[name], training.state.trained[name]
    assert torch.equal(drawn[-1], average) and not torch.equal(average, last)
    written = load_file(tmp_path / "run" / LORA)
    assert torch.equal(written[f"{PREFIX}{name.replace('.default', '')}"], average)


@pytest.mark.slow
def test_rows_may_run_one_after_another(begin: Begin, tmp_path: Path) -> None:
    """The same gradient but for rounding, whose sign Adam makes a step of: so the first moments are compared."""
    one, other = begin("one", steps=1, batch=4), begin("other", steps=1, batch=4, at_once=1)
    one.run(), other.run()
    for a, b in zip(*(t.state.optimizer.state_dict()["state"].values() for t in (one, other)), strict=True):
        assert torch.allclose(a["exp_avg"], b["exp_avg"], atol=1e-6)


@pytest.mark.parametrize("coupled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_all_of_the_generation_side_is_trained(
    begin: Begin, tmp_path: Path, small_models: dict[bool, Path], coupled: bool
) -> None:
    """And written as a file that loads beside the parts that were frozen."""
    training = begin(coupled=coupled, steps=2, rank=0)
    before = {name: tensor.detach().clone() for name, tensor in training.model.generation.named_parameters()}
    training.run()
    loaded = LightFusion.load(
        tmp_path / "run" / WHOLE, understanding=small_models[coupled], vae=small_models[coupled],
        tokenizer=small_models[coupled], device="cpu",
    )  # fmt: skip
    assert loaded.generation.coupled == coupled
    result = training.state.result()
    for name, tensor in loaded.generation.named_parameters():
        assert torch.equal(tensor, result.get(name, before[name])), name
        assert torch.equal(tensor, before[name]) == ("q_und" in name or "o_und" in name), name


@pytest.mark.slow
def test_bfloat16_trains_as_float32_but_for_rounding(
    begin: Begin, small_models: dict[bool, Path], tmp_path: Path
) -> None:
    """All weights in float32 with products in bfloat16, as the authors train."""
    wanted = begin("float32", steps=1, rank=0)
    (batch,) = wanted.draws.steps(0, 1)
    rows = [wanted._row(draw) for draw in batch]
    losses = wanted.trainee(rows)
    wanted.trainee.autocast = torch.bfloat16
    found = wanted.trainee(rows)
    assert found.dtype == torch.float32
    assert not torch.equal(found, losses)
    assert torch.allclose(found, losses, rtol=0.05)


def test_a_loss_that_is_no_number_ends_the_run(begin: Begin, tmp_path: Path) -> None:
    """It says which picture, and what was good is on disk: the run goes on from there."""
    training = begin(steps=6)
    bad = training.draws.steps(3, 4)
    index = next(bad)[0].index
    latent = training.encodings.latent

    def broken(asked: int) -> Tensor:
        return latent(asked) * (float("nan") if training.state.step == 3 and asked == index else 1.0)

    training.encodings.latent = broken  # type: ignore[method-assign]
    with pytest.raises(LightFusionError, match="loss of step 4 is no number") as raised:
        training.run()
    assert str(training.examples[index]) in str(raised.value)
    again = begin(steps=6)
    assert again.resumed and again.state.step == 3 and again.state.is_finite()
    assert again.run()
    begin("whole", steps=6).run()
    assert _equal(tmp_path / "run" / LORA, tmp_path / "whole" / LORA)


def test_weights_that_are_no_numbers_are_not_saved(begin: Begin, tmp_path: Path) -> None:
    _until(begin(steps=6), 2)
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    training = begin(steps=6)
    next(iter(training.state.trained.values())).data.fill_(float("inf"))
    with pytest.raises(LightFusionError, match="is no number"):
        training.run()
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before


def test_memory_that_does_not_suffice_is_told(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    training = begin(steps=2)

    def spent(rows: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nand more")

    monkeypatch.setattr(training, "trainee", spent)
    with pytest.raises(DeviceMemoryError, match=r"for step 1 \(CUDA out of memory.*run fewer rows at once") as raised:
        training.run()
    assert "\n" not in str(raised.value)


def test_a_text_that_is_too_long_is_named(begin: Begin, captions: Path) -> None:
    (captions / "1.txt").write_text("long " * 200)
    with pytest.raises(InputError, match=r"1\.png: The prompt has \d+ tokens"):
        begin(steps=40)


@pytest.mark.parametrize("step", [1, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 3))])
def test_ctrl_c_in_a_write_leaves_what_was_there(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """At each file of a save."""
    _until(begin(steps=6), 2)
    folder = tmp_path / "run"
    before = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    replaced, count = os.replace, 0

    def interrupted(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == step:
            raise KeyboardInterrupt
        replaced(source, target)

    training = begin(steps=6)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.run()
    monkeypatch.undo()
    assert set(os.listdir(folder)) == set(before), "a file was left half-written"
    again = begin(steps=6)
    assert again.state.step == (2 if step == 1 else 6)
    again.run()
    begin("whole", steps=6).run()
    assert _equal(folder / LORA, tmp_path / "whole" / LORA)


def test_a_disk_that_fills(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While encoding and while saving: one sentence, whole files, and the run goes on when there is room."""
    _until(begin(steps=6), 2)
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()

    def full(*given: object, **named: object) -> None:
        Path(str(given[1])).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    training = begin(steps=6)
    shutil.rmtree(tmp_path / "encodings")
    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(InputError, match=r"encodings.*No space left.*free some space"):
        training.run()
    assert os.listdir(tmp_path / "encodings") == []
    with pytest.raises(InputError, match=r"checkpoint.*No space left"):
        training.save()
    monkeypatch.undo()
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    assert begin(steps=6).run()


@pytest.mark.slow
def test_a_damaged_encoding_is_made_anew(begin: Begin, tmp_path: Path) -> None:
    training = begin(steps=3)
    for file in (tmp_path / "encodings").iterdir():
        file.write_bytes(file.read_bytes()[:-5])
    training.run()
    begin("whole", steps=3).run()
    assert _equal(tmp_path / "run" / LORA, tmp_path / "whole" / LORA)


def test_a_folder_of_another_training_is_refused(begin: Begin, captions: Path, tmp_path: Path) -> None:
    _until(begin(steps=3), 1)
    with pytest.raises(InputError, match=r"another rate, 0\.001 where this one has 0\.01"):
        begin(steps=3, rate=0.01)
    (captions / "0.txt").write_text("another caption")
    with pytest.raises(InputError, match="another data"):
        begin(steps=3)
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(InputError, match="expected the checkpoint of a training"):
        begin(steps=3)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"steps": 0}, "steps must be above 0, found 0"),
        ({"rate": float("nan")}, "rate must be above 0"),
        ({"rank": -1}, "rank must be 0 or more"),
        ({"ema": 1.5}, "ema must lie between 0 and 1"),
        ({"at_once": 0}, "At least 1 row"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"side": 0}, "at least 1 pixel"),
        ({"optimizer": "sgd"}, "must be one of adamw, adamw8bit"),
        ({"dropout": replace(Settings().dropout, vit=2.0)}, "vit must lie between 0 and 1"),
    ],
)
def test_settings_that_no_training_takes(named: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Settings(**named)  # type: ignore[arg-type]


def test_eight_bits_take_bitsandbytes(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(CapabilityError, match="pip install bitsandbytes"):
        begin(optimizer="adamw8bit")


@pytest.mark.parametrize("package", ["accelerate", "peft"])
def test_what_is_not_installed_is_named(begin: Begin, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(CapabilityError, match=rf"takes {package}.*comfyui-lightfusion\[train\]"):
        begin()
