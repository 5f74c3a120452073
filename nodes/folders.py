"""Where models lie: names that a node offers, and the files behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ..lightfusion_core.checkpoints.header import state_of
from ..lightfusion_core.checkpoints.places import files_of, is_index, is_weights, snapshot_of
from ..lightfusion_core.errors import CheckpointError

FOLDER = "lightfusion"
UNDERSTANDING, VAE = "text_encoders", "vae"
"""ComfyUI's folders of the parts that another file may give."""
NANO = "nano (built in)"
FROM_MODEL = "from the model"
_EXTENSIONS = {".safetensors"}
_DEEPEST = 6
"""Folders below a registered one that are looked through: a hub's cache takes three."""


def register() -> None:
    """Add `models/lightfusion` to ComfyUI's model folders, beside what extra_model_paths.yaml named."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    paths, extensions = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(extensions) | _EXTENSIONS)


def models() -> list[str]:
    """nano, the folders and files of `models/lightfusion`, and the files of `models/diffusion_models`. A folder is
    offered by its path below the registered one, with "/" between and behind its names."""
    found = [NANO]
    for root in folder_paths.get_folder_paths(FOLDER):
        if os.path.isdir(root):
            found += sorted(f"{folder.relative_to(root).as_posix()}/" for folder in _model_folders(Path(root)))
    names = [*folder_paths.get_filename_list(FOLDER), *folder_paths.get_filename_list("diffusion_models")]
    return list(dict.fromkeys([*found, *filter(_is_offered, names)]))


def parts(folder: str) -> list[str]:
    """The model's own part, or one of a folder's safetensors files."""
    return [FROM_MODEL, *filter(_is_offered, folder_paths.get_filename_list(folder))]


def model_path(name: str) -> Path:
    """The file or folder of a name out of `models`, or of one that a workflow brought from another system.

    Raises:
        CheckpointError: no registered folder holds it.
    """
    plain = name.replace("\\", "/")
    if plain.endswith("/"):
        for root in folder_paths.get_folder_paths(FOLDER):
            path = Path(root, plain)
            if _is_below(root, plain) and path.is_dir():
                return path
    else:
        for folder in (FOLDER, "diffusion_models"):
            path = _file(folder, name)
            if path is not None:
                return path
    raise CheckpointError(
        f"The LightFusion model {name!r} is in no model folder. Put a LightFusion checkpoint (a .safetensors file or "
        f"a folder with config.json) into {_place(FOLDER)}, or choose {NANO!r}."
    )


def part_path(folder: str, name: str) -> Path | None:
    """The file of a name out of `parts`; None for the model's own part.

    Raises:
        CheckpointError: no folder of that kind holds it.
    """
    if name == FROM_MODEL:
        return None
    path = _file(folder, name)
    if path is None:
        raise CheckpointError(
            f"{name!r} is in no {folder} folder. Put it into {_place(folder)}, or choose {FROM_MODEL!r}."
        )
    return path


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


def states(model: str | None, understanding: str | None, vae: str | None) -> str:
    """What changes where the files of a choice change on the disk; where they are not to be read, the reason."""
    try:
        paths = [] if model in (None, NANO) else [model_path(model)]
        named = [part_path(folder, name) for folder, name in ((UNDERSTANDING, understanding), (VAE, vae)) if name]
        paths += [path for path in named if path is not None]
        files = [file for path in paths for file in files_of(snapshot_of(path))]
        return repr([(str(file), *state_of(file.stat())) for file in files])
    except (CheckpointError, OSError) as error:
        return str(error)


def _is_offered(name: str) -> bool:
    parts = Path(name).parts
    return is_weights(parts[-1]) and not any(part.startswith(".") for part in parts)


def _file(folder: str, name: str) -> Path | None:
    """The file of a name in the host's folders, in this system's way of writing it or in another's."""
    for written in dict.fromkeys((name, name.replace("\\", "/"), name.replace("/", os.sep))):
        path = folder_paths.get_full_path(folder, written)
        if path is not None:
            return Path(path)
    return None


def _place(folder: str) -> str:
    """The folder to put a model into: the first of the registered ones that is there, but never one of the output's,
    which the host registers for what its nodes save."""
    registered = folder_paths.get_folder_paths(folder)
    saved = os.path.join(os.path.abspath(folder_paths.get_output_directory()), "")
    there = (path for path in registered if os.path.isdir(path) and not os.path.abspath(path).startswith(saved))
    return next(there, registered[0])


def _is_below(root: str, name: str) -> bool:
    """Whether a name stays in its folder, each part of it as it is listed there: links may lead out, names may not."""
    here = root
    parts = name.rstrip("/").split("/")
    for part in parts:
        if not os.path.isdir(here) or part in ("", ".", "..") or part not in os.listdir(here):
            return False
        here = os.path.join(here, part)
    return True


def _model_folders(root: Path) -> Iterator[Path]:
    """The folders that are models: those that hold weights or an index, and those with a configuration whose parts lie
    one level deeper."""
    for folder, below in _walk(root, _DEEPEST, set()):
        names = os.listdir(folder)
        holds = any(is_weights(name) or is_index(name) for name in names)
        if holds or ("config.json" in names and any(_holds_weights(deeper) for deeper in below)):
            yield folder


def _holds_weights(folder: Path) -> bool:
    return any(map(is_weights, os.listdir(folder)))


def _walk(folder: Path, depth: int, seen: set[str]) -> Iterator[tuple[Path, list[Path]]]:
    """The folders below one, each with its own subfolders. Links are followed once."""
    below = [entry for entry in _subfolders(folder) if os.path.realpath(entry) not in seen]
    seen.update(os.path.realpath(entry) for entry in below)
    for entry in below if depth else []:
        yield entry, _subfolders(entry)
        yield from _walk(entry, depth - 1, seen)


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [
            entry for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and os.access(entry, os.R_OK | os.X_OK)
        ]  # fmt: skip
    except OSError:
        return []
