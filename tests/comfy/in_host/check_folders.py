"""Where models are found: registered folders and nothing beside them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths
import torch
from comfy.cli_args import args
from harness import ksample, largest, load_again, node, pack, raised
from safetensors.torch import save_file

import nodes

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


def check_layouts_of_hubs_and_people_are_offered() -> list[str]:
    """Folders by OWNER/NAME, a hub's cache with its links, endings in capitals; nothing hidden, and no folder of
    folders that hold models of their own."""
    folders = pack("nodes.folders")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name in ("OWNER/ONE", "OWNER/TWO", ".OWNER.partial", "deep/er/still", "parts/vae"):
            _model(root / name)
        (root / "parts" / "config.json").touch()
        (root / "sharded").mkdir()
        (root / "sharded" / "model.safetensors.index.json").touch()
        (root / "loop").symlink_to(root)
        (root / "capitals").mkdir()
        (root / "capitals" / "MODEL.SAFETENSORS").touch()
        blob, snapshot = root / "models--A--B" / "blobs" / "1", root / "models--A--B" / "snapshots" / "abc"
        for folder in (blob.parent, snapshot):
            folder.mkdir(parents=True)
        blob.touch()
        (snapshot / "model.safetensors").symlink_to("../../blobs/1")
        with _folders([place]):
            names = folders.models()
            wanted = {"OWNER/ONE/", "OWNER/TWO/", "deep/er/still/", "parts/", "parts/vae/", "sharded/", "capitals/"}
            wanted.add("models--A--B/snapshots/abc/")
            offered = {name for name in names if name.endswith("/") and not name.startswith("loop/")}
            assert offered == wanted, offered ^ wanted
            assert "capitals/MODEL.SAFETENSORS" in names, names
            assert not [name for name in names if "partial" in name], names
            assert all(folders.model_path(name).is_dir() for name in wanted)
    return names


def check_names_of_windows_workflows_are_found() -> list[str]:
    folders = pack("nodes.folders")
    with tempfile.TemporaryDirectory() as place:
        model = _model(Path(place, "OWNER", "ONE"))
        with _folders([place]):
            assert folders.model_path("OWNER\\ONE\\") == model
            assert folders.model_path("OWNER\\ONE\\model.safetensors") == model / "model.safetensors"
            assert folders.absence("OWNER\\ONE\\", None, None) is None
            return [raised(lambda: folders.model_path("..\\OWNER\\"))]


def check_default_roots_come_first_and_advice_names_folders_that_exist() -> str:
    folders = pack("nodes.folders")
    with tempfile.TemporaryDirectory() as place:
        absent, there = Path(place, "never made"), Path(place, "there")
        there.mkdir()
        with _folders([str(there)]):
            folder_paths.add_model_folder_path(_KIND, str(absent), is_default=True)
            folders.register()
            said = raised(lambda: folders.model_path("gone/"))
            assert str(there) in said and str(absent) not in said, said
            _model(absent / "mine")
            assert "mine/" in folders.models()
            assert folders.model_path("mine/") == absent / "mine"
    return said


def check_a_file_that_changes_is_loaded_again() -> list[str]:
    """The host keeps a loader's outputs while its inputs are the same; they would be mapped to what is gone."""
    folders = pack("nodes.folders")
    chosen = {"understanding": folders.FROM_MODEL, "vae": folders.FROM_MODEL, "weight_dtype": "default"}
    loader = nodes.NODE_CLASS_MAPPINGS["LightFusionLoad"]
    with tempfile.TemporaryDirectory() as place, _folders([place]):
        file = Path(place, "mine.safetensors")
        found = []
        for content in (b"1", b"22", None):
            file.write_bytes(content) if content else file.unlink()
            states = [loader.fingerprint_inputs(model="mine.safetensors", **chosen) for _ in range(2)]
            assert states[0] == states[1], states
            found.append(states[0])
        assert len(set(found)) == 3, found
        assert loader.fingerprint_inputs(model=folders.NANO, **chosen) == "[]"
        assert loader.fingerprint_inputs(vae=folders.FROM_MODEL) == "[]"  # a wired name is not known
    return found


def check_the_hosts_flag_against_mapping_is_heeded() -> dict[str, float]:
    """On a network drive that loses its connection a mapped file ends the whole server."""
    whole = {"understanding": "from the model", "vae": "from the model", "weight_dtype": "float32"}
    wanted, tiny = (
        ksample(node("LightFusionLoad", model="tiny/", **whole)[0]),
        pack("nodes.folders").model_path("tiny/"),
    )
    with tempfile.TemporaryDirectory() as place, _folders([place]):
        folder = Path(place, "mine")
        shutil.copytree(tiny, folder)
        before, args.disable_mmap = args.disable_mmap, True
        try:
            parts = node("LightFusionLoad", model="mine/", **whole)
        finally:
            args.disable_mmap = before
        for file in folder.glob("*.safetensors"):
            os.truncate(file, 1000)
        difference = largest(ksample(parts[0], name="tiny/") - wanted)
    assert difference <= 1e-4, difference
    return {"difference": difference}


def check_a_missing_part_is_named() -> list[str]:
    """A wired name is not looked up before the node runs. The host registers folders of its output as well, which are
    there once it saved a CLIP or a VAE."""
    whole = {"model": "tiny/", "understanding": "from the model", "vae": "from the model", "weight_dtype": "default"}
    for name in ("clip", "vae"):
        Path(folder_paths.get_output_directory(), name).mkdir(exist_ok=True)
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
