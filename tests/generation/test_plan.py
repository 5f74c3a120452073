"""The memory that a run is foreseen to take is what it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from samples import ids, references

from lightfusion_core import LightFusion
from lightfusion_core.generation.context import ContextBuilder
from lightfusion_core.generation.layers import KeyValue
from lightfusion_core.generation.plan import BranchTokens, drawing_memory

ROOT = Path(__file__).parents[2]
_RUN = """
import sys, torch
from lightfusion_core.bench.memory import PeakMemory, anonymous_bytes
from lightfusion_core.bench.presets import BENCH, random_generation
from lightfusion_core.bench.requests import Request
from lightfusion_core.generation.context import ContextBuilder
from lightfusion_core.sampling.guidance import Guidance
from lightfusion_core.sampling.loop import GuidedVelocity

side, count, batch, dtype = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), getattr(torch, sys.argv[4])
cpu = torch.device("cpu")
tower, request = random_generation(BENCH, cpu, dtype), Request(side, count)

def draw(request, batch):
    with torch.no_grad():
        conditioning, latent = request.conditioning(BENCH, cpu, dtype), request.latent(BENCH, batch)
        with PeakMemory(cpu) as memory:
            builder = ContextBuilder(tower, cpu)
            velocity = GuidedVelocity(tower, builder, conditioning, Guidance(3.0), request.side, request.side)
            del builder
            velocity(latent, 600)
    return memory.rise

draw(Request(2), 1)
print(draw(request, batch))
"""


@pytest.mark.parametrize("count", [0, 2])
def test_a_context_is_foreseen_to_the_byte(frozen: LightFusion, count: int) -> None:
    images = references(count)
    conditioning = frozen.encoder.encode([ids("a red circle")], images, [ids("blurred")])
    branches = [conditioning.full, conditioning.negative]
    builder = ContextBuilder(frozen.generation, "cpu")
    with torch.no_grad():
        made = builder.build(branches, 3, 5)
    shared = sum(segment.split.length for segment in conditioning.full.segments[: 2 * count])
    room = BranchTokens(shared, [branch.tokens - shared for branch in branches])
    foreseen = drawing_memory(frozen.config, torch.float32, [room], 15, 2)
    held = storages(made.held())
    assert foreseen.context + foreseen.room == sum(held.values())
    kept = storages(pair for part in builder._made.values() for pair in part.fusion)
    assert foreseen.segments == sum(size for start, size in kept.items() if start not in held)


def storages(pairs: Iterable[KeyValue]) -> dict[int, int]:
    """The bytes of all memory that keys and values lie in, by where it begins."""
    found = [tensor.untyped_storage() for pair in pairs for tensor in pair]
    return {storage.data_ptr(): storage.nbytes() for storage in found}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of memory")
@pytest.mark.parametrize(
    ("side", "count", "batch", "dtype"),
    [(32, 0, 1, "bfloat16"), (32, 1, 1, "float32"), (16, 3, 1, "float32"), (24, 0, 4, "bfloat16")],
)
def test_a_run_is_foreseen_within_fifteen_hundredths(side: int, count: int, batch: int, dtype: str) -> None:
    """On a model an eighth as large in every direction, in a process whose allocator gives back what is freed."""
    from lightfusion_core.bench.presets import BENCH
    from lightfusion_core.bench.requests import Request

    settings = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, "-c", _RUN, *map(str, (side, count, batch, dtype))]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=True)
    request = Request(side, count)
    room = BranchTokens(request.context(BENCH) - request.prompt, [request.prompt] * 2)
    foreseen = drawing_memory(BENCH, getattr(torch, dtype), [room], side**2, 2 * batch)
    print(f"{foreseen.peak / 1e6:.0f} MB foreseen, {float(run.stdout) / 1e6:.0f} MB taken")
    assert foreseen.peak == pytest.approx(float(run.stdout), rel=0.15)
