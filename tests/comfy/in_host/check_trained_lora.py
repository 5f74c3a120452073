"""A LoRA as `lightfusion train` writes it, through the stock loader."""

from __future__ import annotations

import os

import folder_paths
import torch
from check_loras import lora_file
from check_own_nodes import GUIDANCE, SEED, SHIFT, STEPS
from harness import NEGATIVE, PROMPT, empty, encode, engine, ksample, largest, load, node, pack, with_lora
from torch import Tensor

_RANK, _ALPHA = 3, 6.0


def _trained() -> dict[str, Tensor]:
    """A change of every layer that a training changes, named by what names a training's."""
    adapters, tower = pack("lightfusion_core.training.adapters"), engine().generation
    draw, pairs = torch.Generator().manual_seed(4), {}
    for layer, module in adapters.lora_layers(tower).items():
        rows, columns = module.weight.shape
        for half, shape in (("lora_A", (_RANK, columns)), ("lora_B", (rows, _RANK))):
            pairs[f"{layer}.{half}.default.weight"] = 0.1 * torch.randn(shape, generator=draw)
    return adapters.lora_tensors(pairs, _ALPHA)


def check_a_trained_lora_draws_here_what_it_draws_in_the_engine() -> dict[str, float]:
    """Every layer acts, none is told of, at any strength; and the model is as it was without it."""
    merge = pack("lightfusion_core.checkpoints.lora_merge").merge_lora
    sampling = pack("lightfusion_core.sampling.loop").Sampling(STEPS, SHIFT)
    guidance = pack("lightfusion_core.sampling.guidance").Guidance(3.0, 1.5, "channel", 0.2, (0.1, 1.0))
    tensors, found = _trained(), {}
    model, before = load()[0], ksample(steps=2)
    with lora_file(tensors) as name:
        file = os.path.join(folder_paths.get_folder_paths("loras")[0], name)
        for strength in (1.0, 0.5):
            patched = with_lora(model, name, strength)
            assert len(patched.patches) == len(tensors) // 3, "a layer does not act"
            drawn = node(
                "LightFusionSampler", model=patched, positive=encode(PROMPT), negative=encode(NEGATIVE), latent=empty(),
                seed=SEED, steps=STEPS, shift=SHIFT, solver="unipc", denoise=1.0, **GUIDANCE,
            )[0]["samples"]  # fmt: skip
            core = engine()
            merge(core.generation, file, strength)
            conditioning = core.encode(PROMPT, negative_prompt=NEGATIVE)
            wanted = core.sample(conditioning, 96, 64, SEED, sampling, guidance).squeeze(2)
            found[str(strength)] = largest(model.model.process_latent_in(drawn) - wanted)
    assert max(found.values()) <= 1e-4, found
    assert torch.equal(ksample(steps=2), before)
    return found
