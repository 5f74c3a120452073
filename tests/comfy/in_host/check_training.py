"""The host's own LoRA trainer on our MODEL."""

from __future__ import annotations

import copy
from typing import Any

import comfy.samplers
import comfy_extras.nodes_custom_sampler
import torch
from harness import counted_steps, encode, ksample, largest, load, node, pack
from torch import Tensor

import nodes

_SETTINGS: dict[str, Any] = {
    "batch_size": 2, "grad_accumulation_steps": 1, "steps": 1, "learning_rate": 5e-4, "rank": 4, "optimizer": "AdamW",
    "loss_function": "MSE", "seed": 0, "training_dtype": "bf16", "lora_dtype": "bf16", "quantized_backward": False,
    "algorithm": "LoRA", "gradient_checkpointing": True, "checkpoint_depth": 1, "offloading": False,
    "existing_lora": "[None]", "bucket_mode": False, "bypass_mode": False,
}  # fmt: skip
_NEWER = ("quantized_backward", "checkpoint_depth", "offloading", "bucket_mode", "bypass_mode")
"""Settings that 0.3.64 does not have: there a batch of one size is trained, and nothing else."""

_UNREAD = tuple(
    f"layers.4.mm_attn.{name}"
    for name in ("q_und_proj.lora_down.weight", "q_und_proj.diff_b", "o_und_proj.lora_down.weight")
)
"""What the last fusion gives a coupled model's understanding tower, which none reads."""

_TEXTS = ("a circle", "a square", "a circle")
_PLAIN = {"gradient_checkpointing": False, "training_dtype": "fp32", "lora_dtype": "fp32"}


def _is_newer() -> bool:
    return hasattr(nodes.NODE_CLASS_MAPPINGS["TrainLoraNode"], "define_schema")


