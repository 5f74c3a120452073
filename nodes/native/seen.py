"""The pictures that histories name: files in the host's temporary folder, which it empties when it starts."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from PIL import Image

from ...lightfusion_core.errors import InputError
from ...lightfusion_core.picture_files import load_image
from ...lightfusion_core.understanding.history import name_of
from ...lightfusion_core.unfinished import unfinished


def keep(name: str, picture: Image.Image) -> None:
    """Write an RGB picture under its name, whole or not at all."""
    if find(name) is None:
        with unfinished(_path(name)) as temporary:
            picture.save(temporary, format="PNG", compress_level=1)


def find(name: str) -> Image.Image | None:
    """The picture of a name; None where it is gone, or is another one by now."""
    try:
        picture = load_image(_path(name))
    except InputError:
        return None
    return picture if name_of(picture) == name else None


def _path(name: str) -> Path:
    return Path(folder_paths.get_temp_directory(), f"lightfusion_seen_{name}.png")
