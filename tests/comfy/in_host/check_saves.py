"""What the host's save nodes write of our parts, loaded again: the same weights, bit for bit, and the same picture."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
from harness import ksample, largest, node, pack, raised, with_lora
from torch import Tensor

import nodes

LORA = "wan.safetensors"
OWN = "from the model"
CLOSE, CLOSE_BFLOAT16 = 1e-4, 0.02
"""How far a picture of the same weights may be off: on some processors a matrix that lies at another address, as in
another mapped file, is summed in another order. In bfloat16 a sum that falls to the other side is a 256th off."""


def _load(model: str, understanding: str = OWN, vae: str = OWN, dtype: str = "default") -> tuple[Any, Any, Any]:
    return pack("nodes.native.loading").load(model, understanding, vae, dtype)


@contextmanager
def _saving() -> Iterator[Callable[..., str]]:
    """A function that runs a save node, moves its file into a model folder, as a person does, and gives the file's
    name there; the files are gone at the end."""
    moved: list[Path] = []

    def save(name: str, folder: str, **parts: Any) -> str:
        root = Path(folder_paths.get_folder_paths(folder)[0])
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as made:
            saver = nodes.NODE_CLASS_MAPPINGS[name]()
            saver.output_dir = made
            saver.save(**parts, filename_prefix=f"{folder}/{name}")
            (file,) = Path(made, folder).glob("*.safetensors")
            moved.append(root / f"{len(moved)}_{file.name}")
            shutil.copyfile(file, moved[-1])
        folder_paths.filename_list_cache.clear()
        return moved[-1].name

    try:
        yield save
    finally:
        for file in moved:
            file.unlink()
        folder_paths.filename_list_cache.clear()


def _picture(parts: tuple[Any, Any, Any]) -> Tensor:
    """A picture that every part has a hand in."""
    model, clip, vae = parts
    positive, negative = (node("CLIPTextEncode", clip=clip, text=text)[0] for text in ("a blue square", ""))
    latent = node("LightFusionEmptyLatent", model=model, width=128, height=96, batch_size=1)[0]
    return vae.decode(ksample(model, latent, positive=positive, negative=negative, steps=3))


def _weights(parts: tuple[Any, Any, Any]) -> dict[str, Tensor]:
    """Every tensor as the bytes that it is held in."""
    model, clip, vae = parts
    states = {"model": model.model, "clip": clip.cond_stage_model, "vae": vae.first_stage_model}
    return {
        f"{part}.{name}": tensor.detach().contiguous().flatten().view(torch.uint8)
        for part, module in states.items()
        for name, tensor in module.state_dict().items()
    }


def _again(parts: tuple[Any, Any, Any], dtype: str, patched: bool = False) -> dict[str, float]:
    """The largest difference of a picture drawn by one saved file, and by three; they hold the same weights, unless
    these are `patched`: then the files hold what the patches make of them."""
    model, clip, vae = parts
    weights = _weights(parts)
    before = _picture(parts)
    with _saving() as save:
        whole = save("CheckpointSave", "lightfusion", model=model, clip=clip, vae=vae)
        names = (
            save("ModelSave", "diffusion_models", model=model),
            save("CLIPSave", "text_encoders", clip=clip),
            save("VAESave", "vae", vae=vae),
        )
        found = {}
        for case, files in {"whole": (whole,), "parts": names}.items():
            saved = _load(*files, dtype=dtype)
            if not patched:
                held = _weights(saved)
                assert held.keys() == weights.keys(), f"{case}: {held.keys() ^ weights.keys()}"
                differ = [name for name in weights if not torch.equal(held[name], weights[name])]
                assert not differ, f"{case}: {differ}"
            found[case] = largest(_picture(saved) - before)
    assert max(found.values()) <= (CLOSE_BFLOAT16 if dtype == "bfloat16" else CLOSE), (dtype, found)
    return found


def check_saved_files_draw_the_same_picture() -> dict[str, Any]:
    """Of nano and a random model of another size, in every way that weights are held; and of a coupled one."""
    nano = pack("nodes.folders").NANO
    cases = [(nano, "default"), (nano, "fp8_e4m3fn"), ("tiny/", "bfloat16"), ("coupled/", "default")]
    return {f"{name} {dtype}": _again(_load(name, dtype=dtype), dtype) for name, dtype in cases}


def check_what_was_merged_is_saved() -> dict[str, Any]:
    """A LoRA, a merge of models, and of text encoders; also where the model does not lie loaded."""
    found: dict[str, Any] = {}
    for dtype in ("default", "fp8_e4m3fn"):
        model, clip, vae = _load("tiny/", dtype=dtype)
        plain = _picture((model, clip, vae))
        strong = with_lora(model, LORA)
        merged = nodes.NODE_CLASS_MAPPINGS["ModelMergeSimple"]().merge(strong, model, ratio=0.5)[0]
        other = _load("tiny/", dtype=dtype)[1].clone()
        weights = {k: v for k, v in other.patcher.model_state_dict().items() if k.endswith("q_proj.weight")}
        other.add_patches({k: ("diff", (torch.full_like(v, 0.05),)) for k, v in weights.items()}, 1.0, 1.0)
        text = nodes.NODE_CLASS_MAPPINGS["CLIPMergeSimple"]().merge(clip, other, ratio=0.5)[0]
        for case, parts in {"LoRA": (strong, clip, vae), "merges": (merged, text, vae)}.items():
            assert largest(_picture(parts) - plain) > 10 * CLOSE, f"{case} changes too little to show anything"
            comfy.model_management.unload_all_models()
            found[f"{case} {dtype}"] = _again(parts, dtype, patched=True)
    return found


def check_the_engine_takes_saved_files() -> dict[str, Any]:
    """`lightfusion inspect`, `convert` and `LightFusion.load` read what the host wrote."""
    inspect = pack("lightfusion_core.checkpoints.report").inspect
    model, clip, vae = _load(pack("nodes.folders").NANO)
    with _saving() as save, tempfile.TemporaryDirectory() as converted:
        name = save("CheckpointSave", "lightfusion", model=model, clip=clip, vae=vae)
        file = folder_paths.get_full_path("lightfusion", name)
        text = save("CLIPSave", "text_encoders", clip=clip)
        reports = [inspect(file), inspect(folder_paths.get_full_path("text_encoders", text))]
        assert all(report.is_sound for report in reports), [str(report) for report in reports]
        pack("lightfusion_core.checkpoints.convert").Converter(file, converted).run()
        for path in (file, converted):
            engine = pack("lightfusion_core").LightFusion.load(path, device="cpu")
            assert engine.tokenizer is not None
            assert engine.config == model.model.diffusion_model.config
    return {"kinds": [report.kind for report in reports]}


def check_a_saved_part_alone_says_what_is_missing() -> str:
    """A saved MODEL without the rest, and a saved VAE for a model."""
    model, _, vae = _load("tiny/")
    with _saving() as save:
        message = raised(lambda: _load(save("ModelSave", "diffusion_models", model=model)))
        wrong = raised(lambda: _load(save("VAESave", "diffusion_models", vae=vae)))
    assert "no understanding tower" in message, message
    assert "no generation tower" in wrong, wrong
    return message
