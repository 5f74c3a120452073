"""A lock for what several threads share: free again in a forked child, new in a copy."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from weakref import WeakSet


class Turn:
    """Lets one thread at a time through, and the same thread again; a context manager.

    A child that is forked while another thread has its turn starts with all turns free, since that thread is not there.
    A copy of an object (by deepcopy or pickle) gets a turn of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _all.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Turn], tuple[()]]:
        return Turn, ()


_all: WeakSet[Turn] = WeakSet()


def _free_all() -> None:
    for turn in _all:
        turn._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_free_all)
