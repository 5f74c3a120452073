"""A folder that appears whole: written under a hidden name beside its own, and renamed when nothing is missing.

Whatever ends a run, the folder is then the earlier one, the new one, or not there:

    .NAME.partial   what is being written; a run that ended leaves it, and the next one removes it
    .NAME.old       the earlier folder, for the moment between two renames; the next run gives it its name back
    .NAME.lock      held while a run lasts, so that a folder has one writer

Ctrl+C and SIGTERM are noted while it lasts and obeyed between two pieces, so that they leave nothing of these.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, BinaryIO

from ..errors import InputError
from .writer import Planned, Writer

_TRIES = 100


class Staging:
    """A context in which a folder's files are written; it gets them all at once in `commit`.

    Args:
        folder: the folder to be. A link stays a link, and what it leads to is replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._place = Path(os.path.realpath(folder))
        self._partial, self._old, self._lock_file = (
            self._place.with_name(f".{self._place.name}.{ending}") for ending in ("partial", "old", "lock")
        )
        self._lock: BinaryIO | None = None
        self._stop = _Stop()
        self._made: list[Path] = []

    def __enter__(self) -> Staging:
        with self._told():
            self._check_movable()
        self._stop.listen()
        try:
            with self._told():
                self._made = [parent for parent in self._place.parents if not parent.exists()]
                self._place.parent.mkdir(parents=True, exist_ok=True)
                self._lock = self._take_lock()
                self._sweep()
                self._partial.mkdir()
        except BaseException:
            self._leave(failed=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(failed=error is not None)

    def check_space(self, needed: int) -> None:
        """Refuse what cannot fit. Raises InputError."""
        with self._told():
            free = shutil.disk_usage(self._partial).free
        if needed > free:
            raise InputError(
                f"{self.folder}: {needed:,} bytes are needed and {free:,} are free; make room, or choose another place."
            )

    def check_stop(self) -> None:
        """Obey a signal that came. Raises KeyboardInterrupt or SystemExit."""
        self._stop.check()

    @contextmanager
    def open(self, name: str, plan: Sequence[Planned], metadata: Mapping[str, str]) -> Iterator[Writer]:
        """Write a safetensors file. Raises InputError where the disk is full or may not be written."""
        with self._told(), (self._partial / name).open("x+b") as stream:
            writer = Writer(stream, plan, metadata)
            yield writer
            writer.finish()

    def write(self, name: str, content: bytes) -> None:
        """Write a small file. Raises InputError as `open`."""
        with self._told(), (self._partial / name).open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

    def commit(self, replaced: Sequence[str] = ()) -> None:
        """Give the folder its name, in place of an earlier one, whose other files it keeps.

        Args:
            replaced: names of the earlier folder's files that go with it.

        Raises:
            InputError: as `open`; the earlier folder is still there.
        """
        self.check_stop()
        with self._told():
            if self._place.is_dir():
                _carry_over(self._place, self._partial, replaced)
            _put_on_disk(self._partial)
            self.check_stop()
            if self._place.exists():
                os.rename(self._place, self._old)
            try:
                os.rename(self._partial, self._place)
            except BaseException:
                self._restore()
                raise
            _put_on_disk(self._place.parent)
            self._made = []
            self._sweep()

    def _check_movable(self) -> None:
        """Refuse folders that cannot be replaced as a whole."""
        if os.path.ismount(self._place):
            raise InputError(f"{self.folder} is a disk of its own, which cannot be replaced: name a folder in it.")
        if self._place.exists() and os.path.samefile(self._place, os.curdir):
            raise InputError(f"{self.folder} is the folder that you are in, which cannot be replaced: name one in it.")

    def _take_lock(self) -> BinaryIO:
        for _ in range(_TRIES):
            stream = self._lock_file.open("ab")
            if not _locked(stream):
                stream.close()
                raise InputError(f"{self.folder} is being written by another conversion: wait until it ends.")
            # Its last holder may have removed it while we were waiting to be the next one
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(stream.fileno()), os.stat(self._lock_file)):
                    return stream
            stream.close()
        raise InputError(f"{self.folder} is being written by many conversions: wait until they end.")

    def _sweep(self) -> None:
        """Remove what an ended run left, or put it back: an earlier folder is only removed under a name under which
        it would never be put back."""
        if self._old.exists():
            if not self._place.exists():
                os.rename(self._old, self._place)
            else:
                shutil.rmtree(self._partial, ignore_errors=True)
                os.rename(self._old, self._partial)
        shutil.rmtree(self._partial, ignore_errors=True)

    def _restore(self) -> None:
        if self._old.exists() and not self._place.exists():
            os.rename(self._old, self._place)

    def _leave(self, failed: bool) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._sweep()
            _remove_locked(self._lock_file, self._lock)
            self._lock = None
        with contextlib.suppress(OSError):  # not empty: it is in use by now
            for folder in self._made:
                folder.rmdir()
        self._stop.release()
        if not failed:
            self._stop.check()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            reason = "the disk is full" if full else str(error.strerror or error)
            raise InputError(
                f"{self.folder} cannot be written ({reason}): make room, or choose another place; nothing was left "
                "there."
            ) from None


class _Stop:
    """Signals that are noted and obeyed later; those alone that nobody handles otherwise, and in the main thread
    alone, where Python hears them."""

    def __init__(self) -> None:
        self._came: int | None = None
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ())):
            handler = signal.getsignal(number)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = handler
                signal.signal(number, self._note)

    def check(self) -> None:
        """Raises KeyboardInterrupt or SystemExit where a signal came."""
        if self._came == signal.SIGINT:
            raise KeyboardInterrupt
        if self._came is not None:
            raise SystemExit(128 + self._came)

    def release(self) -> None:
        """Let signals act again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = number


def _locked(stream: BinaryIO) -> bool:
    """Take the lock of an open file, which ends with its process; False where another has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            return True  # a file system without locks
        raise
    return True


def _remove_locked(file: Path, stream: BinaryIO) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":  # which removes no open file
            stream.close()
        file.unlink(missing_ok=True)
    stream.close()


def _carry_over(earlier: Path, new: Path, replaced: Sequence[str]) -> None:
    """Put what else lies in a folder into the new one, linked where the file system can."""

    def skip(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name in replaced] if Path(folder) == earlier else []

    shutil.copytree(earlier, new, symlinks=True, ignore=skip, copy_function=_link_or_copy, dirs_exist_ok=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _put_on_disk(folder: Path) -> None:
    """Make the names in a folder last; Windows has no such call."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system has it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
