"""The host's own LoRA trainer on our MODEL."""

from __future__ import annotations

from typing import Any

import torch
from harness import load, node, pack

import nodes

_SETTINGS: dict[str, Any] = {
    "batch_size": 1, "grad_accumulation_steps": 1, "steps": 2, "learning_rate": 5e-4, "rank": 4, "optimizer": "AdamW",
    "loss_function": "MSE", "seed": 0, "training_dtype": "bf16", "lora_dtype": "bf16", "quantized_backward": False,
    "algorithm": "LoRA", "gradient_checkpointing": True, "checkpoint_depth": 1, "offloading": False,
    "existing_lora": "[None]", "bucket_mode": False, "bypass_mode": False,
}  # fmt: skip


def check_the_hosts_trainer_reaches_every_layer() -> dict[str, Any]:
    """Every layer's LoRA moves away from zero, those that only the context is made with too."""
    if "MakeTrainingDataset" not in nodes.NODE_CLASS_MAPPINGS:
        return {"skipped": "this ComfyUI has no data set nodes"}
    own = "from the model"
    model, clip, vae = node(
        "LightFusionLoad", model=pack("nodes.folders").NANO, understanding=own, vae=own, weight_dtype="default"
    )
    draw = torch.Generator().manual_seed(1)
    pictures = [torch.rand(1, 64, width, 3, generator=draw) for width in (64, 64, 96)]
    texts = ["a circle", "a square", "a circle"]
    latents, conditioning = node("MakeTrainingDataset", images=pictures, vae=[vae], clip=[clip], texts=texts)
    cases = {
        "a batch": (latents[:2], conditioning[:2], {"batch_size": 2}),
        "several sizes": (latents, conditioning, {"gradient_checkpointing": False, "training_dtype": "fp32"}),
        "buckets": (*node("ResolutionBucket", latents=latents, conditioning=conditioning), {"bucket_mode": True}),
    }
    found = {}
    for case, (samples, conditions, changed) in cases.items():
        given = {name: [value] for name, value in {**_SETTINGS, **changed, "model": model}.items()}
        lora = node("TrainLoraNode", latents=samples, positive=conditions, **given)[0]
        ups = [tensor for name, tensor in lora.items() if name.endswith("lora_up.weight")]
        assert ups, list(lora)[:3]
        assert all(tensor.any() for tensor in ups), case
        found[case] = len(ups)
    return found


def check_rows_may_have_noise_levels_of_their_own() -> dict[str, float]:
    """A batch at two levels is each of its rows alone."""
    model = load()[0].model
    config, branch = model.diffusion_model.config, None
    positive = node("CLIPTextEncode", clip=load()[1], text="a circle")[0][0][0]
    branch = pack("nodes.native.conditioning").branch_of({"cross_attn": positive})
    handed = pack("nodes.native.conditioning").BatchedBranches([branch])
    x = torch.randn(2, config.dit.in_dim, 4, 4, generator=torch.Generator().manual_seed(1))
    levels = torch.tensor([0.9, 0.2])

    def velocity(rows: slice) -> torch.Tensor:
        options = {"sigmas": levels[rows]}
        return model.diffusion_model(x[rows], levels[rows] * 1000, lightfusion=handed, transformer_options=options)

    together, alone = velocity(slice(0, 2)), torch.cat([velocity(slice(0, 1)), velocity(slice(1, 2))])
    error = float((together - alone).norm() / alone.norm())
    assert error < 1e-5, error
    return {"error": error}
