"""Which safetensors files a path stands for, in the layouts in which hubs, trainers and people keep them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from ..documents import read_document
from ..errors import CheckpointError
from ..mistaken import mistaken, unfinished_in
from ..texts import parse_json, reason

ENDING = ".safetensors"
_INDEX = ".safetensors.index.json"
_PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_AVERAGED = "ema.safetensors"
_SEARCHED = 4
"""How many folders deep a message looks for the weights that somebody meant."""


def is_weights(name: str) -> bool:
    """Whether a file of this name holds tensors, by its ending in either case; hidden ones (macOS has such) do not."""
    return name.lower().endswith(ENDING) and not name.startswith(".")


def is_index(name: str) -> bool:
    """Whether a file of this name says which shards there are."""
    return name.lower().endswith(_INDEX) and not name.startswith(".")


def snapshot_of(path: Path) -> Path:
    """Of a hub's cache of one model (`refs/`, `snapshots/HASH/`) the snapshot that it stands for: that of the main
    branch, else the newest. Any other path as it is."""
    snapshots = path / "snapshots"
    if not snapshots.is_dir():
        return path
    main = path / "refs" / "main"
    commit = read_document(main).decode(errors="replace").strip() if main.is_file() else ""
    held = [folder for folder in snapshots.iterdir() if folder.is_dir()]
    named = [folder for folder in held if folder.name == commit]
    return named[0] if named else max(held, key=lambda folder: folder.stat().st_mtime, default=path)


def files_of(path: Path, faults: list[str] | None = None) -> list[Path]:
    """The safetensors files that a path stands for: itself, an index's shards, or a folder's files, its own
    and those one level deeper. Missing shards are noted in `faults` where it is given.

    Raises:
        CheckpointError: nothing there, no safetensors in the folder, an index that names a missing shard or one that
            is not in its folder.
    """
    try:
        if not path.exists():
            raise CheckpointError(f"{path} does not exist: give a .safetensors file or a model folder.")
        if path.is_dir():
            return _files_in(path, faults)
        if not path.is_file():
            raise CheckpointError(f"{path} is a device or a pipe: give a .safetensors file or a model folder.")
        return list(_shards(path, faults)) if is_index(path.name) else [path]
    except (OSError, ValueError) as error:  # the latter: a name with a zero byte
        raise CheckpointError(f"{path} cannot be read: {reason(error)}.") from None


def weights_in(folder: Path) -> list[Path]:
    """The safetensors files of a folder, then those of its subfolders."""
    return [file for file in _listed(folder) if is_weights(file.name)]


def superseded(files: Iterable[Path]) -> dict[Path, Path]:
    """Of the files that a trainer wrote beside the average of its weights (`ema.safetensors`) each one's average: that
    is what draws."""
    averages = {file.parent: file for file in files if file.name.lower() == _AVERAGED}
    return {
        file: averages[file.parent] for file in files
        if file.parent in averages and file.name.lower().startswith("model")
    }  # fmt: skip


def _files_in(folder: Path, faults: list[str] | None) -> list[Path]:
    listed = _listed(folder)
    files = [file for file in listed if is_weights(file.name)]
    for index in (file for file in listed if is_index(file.name)):
        files.extend(file for file in _shards(index, faults) if file not in files)
    if files:
        return files
    if (begun := unfinished_in(folder)) is not None:
        raise CheckpointError(f"{begun} is a download that has not ended: let it end, or get the file again.")
    pickles = [file.name for file in listed if file.suffix.lower() in _PICKLES]
    if pickles:
        raise CheckpointError(
            f"{folder} holds pickle files alone (first: {pickles[0]}), which can run any code and are never read: "
            "get the safetensors version, or convert them."
        )
    deeper = next(_folders_with_weights(folder, _SEARCHED), None)
    meant = "the folder that the weights lie in" if deeper is None else f"the folder of one model, such as {deeper}"
    raise CheckpointError(f"{folder} holds no .safetensors file: give {meant}.")


def _listed(folder: Path) -> list[Path]:
    """The files of a folder, then those of its subfolders; hidden files and folders are passed over."""
    own: list[Path] = []
    deeper: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            own.append(entry)
        elif entry.is_dir():
            deeper.extend(file for file in _entries(entry) if file.is_file() and not file.name.startswith("."))
    return own + deeper


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where one may not look."""
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        return []


def _folders_with_weights(folder: Path, depth: int) -> Iterator[Path]:
    for entry in _entries(folder) if depth else []:
        if entry.is_dir() and not entry.name.startswith("."):
            if any(is_weights(file.name) for file in _entries(entry)):
                yield entry
            yield from _folders_with_weights(entry, depth - 1)


def _shards(index: Path, faults: list[str] | None) -> Iterator[Path]:
    content = read_document(index)
    if (mistake := mistaken(content)) is not None:
        raise CheckpointError(f"{index} {mistake}.")
    try:
        names = sorted({str(name) for name in parse_json(content)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index} is not an index of shards: it has no weight_map.") from None
    for name in names:
        inside = PurePosixPath(name.replace("\\", "/"))
        shard = index.parent / inside
        if inside.is_absolute() or ".." in inside.parts or ":" in name:
            fault = f"{index} names the shard {name}, which is outside of its folder and is not opened: get it again."
        elif not shard.is_file():
            fault = f"{index} names the shard {name}, which is not in its folder: add it."
        else:
            yield shard
            continue
        if faults is None:
            raise CheckpointError(fault)
        faults.append(fault)
