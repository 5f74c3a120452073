"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unfinished(
    target: Path, staging: Path | None = None, give_name: Callable[[Path, Path], object] | None = None
) -> Iterator[Path]:
    """A path to write a file at, which gets its name when the block ends well; when it fails, what was there stays.

    The folders are made. The path's own name does not grow with the target's, which may be as long as the file system
    allows.

    Args:
        target: the name that the file gets.
        staging: a folder of the same file system where it stands until then; the target's own when None.
        give_name: how it gets its name, from its path and the target; None puts it in the place of what was there.

    Raises:
        OSError: a folder cannot be made, or the name cannot be given; and whatever the block raises.
    """
    folder = target.parent if staging is None else staging
    for needed in (target.parent, folder):
        needed.mkdir(parents=True, exist_ok=True)
    path = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        yield path
        (give_name or os.replace)(path, target)
    finally:
        path.unlink(missing_ok=True)
