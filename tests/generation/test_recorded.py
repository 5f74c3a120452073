"""Recording of steps: where it is left out. (That what is played back gives the same bits is told by `tools/gpu`.)"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from samples import ids

from lightfusion_core import Guidance, LightFusion
from lightfusion_core.generation.context import ContextBuilder
from lightfusion_core.generation.recorded import RECORDED_AFTER, can_record
from lightfusion_core.sampling.loop import GuidedVelocity

ON_A_GPU: Any = SimpleNamespace(clock=SimpleNamespace(device=torch.device("cuda")))


@pytest.mark.skipif(torch.version.hip is not None, reason="recorded on NVIDIA's GPUs alone")
def test_a_hook_in_the_tower_is_not_left_out_of_later_steps(frozen: LightFusion) -> None:
    """Played back, what a hook does from Python would not be done: weights that it brings would be missing."""
    tower = frozen.generation
    assert can_record(tower, ON_A_GPU)
    looks = tower.blocks[1].ffn.register_forward_hook(lambda *_: None)
    assert not can_record(tower, ON_A_GPU)
    looks.remove()
    moves = tower.head.register_forward_pre_hook(lambda *_: None)
    assert not can_record(tower, ON_A_GPU)
    moves.remove()
    tower.blocks[0]._diffusers_hook = object()
    assert not can_record(tower, ON_A_GPU)
    del tower.blocks[0]._diffusers_hook


def test_a_cpu_runs_every_step_as_it_is(frozen: LightFusion, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tower's own function is called at each, which a caller may have put something in the place of."""
    tower, calls = frozen.generation, []
    conditioning = frozen.encoder.encode([ids("a red circle")], (), [ids("blurred")])
    velocity = GuidedVelocity(tower, ContextBuilder(tower, "cpu"), conditioning, Guidance(3.0), 3, 5)
    run = tower.velocity
    monkeypatch.setattr(tower, "velocity", lambda x, *rest: calls.append(len(x)) or run(x, *rest))
    patch = tower.config.dit.patch_size
    for _ in range(RECORDED_AFTER + 2):
        velocity(torch.zeros(1, tower.config.dit.in_dim, 1, 3 * patch, 5 * patch), 600)
    assert calls == [2] * (RECORDED_AFTER + 2)
