"""What a training takes is known before it starts, and what cannot fit is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_trainings import Begin
from tiny import CONFIG
from torch.autograd.graph import saved_tensors_hooks

from lightfusion_core.bench.counts import step
from lightfusion_core.config import PRESETS
from lightfusion_core.errors import DeviceMemoryError
from lightfusion_core.training.draws import Shown
from lightfusion_core.training.needs import Shape, _counted, _one_row, training_needs
from lightfusion_core.training.settings import Settings
from lightfusion_core.training.trainee import Row

pytest.importorskip("peft", reason="a training takes peft")
LARGE, PICTURE = PRESETS["7b-5b"], Shape(100, (32, 32))


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_layers_are_alike(recompute: bool) -> None:
    """What two and three layers take tells what six take: counted on all of them, it is the same."""
    settings, shape = Settings(recompute=recompute, rank=2), Shape(20, (3, 4), ((2, 3),), ((2, 2),))
    kept, operations = _one_row(CONFIG, settings, torch.float32, shape)
    counted = _counted(CONFIG, settings, torch.float32, shape, recompute)
    assert operations == counted[1]
    if recompute:
        assert counted[0] < kept < _counted(CONFIG, settings, torch.float32, shape, False)[0] * 0.6
    else:
        assert kept == counted[0]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_what_was_foreseen_is_what_a_step_keeps(begin: Begin, rank: int) -> None:
    """Against a real step on the CPU, whose attention keeps a little more or less."""
    training = begin(rank=rank)
    tower = training.model.generation
    branch = training.encodings.branch(3, Shown(True, (True,), (True,)))
    clean = training.encodings.latent(3)
    row = Row(branch, clean, clean, 0.5)
    own = {parameter.untyped_storage().data_ptr() for parameter in tower.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = training.trainee([row])
    loss.sum().backward()
    example, model = training.examples[3], training.model
    assert model.tokenizer is not None
    shape = Shape.of(example, training.sizes[3], model.tokenizer, model.config)
    needs = training_needs(model.config, replace(training.settings, batch=1), torch.float32, shape)
    assert needs.activations == pytest.approx(sum(kept.values()), rel=0.2)
    assert needs.parameters == sum(tensor.numel() for tensor in training.state.trained.values())
    assert (
        shape.encoded(Shown(True, (True,), (True,)), model.config, torch.float32)
        == sum(segment.hidden.nbytes for segment in branch.segments)
        + 2 * model.config.text.num_hidden_layers * model.config.text.hidden_size * 4
    )


def test_the_large_model_takes_what_its_shapes_say() -> None:
    """Weights 13.6 GB; all of it in float32 with Adam over 130; a step two to three times the operations of drawing."""
    lora = training_needs(LARGE, Settings(batch=1), torch.bfloat16, PICTURE)
    assert lora.weights == pytest.approx(13.6e9, rel=0.01)
    assert lora.parameters == pytest.approx(58e6, rel=0.01)
    assert lora.memory < 24e9
    drawing = step(LARGE, 1024, [102])
    assert 2 * drawing < lora.operations < 4 * drawing
    full = training_needs(LARGE, Settings(batch=1, rank=0), torch.bfloat16, PICTURE)
    assert full.parameters == pytest.approx(6.74e9, rel=0.01)
    assert full.memory > 130e9
    lora.require(24e9, "cuda")
    with pytest.raises(
        DeviceMemoryError, match=r"takes 15\d\.\d GB on cuda \(weights .*and 80\.0 GB are free"
    ) as raised:
        full.require(80e9, "cuda")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_less_is_taken_where_less_is_asked() -> None:
    def memory(**named: object) -> int:
        settings = Settings(**({"batch": 2, "rank": 4} | named))  # type: ignore[arg-type]
        return training_needs(CONFIG, settings, torch.float32, Shape(20, (3, 4))).memory

    usual = memory()
    for named in ({"at_once": 1}, {"recompute": True}, {"rank": 2}, {"ema": 0.0}, {"optimizer": "adamw8bit"}):
        assert memory(**named) < usual, named
