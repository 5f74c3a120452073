"""Where models lie: names that a node offers, and the files behind them."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..lightfusion_core.errors import CheckpointError

FOLDER = "lightfusion"
UNDERSTANDING, VAE = "text_encoders", "vae"
"""ComfyUI's folders of the parts that another file may give."""
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


def part_path(folder: str, name: str) -> Path | None:
    """The file of a name out of `parts`; None for the model's own part.

    Raises:
        CheckpointError: no folder of that kind holds it.
    """
    if name == FROM_MODEL:
        return None
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise CheckpointError(
            f"{name!r} is in no {folder} folder. Put it into {folder_paths.get_folder_paths(folder)[0]}, "
            f"or choose {FROM_MODEL!r}."
        )
    return Path(path)


def absence(model: str | None, understanding: str | None, vae: str | None) -> str | None:
    """What to say of the first of these that is not there, None where all are. A name that is None is not known yet."""
    try:
        if model not in (None, NANO):
            model_path(model)
        for folder, name in ((UNDERSTANDING, understanding), (VAE, vae)):
            if name is not None:
                part_path(folder, name)
    except CheckpointError as error:
        return str(error)
    return None


def _holds_weights(path: Path) -> bool:
    return any(path.glob("*.safetensors")) or any(path.glob("*/*.safetensors"))
