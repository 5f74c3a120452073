"""The engine at the large model's full width, two and three layers deep, against a plain forward of the rules.

What only width can show: head counts and sizes that are not powers of two, accuracy of long sums, kernels that torch
chooses by size.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import joint
import pytest
import torch
from samples import latents, reference, relative_error
from tiny import random_weights
from torch import Tensor

from lightfusion_core import Guidance, LightFusion
from lightfusion_core.checkpoints.loader import build_generation, build_understanding
from lightfusion_core.config import FusionConfig, ModelConfig, VisionConfig
from lightfusion_core.understanding.tower import UnderstandingTower
from lightfusion_core.understanding.vision import patchify

CLOSE = 5e-6
LARGE = ModelConfig()
CONFIG = replace(
    LARGE,
    text=replace(LARGE.text, num_hidden_layers=2),
    vision=replace(LARGE.vision, depth=2, fullatt_block_indexes=(1,)),  # a windowed block, then a full one
    dit=replace(LARGE.dit, num_layers=3),
    fusion=FusionConfig(num_layers=2),  # the second reads what the first did to a coupled model's VLM
)
PROMPT, NEGATIVE = ([151644, *range(start, start + 30), 151645] for start in (1000, 9000))


@pytest.fixture(scope="module", params=[False, True], ids=["frozen", "coupled"])
def wide(request: pytest.FixtureRequest) -> Iterator[LightFusion]:
    """1.5 billion random numbers, 6 GB in float32."""
    generation = build_generation(CONFIG, coupled=request.param, dtype=torch.float32)
    yield LightFusion(CONFIG, _tower(CONFIG), _filled(generation, seed=1), vae=None, tokenizer=None)
    gc.collect()


@pytest.mark.slow
def test_a_guided_step_with_a_reference_is_the_plain_forward(wide: LightFusion) -> None:
    """Guards all of a request: windows of the ViT, the VLM's grouped heads, both rotary tables, 512 context rows, the
    reference's tokens, fusion, guidance."""
    image, x, timestep = reference((10, 7), (6, 5)), latents(1, 6, 8), 611
    conditioning = wide.encode(PROMPT, [image], negative_prompt=NEGATIVE)
    full, negative = (joint.velocity(wide, joint.pieces([ids], [image]), x, timestep) for ids in (PROMPT, NEGATIVE))
    plain = wide.guided(conditioning, 256, 192, Guidance(1.0))(x, timestep)
    guided = wide.guided(conditioning, 256, 192, Guidance(3.0))(x, timestep)
    errors = relative_error(plain, full), relative_error(guided, negative + 3.0 * (full - negative))
    print("plain, guided:", *(f"{error:.1e}" for error in errors))
    assert relative_error(negative, full) > 1e-2
    assert max(errors) <= CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("full", [(), (0, 1), (1,)], ids=["windowed", "full", "both"])
def test_the_vision_tower_is_transformers_own(full: tuple[int, ...]) -> None:
    """Guards windows at a picture's ragged edge, and tables made anew after a load, against transformers' model as it
    builds itself, attending eagerly."""
    vision = replace(CONFIG.vision, fullatt_block_indexes=full)
    patches, grid = patchify(reference((10, 7)).vit_pixels, vision)
    tower = _vision_alone(vision)
    with torch.no_grad():
        found = tower.see(patches, grid)[0]
        wanted = _transformers_own(vision, tower.model.visual.state_dict(), patches, grid)
    assert found.shape == (70, 3584)
    error = relative_error(found, wanted)
    print(f"{error:.1e}")
    assert error <= CLOSE


def _vision_alone(vision: VisionConfig) -> UnderstandingTower:
    """With a language side of no size."""
    return _tower(
        replace(
            CONFIG, vision=vision, text=replace(CONFIG.text, vocab_size=8, num_hidden_layers=1, intermediate_size=8)
        )
    )


def _tower(config: ModelConfig) -> UnderstandingTower:
    tower = _filled(build_understanding(config, with_lm_head=False), seed=0)
    tower.restore_tables()
    return tower


def _filled(module: Any, seed: int) -> Any:
    module.load_state_dict(random_weights(module, torch.Generator().manual_seed(seed)), assign=True)
    return module.eval().requires_grad_(False)


def _transformers_own(
    vision: VisionConfig, weights: dict[str, Tensor], patches: Tensor, grid: tuple[int, int]
) -> Tensor:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    known = Qwen2_5_VLVisionConfig(
        depth=vision.depth, hidden_size=vision.hidden_size, intermediate_size=vision.intermediate_size,
        num_heads=vision.num_heads, out_hidden_size=vision.out_hidden_size, window_size=vision.window_size,
        fullatt_block_indexes=list(vision.fullatt_block_indexes),
    )  # fmt: skip
    model = Qwen2_5_VisionTransformerPretrainedModel._from_config(known, attn_implementation="eager")
    model.load_state_dict(weights)
    features = model.eval()(patches, grid_thw=torch.tensor([[1, *grid]]))
    return features if isinstance(features, Tensor) else features.pooler_output
