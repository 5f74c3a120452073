"""Picture files: reading any, and writing PNGs that carry their settings.

A picture is a `PIL.Image` in RGB and sRGB, or `Stored` as its file has it.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from .deep import deep_colours, deep_png
from .errors import InputError
from .infotext import infotext
from .modes import to_rgb
from .stored import Stored
from .texts import printable, reason
from .unfinished import unfinished

__all__ = [
    "image_of",
    "load_image",
    "load_stored",
    "picture_size",
    "plain_png",
    "read_parameters",
    "save_png",
    "write_whole",
]

log = logging.getLogger(__name__)

PARAMETERS_CHUNK = "lightfusion"
READABLE_CHUNK = "parameters"

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
)  # fmt: skip
# What PIL's decoders raise on damaged data; it has no exception of its own for it.
_DAMAGED = (
    *(OSError, EOFError, SyntaxError, RuntimeError, ValueError, TypeError, IndexError, KeyError),
    *(struct.error, zlib.error),
)


def load_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture file as RGB in sRGB, upright; of an animation its first frame.

    Raises:
        InputError: no such file, a folder, not a picture, damaged, or too large to open safely.
    """
    return to_rgb(load_stored(path).image())


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The (width, height) of a picture file, upright, by its header alone; raises as `load_image`."""
    with _opened(path) as image:
        turned = _turn(image) in _ON_ITS_SIDE
        return image.size[::-1] if turned else image.size


def image_of(data: bytes, name: str) -> Image.Image:
    """A picture out of the bytes of a file, as `load_image` reads it; `name` says in messages what it is."""
    with _opened(name, io.BytesIO(data)) as image:
        image.load()
        return to_rgb(_upright(image, image))


def load_stored(path: str | os.PathLike[str]) -> Stored:
    """Read a picture file as it is, upright: its mode, depth, alpha and colour profile; raises as `load_image`."""
    with _opened(path) as image:
        deep = deep_colours(image, Path(path).read_bytes)
        image.load()
        plain = _plain(_upright(image, image), image)
        if deep is None:
            return Stored.of(plain)
        upper, lower = (np.asarray(_upright(half, image)).astype(np.uint16) for half in deep)
    levels, transparent = upper << 8 | lower, plain.info.pop("transparency", None)
    if transparent is not None:
        alpha = np.where((levels == transparent).all(-1, keepdims=True), 0, 65535).astype(np.uint16)
        levels = np.concatenate([levels, alpha], axis=-1)
    return Stored.of(plain, levels)


def save_png(
    image: Image.Image | Stored, path: str | os.PathLike[str], parameters: Mapping[str, Any], new: bool = False
) -> None:
    """Write `image` as a PNG that carries `parameters`, whole or not at all: in RGB and sRGB, or as it is `Stored`.

    The parameters stand as JSON in the text chunk `lightfusion` (what JSON has no form for, as text), and those that
    other tools know in `parameters`, in their form. Missing folders are made; an existing picture is replaced, and what
    a link leads to, with a word in the log: the link stays.

    Args:
        new: take a free name alone, which no other process can take meanwhile.

    Raises:
        InputError: the disk is full, the place may not be written, or `path` is no place for a file.
        FileExistsError: `new`, and the name is taken.
    """
    write_whole(Path(path), _png(image, _chunks(parameters)), _claim if new else os.replace)


def plain_png(image: Image.Image) -> bytes:
    """A PNG in RGB and sRGB of nothing but its pixels: the same picture, the same bytes."""
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, format="PNG")
    return buffer.getvalue()


def read_parameters(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The parameters that `save_png` put into a picture; None for a picture without any.

    Raises:
        InputError: not a readable picture, or its parameters are damaged.
    """
    with _opened(path) as image:
        # Asking for `.text` decodes the pixels; only where another tool moved the chunk behind them.
        record = image.info.get(PARAMETERS_CHUNK) or getattr(image, "text", {}).get(PARAMETERS_CHUNK)
    if record is None:
        return None
    try:
        parameters = json.loads(record)
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise InputError(f"{path}: expected a JSON object in its text `{PARAMETERS_CHUNK}`, found it damaged.")
    return parameters


def _png(image: Image.Image | Stored, chunks: PngImagePlugin.PngInfo) -> bytes:
    if isinstance(image, Stored) and image.packed is None and image.levels.dtype == np.uint16:
        return deep_png(image.levels, chunks, image.profile)
    written, buffer = image.image() if isinstance(image, Stored) else to_rgb(image), io.BytesIO()
    written.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def _chunks(parameters: Mapping[str, Any]) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    # Plain ASCII, so that the chunk is a tEXt that every tool reads.
    chunks.add_text(PARAMETERS_CHUNK, json.dumps(dict(parameters), default=str))
    readable = infotext(parameters)
    if readable is not None:
        chunks.add_text(READABLE_CHUNK, readable)
    return chunks


