"""Where models are found: registered folders and nothing beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths
import torch
from harness import load_again, node, pack, raised
from safetensors.torch import save_file

_KIND = "lightfusion"


@contextmanager
def _folders(paths: list[str]) -> Iterator[None]:
    """The host's table as extra_model_paths.yaml leaves it: filled before packs are loaded, without extensions."""
    table = folder_paths.folder_names_and_paths
    before = table[_KIND]
    table[_KIND] = (paths, set())
    folder_paths.filename_list_cache.clear()
    try:
        yield
    finally:
        table[_KIND] = before
        folder_paths.filename_list_cache.clear()


def _model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    return folder


def check_folders_of_extra_model_paths_are_searched() -> list[str]:
    """What extra_model_paths.yaml named stays, first, and the pack's own folder comes with it."""
    folders = pack("nodes.folders")
    with tempfile.TemporaryDirectory() as extra:
        _model(Path(extra, "elsewhere"))
        Path(extra, "single.safetensors").touch()
        Path(extra, "notes.txt").touch()
        with _folders([extra]):
            folders.register()
            names = folders.models()
            assert {"elsewhere/", "single.safetensors", "tiny/"} <= set(names), names
            assert "notes.txt" not in names
            assert folders.model_path("elsewhere/") == Path(extra, "elsewhere")
            assert folders.model_path("single.safetensors") == Path(extra, "single.safetensors")
    return names


def check_nothing_outside_the_folders_is_reached() -> list[str]:
    """A shared workflow may name anything, and the server does not check what a list offers. A folder that is
    registered need not be there: a new ComfyUI has no `models/lightfusion`."""
    folders = pack("nodes.folders")
    with tempfile.TemporaryDirectory() as place:
        inside, outside = Path(place, "models"), Path(place, "outside")
        _model(inside / "mine")
        _model(outside)
        tricks = (
            "../outside/", "../outside/model.safetensors", "mine/../../outside/", f"{outside}/",
            f"{outside}/model.safetensors", "/", "./", "../", "mine/../",
        )  # fmt: skip
        with _folders([str(Path(place, "never made")), str(inside)]):
            assert folders.model_path("mine/") == inside / "mine"
            said = [raised(lambda name=name: folders.model_path(name)) for name in tricks]
    assert all("is in no model folder" in text for text in said), said
    return said


def check_a_missing_part_is_named() -> list[str]:
    """A wired name is not looked up before the node runs."""
    whole = {"model": "tiny/", "understanding": "from the model", "vae": "from the model", "weight_dtype": "default"}
    said = [
        raised(lambda part=part: node("LightFusionLoad", **whole | {part: "not_here.safetensors"}))
        for part in ("understanding", "vae")
    ]
    for text, folder in zip(said, ("text_encoders", "vae"), strict=True):
        assert "'not_here.safetensors'" in text and f"models/{folder}" in text and "from the model" in text, text
    return said


def check_another_models_file_is_named() -> str:
    """The list offers whatever lies in `models/diffusion_models`."""
    whole = {"understanding": "from the model", "vae": "from the model", "weight_dtype": "default"}
    with tempfile.TemporaryDirectory() as place, _folders([place]):
        flux = {"double_blocks.0.img_attn.qkv.weight": torch.zeros(4, 4), "img_in.weight": torch.zeros(4, 4)}
        save_file(flux, Path(place, "flux.safetensors"))
        said = raised(lambda: node("LightFusionLoad", model="flux.safetensors", **whole))
    assert "is a FLUX diffusion model" in said and "fusion layers" in said, said
    return said


def check_a_file_without_a_tokenizer_reads_as_qwen_does() -> list[int]:
    """The host brings Qwen2.5's tokenizer: its special tokens are those of the published model."""
    model, clip, _ = load_again("untokenized/")
    (ids,) = clip.tokenize("a red circle").texts
    special = model.model.diffusion_model.config.special_tokens
    assert (ids[0], ids[-1]) == (special.bos_token_id, special.eos_token_id) == (151644, 151645), ids
    assert len(ids) == 5, ids  # three words, each one token of Qwen2.5's, between the two
    return ids
