"""Kill a conversion at each call that changes the disk, and look at what is left.

    python killing.py FOLDER SIGINT|SIGTERM|SIGKILL|full EARLIER

Each time a child of this process converts, and is killed at its n-th call that makes, writes, renames, links, syncs or
removes something ("full": that call finds the disk full). Prints how many calls there were, and what went wrong.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import torch  # noqa: E402
from tiny import CONFIG, write_model  # noqa: E402

from lightfusion_core.checkpoints.convert import Converter  # noqa: E402
from lightfusion_core.checkpoints.writer import Writer  # noqa: E402
from lightfusion_core.errors import LightFusionError  # noqa: E402

SMALL = replace(
    CONFIG,
    text=replace(CONFIG.text, num_hidden_layers=2),
    vision=replace(CONFIG.vision, depth=1, fullatt_block_indexes=(0,)),
    dit=replace(CONFIG.dit, num_layers=2),
    fusion=replace(CONFIG.fusion, num_layers=1),
)
CALLS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree", "shutil.copytree")
EVERY = 15
"""Of the many writes of tensors, one in so many."""


class Counter:
    """Counts the calls, and does something at one of them."""

    def __init__(self, at: int | None, act: Callable[[], None], full: bool) -> None:
        self.count, self.at, self.act, self.full, self.on = 0, at, act, full, True

    def call(self) -> None:
        if not self.on:
            return
        if self.count == self.at:
            self.on = False
            self.act()
        self.count += 1

    def watch(self) -> None:
        """Count what Python tells of files, and the writes and syncs that it does not tell of."""

        def told(event: str, arguments: tuple[Any, ...]) -> None:
            opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_TRUNC)
            removes = self.full and event in ("os.remove", "os.rmdir", "shutil.rmtree")  # which need no room
            if (event in CALLS or opened) and not removes:
                self.call()

        sys.addaudithook(told)
        sync, write, writes = os.fsync, Writer.write, [0]

        def synced(descriptor: int) -> None:
            self.call()
            sync(descriptor)

        def written(writer: Writer, *arguments: Any) -> None:
            writes[0] += 1
            if writes[0] % EVERY == 0:
                self.call()
            write(writer, *arguments)

        os.fsync, Writer.write = synced, written


def run(source: Path, target: Path, at: int | None, how: str) -> tuple[int, int]:
    """Convert in a child: (its wait status, the number of calls)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        converter = Converter(source, target, dtype="fp8", force=True)

        def act() -> None:
            if how == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            os.kill(os.getpid(), getattr(signal, how))

        counter = Counter(at, act, how == "full")
        counter.watch()
        try:
            converter.run()
        except LightFusionError:
            os._exit(1)
        except KeyboardInterrupt:
            os._exit(130)
        except SystemExit as stop:
            os._exit(int(stop.code or 0))
        os.write(writing, str(counter.count).encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return status, int(pipe.read() or 0)


def content(folder: Path) -> dict[str, bytes] | None:
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else None


def main() -> int:
    base, how, earlier = Path(sys.argv[1]), sys.argv[2], bool(int(sys.argv[3]))
    source, target, kept = write_model(base / "source", SMALL), base / "place" / "out", base / "kept"
    Converter(source, kept, dtype="bf16").run()
    (kept / "mine.txt").write_text("mine")
    old = content(kept) if earlier else None

    def reset() -> None:
        shutil.rmtree(base / "place", ignore_errors=True)
        (base / "place").mkdir()
        if earlier:
            shutil.copytree(kept, target)

    reset()
    status, calls = run(source, target, None, how)
    new, wrong = content(target), [] if status == 0 else ["the plain run failed"]
    for at in range(calls):
        reset()
        status, _ = run(source, target, at, how)
        found, hidden = content(target), [name for name in os.listdir(base / "place") if name.startswith(".")]
        if found not in (old, new, None):
            wrong.append(f"call {at}: the target is neither old nor new nor gone: {sorted(found or ())}")
        if how == "full" and found is None and old is not None:
            wrong.append(f"call {at}: the earlier conversion is gone")
        if how != "SIGKILL" and hidden:
            wrong.append(f"call {at}: left {hidden} (status {status})")
        status, _ = run(source, target, None, how)
        if status or content(target) != new:
            wrong.append(f"call {at}: the second run ended with {status}")
        if hidden := [name for name in os.listdir(base / "place") if name.startswith(".")]:
            wrong.append(f"call {at}: the second run left {hidden}")
    print(calls, "calls;", "; ".join(wrong) or "nothing went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