def write_whole(
    path: Path,
    data: bytes,
    give_name: Callable[[Path, Path], None] = os.replace,
    *,
    staging: Path | None = None,
    what: str = "a picture",
) -> None:
    """Write a file so that `path` holds all of `data` or what it held before.

    Args:
        give_name: how the finished file gets its name.
        staging: a folder of the same file system where it is written until then; its own when None.
        what: it is, for messages.

    Raises:
        InputError, FileExistsError: see `save_png`.
    """
    try:
        if path.exists() and not path.is_file():
            # os.replace would put a picture in the place of a device such as /dev/null.
            raise InputError(f"{path}: expected a file name to save to, found a folder or device; add a file name.")
        place = path if give_name is _claim else _behind_links(path)
        with unfinished(place, staging, give_name) as temporary, open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except _TakenError:
        raise FileExistsError(errno.EEXIST, "this name is taken", str(path)) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected to save {what} of {len(data)} bytes, found: {reason(error)}; {_remedy(error)}."
        ) from None


def _behind_links(path: Path) -> Path:
    """What a name leads to. Raises InputError for a link to itself."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise InputError(f"{path}: expected a file name to save to, found a link that leads to itself; remove it.")
    log.warning("%s is a link: the picture goes to %s.", printable(str(path)), printable(str(target)))
    return target


class _TakenError(Exception):
    """Another file has the name."""


def _claim(temporary: Path, path: Path) -> None:
    """Give a file a name that nothing else has. Raises _TakenError."""
    try:
        if os.name == "nt":
            os.rename(temporary, path)  # replaces nothing there
            return
        os.link(temporary, path)
    except FileExistsError:
        raise _TakenError from None
    except OSError:  # a file system without links
        try:
            open(path, "xb").close()
        except FileExistsError:
            raise _TakenError from None
        os.replace(temporary, path)


def _remedy(error: OSError | ValueError) -> str:
    match getattr(error, "errno", None):
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "choose a folder that you may write to"
        case errno.EEXIST | errno.ENOTDIR:
            return "a part of its folder's path is a file, so choose another folder"
        case errno.ENAMETOOLONG:
            return "choose a shorter name"
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return "free some space or choose another disk"
        case _:
            return "choose another place"


def _plain(image: Image.Image, source: Image.Image) -> Image.Image:
    """A copy with nothing beside its pixels but what says their colours."""
    plain = image.copy()
    plain.format = source.format
    plain.info = {name: image.info[name] for name in ("icc_profile", "transparency") if name in image.info}
    return plain


def _upright(rgb: Image.Image, source: Image.Image) -> Image.Image:
    """Turn `rgb` as the EXIF of its `source` says. Unreadable EXIF is no reason to refuse a picture."""
    method = _turn(source)
    return rgb if method is None else rgb.transpose(method)


def _turn(source: Image.Image) -> Image.Transpose | None:
    """What turns a picture upright by its EXIF."""
    if source.format == "TIFF":
        return None  # PIL turns it as it loads, and its older versions still give the orientation
    try:
        orientation = source.getexif().get(_ORIENTATION_TAG)
    except _DAMAGED:
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


@contextmanager
def _opened(path: str | os.PathLike[str], data: io.BytesIO | None = None) -> Iterator[Image.Image]:
    """Open a picture file, or its bytes; whatever PIL raises inside of the block becomes an InputError that names the
    file."""
    if data is None and os.path.isdir(path):  # Path.is_dir would raise where a folder on the way may not be searched
        raise InputError(f"{path}: expected a picture, found a folder; give the path of one picture in it.")
    try:
        # to open a pipe is to wait until someone writes into it
        if data is None and not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path}: expected a picture, found a pipe or a device; give a file.")
        with Image.open(path if data is None else data) as image:
            if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(
                    f"{image.width}x{image.height} pixels, of at most {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million"
                )
            yield image
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: expected a picture, found no such file; check the path.") from None
    except PermissionError:
        raise InputError(f"{path}: expected a readable picture, found no permission to read it; change that.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: too large to open safely ({str(error).rstrip('.')}); make it smaller.") from None
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: expected a picture (PNG, JPEG, WebP, GIF, BMP or TIFF), found something else; "
            "give a picture or convert it to PNG."
        ) from None
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, and none of PIL's
            raise InputError(f"{path}: expected a picture, found: {error.strerror}; check the path.") from None
        raise InputError(
            f"{path}: expected a whole picture, found it damaged or cut off ({error}); copy or export it again."
        ) from None
