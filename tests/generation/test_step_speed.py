"""The step's quick paths compute what the plain ones do, wait for nothing, and compile once a shape."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from samples import ids, latents, references, relative_error
from tiny import CONFIG, make_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightfusion_core import Guidance, LightFusion, Sampling
from lightfusion_core.bench.requests import Request
from lightfusion_core.checkpoints.loader import build_generation
from lightfusion_core.generation.blocks import modulate
from lightfusion_core.generation.compiled import compile_step
from lightfusion_core.generation.context import ContextBuilder
from lightfusion_core.generation.layers import GELU, RMSNorm
from lightfusion_core.generation.rope import apply_half_rope, apply_wan_rope, wan_rope
from lightfusion_core.generation.tower import keeps_float32
from lightfusion_core.sampling.loop import GuidedVelocity, sample


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_quick_norm_is_torchs(dtype: torch.dtype) -> None:
    norm = RMSNorm(24, eps=1e-3, dtype=dtype).requires_grad_(False)
    norm.weight.copy_(torch.rand(24) + 0.5)
    x = torch.randn(2, 3, 5, 24, dtype=dtype).transpose(1, 2)
    before = x.clone()
    with torch.no_grad():
        found = norm(x)
    assert found.dtype == dtype and torch.equal(x, before)
    wanted = F.rms_norm(x.double(), (24,), norm.weight.double(), 1e-3)
    assert relative_error(found.double(), wanted) <= (1e-6 if dtype is torch.float32 else 4e-3)


def test_layers_leave_gradients_alone() -> None:
    """Guards training: nothing may be overwritten that a gradient still reads."""
    layers = nn.Sequential(nn.Linear(8, 8), GELU(), RMSNorm(8))
    plain = nn.Sequential(layers[0], nn.GELU(approximate="tanh"), nn.RMSNorm(8))
    x = torch.randn(3, 8)
    found, wanted = (torch.autograd.grad(m(x).square().sum(), layers[0].weight)[0] for m in (layers, plain))
    assert relative_error(found, wanted) <= 1e-6
    with torch.no_grad():
        assert relative_error(layers(x), plain(x)) <= 1e-6


def test_one_timestep_modulates_as_many_equal_ones() -> None:
    x, shift, scale = torch.randn(2, 3, 8), torch.randn(1, 1, 8), torch.randn(1, 1, 8)
    wanted = F.layer_norm(x, (8,), eps=1e-6) * (1 + scale) + shift
    assert relative_error(modulate(x, shift, scale, 1e-6), wanted) <= 1e-6
    both = modulate(x, shift.expand(2, 1, 8), scale.expand(2, 1, 8), 1e-6)
    assert relative_error(both, wanted) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotations_are_those_of_the_rules(dtype: torch.dtype) -> None:
    """Guards both forms of Wan's rotation (rule B15): complex on a CPU, and real where a compiler reads it."""
    x = torch.randn(2, 6, 3, 32, dtype=dtype).transpose(1, 2)
    cos, sin = wan_rope(2, 3, 32, "cpu")
    even, odd = x.double()[..., ::2], x.double()[..., 1::2]
    wanted = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
    forms = [apply_wan_rope, torch.compile(apply_wan_rope, backend="eager", fullgraph=True)]
    for form in forms:
        found = form(x, (cos, sin))
        assert found.dtype == dtype
        assert relative_error(found.double(), wanted) <= (1e-6 if dtype is torch.float32 else 4e-3)
    angle = torch.randn(6, 16).repeat(1, 2)
    first, second = x.double().chunk(2, dim=-1)
    wanted = x.double() * angle.cos() + torch.cat([-second, first], dim=-1) * angle.sin()
    found = apply_half_rope(x, (angle.cos().to(dtype), angle.sin().to(dtype)))
    assert relative_error(found.double(), wanted) <= (1e-6 if dtype is torch.float32 else 8e-3)


