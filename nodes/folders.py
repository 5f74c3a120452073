"""Where models lie: names that a node offers, and the files behind them."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..lightfusion_core.errors import CheckpointError

FOLDER = "lightfusion"
NANO = "nano (built in)"
FROM_MODEL = "from the model"
_EXTENSIONS = {".safetensors"}


def register() -> None:
    """Add `models/lightfusion` to ComfyUI's model folders, beside what extra_model_paths.yaml named."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    paths, extensions = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(extensions) | _EXTENSIONS)


def models() -> list[str]:
    """nano, the files and folders of `models/lightfusion`, and the files of `models/diffusion_models`."""
    found = [NANO]
    for root in folder_paths.get_folder_paths(FOLDER):
        if os.path.isdir(root):
            found += sorted(
                f"{entry.name}/" for entry in os.scandir(root) if entry.is_dir() and _holds_weights(Path(entry.path))
            )
    names = [*folder_paths.get_filename_list(FOLDER), *folder_paths.get_filename_list("diffusion_models")]
    return list(dict.fromkeys([*found, *(name for name in names if name.endswith(tuple(_EXTENSIONS)))]))


def parts(folder: str) -> list[str]:
    """The model's own part, or one of a folder's safetensors files."""
    return [FROM_MODEL, *(name for name in folder_paths.get_filename_list(folder) if name.endswith(tuple(_EXTENSIONS)))]


def model_path(name: str) -> Path:
    """The file or folder of a name out of `models`.

    Raises:
        CheckpointError: no registered folder holds it.
    """
    if name.endswith("/"):
        for root in folder_paths.get_folder_paths(FOLDER):
            path = Path(root, name)
            if os.path.isdir(root) and name[:-1] in os.listdir(root) and path.is_dir():
                return path
    else:
        for folder in (FOLDER, "diffusion_models"):
            path = folder_paths.get_full_path(folder, name)
            if path is not None:
                return Path(path)
    raise CheckpointError(
        f"The LightFusion model {name!r} is in no model folder. Put a LightFusion checkpoint (a .safetensors file or "
        f"a folder with config.json) into {folder_paths.get_folder_paths(FOLDER)[0]}, or choose {NANO!r}."
    )


def absence(name: str) -> str | None:
    """What to say of a model that is not there; None where it is, or is the built-in one."""
    try:
        if name != NANO:
            model_path(name)
    except CheckpointError as error:
        return str(error)
    return None


def part_path(folder: str, name: str) -> Path | None:
    """The file of a name out of `parts`; None for the model's own part."""
    return None if name == FROM_MODEL else Path(folder_paths.get_full_path_or_raise(folder, name))


def _holds_weights(path: Path) -> bool:
    return any(path.glob("*.safetensors")) or any(path.glob("*/*.safetensors"))
