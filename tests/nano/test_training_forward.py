"""The forward passes that nano is trained with are the engine's: what was learned is what is run."""

from __future__ import annotations

import pytest
import torch

from lightfusion_core import Guidance, LightFusion
from lightfusion_core.understanding.vision import patchify
from tools.nano.flow import TextContext, new_generation, velocity
from tools.nano.model import nano_config
from tools.nano.states import see, vit_patches
from tools.nano.train_vlm import new_tower

PROMPTS = [[1, 40, 41, 42, 2], [1, 2], [1, 50, 51, 52, 53, 54, 55, 56, 2]]
MARKERS = (3, 4)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.fixture(scope="module")
def model() -> LightFusion:
    config = nano_config()
    generation = new_generation(config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in generation.named_parameters():
        if name.endswith("o_gen_proj.weight") or name == "head.head.weight":  # zero before training
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    lf = LightFusion(config, new_tower(), generation, None, None)
    lf.encoder.marker_ids = MARKERS
    return lf


@torch.no_grad()
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 3)])
def test_a_padded_batch_equals_the_engine(model: LightFusion, rows: int, columns: int) -> None:
    """Guards padding, masks and positions of prompts of different lengths in one batch."""
    x = torch.randn(3, 16, 1, 2 * rows, 2 * columns, generator=torch.Generator().manual_seed(1))
    timesteps = [900, 500, 20]
    context = TextContext(model.understanding, PROMPTS, max(rows, columns), MARKERS)
    found = velocity(model.generation, x, torch.tensor(timesteps).float(), context)
    for row, prompt in enumerate(PROMPTS):
        conditioning = model.encode(prompt, negative_prompt=[1, 2])
        guided = model.guided(conditioning, columns * 32, rows * 32, Guidance(text=1.0))
        wanted = guided(x[row : row + 1], timesteps[row])
        assert relative(found[row : row + 1], wanted) < 1e-5


@torch.no_grad()
def test_vision_on_a_batch_equals_the_tower(model: LightFusion) -> None:
    """Guards the batched vision pass against transformers' own, which takes a picture at a time."""
    pictures = torch.rand(2, 128, 128, 3, generator=torch.Generator().manual_seed(2))
    patches, grid = vit_patches(pictures, model.config)
    wanted = torch.cat([model.understanding.see(one, grid) for one in patches])
    assert relative(see(model.understanding, patches, grid), wanted) < 1e-5
    assert patchify(torch.zeros(3, 140, 140), model.config.vision)[0].shape == patches.shape[1:]