class Waits(TorchDispatchMode):
    """Notes what would make the host wait for a device, or the device for the host, with "meta" as the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        name = str(function)
        devices = {a.device.type for a in args if isinstance(a, Tensor)}
        if name.startswith(("aten._to_copy", "aten.copy_")) and isinstance(out, Tensor):
            devices.add(out.device.type)
            if len(devices) > 1:
                self.found.append(name)
        if "meta" in devices and any(word in name for word in ("_local_scalar", "is_nonzero", "nonzero", "linalg")):
            self.found.append(name)
        return out


@pytest.mark.parametrize("solver", ["unipc", "euler", "heun"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_never_waits_for_the_device(solver: str, dtype: torch.dtype) -> None:
    """Guards the step loop on a GPU: no number is read back and none is sent. The meta device stands for it."""
    tower = build_generation(CONFIG, coupled=False, dtype=dtype)
    for name, parameter in tower.named_parameters():
        parameter.data = parameter.data if keeps_float32(name) else parameter.data.to(dtype)
    with torch.no_grad():
        conditioning = Request(3, 1, 6).conditioning(CONFIG, torch.device("meta"), dtype)
        guidance = Guidance(3.0, 2.0, renorm="text_channel", interval=(0.5, 1.0))
        velocity = GuidedVelocity(tower, ContextBuilder(tower, "meta"), conditioning, guidance, 3, 3)
        noise = torch.empty(2, 48, 1, 6, 6, device="meta")
        with Waits() as waits:
            end = sample(velocity, noise, Sampling(4, solver=solver))
        assert waits.found == []
        assert end.shape == noise.shape and end.device.type == "meta"
        with Waits() as waits:  # the watch does see what it is there for
            noise.copy_(torch.zeros(()))
        assert waits.found


def velocity_of(model: LightFusion, side: int = 3) -> Tensor:
    conditioning = model.encoder.encode([ids("a circle")], references(1), [ids("")])
    token = model.config.token_size
    return model.guided(conditioning, side * token, side * token, Guidance(3.0))(latents(1, side, side), 600)


@pytest.fixture
def own_model(tmp_path) -> LightFusion:
    """A model that a test may change."""
    torch._dynamo.reset()
    return make_model(tmp_path / "own", vae=False)


@pytest.mark.slow
def test_all_blocks_share_a_graph_and_a_new_shape_makes_one_more(own_model: LightFusion) -> None:
    """Guards the time that compiling takes: three graphs for the step and two more for the reference's pass
    (whose batch is another), however deep the model; then nothing until the shape changes."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    small, large = velocity_of(own_model), velocity_of(own_model, 4)
    compile_step(own_model.generation, backend=backend)
    assert relative_error(velocity_of(own_model), small) <= 1e-5
    made = len(graphs)
    assert made <= 6
    velocity_of(own_model)
    assert len(graphs) == made
    assert relative_error(velocity_of(own_model, 4), large) <= 1e-5
    assert made < len(graphs) <= made + 3
    assert not any("forward" in name for name in own_model.generation.state_dict())


def test_a_compiler_that_fails_is_said_once_and_left(own_model: LightFusion, caplog: pytest.LogCaptureFixture) -> None:
    """Guards machines without a C++ compiler or Triton: the picture is drawn all the same."""

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        raise RuntimeError("no compiler here")

    wanted = velocity_of(own_model)
    step = compile_step(own_model.generation, backend=backend)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(velocity_of(own_model), wanted)
    assert step.failed
    said = [record.getMessage() for record in caplog.records if record.name.startswith("lightfusion_core")]
    assert len(said) == 1 and "(no compiler here): the step runs uncompiled" in said[0]


def test_other_errors_are_not_taken_for_the_compilers(own_model: LightFusion) -> None:
    """Guards memory errors and cancelling: they are no reason to go on uncompiled."""

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            raise torch.OutOfMemoryError("out of memory")

        return run

    step = compile_step(own_model.generation, backend=backend)
    with pytest.raises(torch.OutOfMemoryError):
        velocity_of(own_model)
    assert not step.failed


def test_a_system_that_cannot_compile_at_all(
    own_model: LightFusion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise RuntimeError("torch.compile is not supported on this Python")

    monkeypatch.setattr(torch, "compile", refuse)
    wanted = velocity_of(own_model)
    assert compile_step(own_model.generation).failed
    assert torch.equal(velocity_of(own_model), wanted)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