def _pictures(name: str, widths: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """LATENTs and CONDITIONINGs of random pictures of these widths, as a data set node gives them."""
    _, clip, vae = load(name)
    draw = torch.Generator().manual_seed(1)
    pictures = [torch.rand(1, 64, width, 3, generator=draw) for width in widths]
    latents = [node("VAEEncode", pixels=picture, vae=vae)[0] for picture in pictures]
    return latents, [node("CLIPTextEncode", clip=clip, text=text)[0] for text in _TEXTS[: len(widths)]]


def _train(name: str, latents: list[Any], positive: list[Any], **changed: Any) -> dict[str, Tensor]:
    """The weights of a LoRA."""
    settings = {**_SETTINGS, **changed}
    if _is_newer():
        given = {key: [value] for key, value in settings.items()}
        return node("TrainLoraNode", model=[load(name)[0]], latents=latents, positive=positive, **given)[0]
    batch = {"samples": torch.cat([latent["samples"] for latent in latents])}
    given = {key: value for key, value in settings.items() if key not in _NEWER}
    together = [condition for conditioning in positive for condition in conditioning]
    return node("TrainLoraNode", model=load(name)[0], latents=batch, positive=together, **given)[1]


def check_the_hosts_trainer_reaches_every_layer() -> dict[str, Any]:
    """Every layer's LoRA moves away from zero, those that only the context is made with too: in every mode, and the
    model itself draws as before."""
    same, several = _pictures("tiny/", (64, 64)), _pictures("tiny/", (64, 64, 96))
    cases: dict[str, tuple[Any, dict[str, Any]]] = {"checkpoints": (same, {}), "float32": (same, _PLAIN)}
    if _is_newer():
        cases |= {
            "several sizes": (several, {}),
            "buckets": (node("ResolutionBucket", latents=several[0], conditioning=several[1]), {"bucket_mode": True}),
            "bypass": (same, {"bypass_mode": True}),
            "bypass, no dtype": (several, {"bypass_mode": True, "training_dtype": "none", "checkpoint_depth": 2}),
            "bypass, float32": (same, {"bypass_mode": True, **_PLAIN}),
        }
    found = {}
    before = _drawn("tiny/")
    for case, ((latents, positive), changed) in cases.items():
        lora = _train("tiny/", latents, positive, **changed)
        found[case] = _moved(lora)
        assert found[case] > 50, found
    assert torch.equal(_drawn("tiny/"), before), "a training left a trace"
    return found


def check_a_coupled_model_is_trained() -> int:
    """There gradients go through the understanding tower's layers."""
    return _moved(_train("coupled/", *_pictures("coupled/", (64, 64)), **_PLAIN), _UNREAD)


def check_a_trained_lora_acts() -> dict[str, float]:
    """In the node that takes what Train LoRA gives."""
    lora = _train("tiny/", *_pictures("tiny/", (64, 64)), learning_rate=0.01)
    trained = node("LoraModelLoader", model=load()[0], lora=lora, strength_model=1.0)[0]
    found = {"moved": largest(_drawn("tiny/", trained) - _drawn("tiny/"))}
    assert found["moved"] > 0.1, found
    return found


def _drawn(name: str, model: Any = None) -> Tensor:
    return ksample(model, name=name, steps=2)


def _moved(lora: dict[str, Tensor], unread: tuple[str, ...] = ()) -> int:
    """How many weights of a LoRA that start at zero are elsewhere: all but those that are `unread`."""
    starting_at_zero = [name for name in lora if name.endswith(("lora_down.weight", ".diff", ".diff_b"))]
    still = [name for name in starting_at_zero if not lora[name].any() and not name.endswith(unread)]
    assert not still, still
    return len(starting_at_zero)


def check_data_sets_are_saved_and_loaded() -> dict[str, Any]:
    """The host's reader of such files takes plain data alone. A text, one about a picture, and none of both."""
    if "SaveTrainingDataset" not in nodes.NODE_CLASS_MAPPINGS:
        return {"skipped": "this ComfyUI has no data set nodes"}
    found = {}
    for name in ("tiny/", "coupled/"):
        model, clip, vae = load(name)
        picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
        about = node("LightFusionEncode", clip=clip, vae=vae, prompt="make it red", image_1=picture, negative_prompt="",
                     width=0, height=0, batch_size=1)  # fmt: skip
        texts = ["a circle", ""]
        latents, conditioning = node("MakeTrainingDataset", images=[picture] * 2, vae=[vae], clip=[clip], texts=texts)
        latents, conditioning = [*latents, latents[0]], [*conditioning, about[0]]
        node("SaveTrainingDataset", latents=latents, conditioning=conditioning, folder_name=["checked"], shard_size=[2])
        again, conditioning_again = node("LoadTrainingDataset", folder_name="checked")
        assert [set(map(len, batch)) for batch in conditioning_again] == [{2}] * 3
        assert all(torch.equal(a["samples"], b["samples"]) for a, b in zip(latents, again, strict=True))
        for before, after in zip(conditioning, conditioning_again, strict=True):
            drawn = [
                ksample(model, name=name, positive=given, negative=conditioning[1], steps=1)
                for given in (before, after, copy.deepcopy(after))
            ]
            assert torch.equal(drawn[0], drawn[1]), name
            assert torch.equal(drawn[0], drawn[2]), name
        if name == "tiny/":
            found["trained"] = _moved(_train(name, again, conditioning_again, **_PLAIN))
    return found


class _Asking(comfy.samplers.Sampler):
    """Calls the model for a batch as a trainer does, and for each of its pictures alone."""

    def sample(self, model_wrap: Any, sigmas: Tensor, extra_args: Any, *rest: Any, **more: Any) -> Tensor:
        conditions, x = model_wrap.conds["positive"], torch.randn(2, *self.shape[1:]).mul(0.5)
        levels = torch.tensor([0.9, 0.2])
        with counted_steps() as calls:
            together = model_wrap(x, levels, **extra_args)
        self.rows = sum(calls)
        alone = []
        for row, condition in enumerate(conditions):
            model_wrap.conds["positive"] = [condition]
            alone.append(model_wrap(x[row : row + 1], levels[row : row + 1], **extra_args))
        self.error = largest(together - torch.cat(alone))
        return x


def check_each_picture_is_trained_under_its_own_caption() -> dict[str, float]:
    """The trainer's batch has one condition for each picture, which a sampler would take for both."""
    (first, second), sampler = _pictures("tiny/", (64, 64)), _Asking()
    sampler.shape = first[0]["samples"].shape
    guider = comfy_extras.nodes_custom_sampler.Guider_Basic(load()[0])
    guider.set_conds([condition for conditioning in second for condition in conditioning])
    batch = torch.cat([latent["samples"] for latent in first])
    with torch.inference_mode(False), torch.enable_grad():
        guider.sample(torch.zeros_like(batch.clone()), batch.clone(), sampler, torch.arange(2), seed=1)
    assert sampler.rows == 2, sampler.rows
    assert sampler.error < 1e-4, sampler.error
    return {"error": sampler.error}


def check_rows_may_have_noise_levels_of_their_own() -> dict[str, float]:
    """A batch at two levels is each of its rows alone."""
    model = load()[0].model
    conditioning = pack("nodes.native.conditioning")
    handed = conditioning.BatchedBranches([conditioning.branch_of({"cross_attn": encode("a circle")[0][0]})])
    x = torch.randn(2, model.diffusion_model.config.dit.in_dim, 4, 4, generator=torch.Generator().manual_seed(1))
    levels = torch.tensor([0.9, 0.2])

    def velocity(rows: slice) -> Tensor:
        options = {"sigmas": levels[rows]}
        return model.diffusion_model(x[rows], levels[rows] * 1000, lightfusion=handed, transformer_options=options)

    together, alone = velocity(slice(0, 2)), torch.cat([velocity(slice(0, 1)), velocity(slice(1, 2))])
    error = float((together - alone).norm() / alone.norm())
    assert error < 1e-5, error
    return {"error": error}
