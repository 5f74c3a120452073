"""The peak memory of each phase. Phases never overlap: each has its own part of the model, which leaves before
the next one comes."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import torch

from ..errors import CapabilityError
from .phases import phases, weight_bytes
from .report import Report, Series, of_bytes
from .requests import Request
from .settings import OnRound, Settings, quiet
from .timing import synchronise


class PeakMemory:
    """The most memory that a device held while the block ran: what torch gave out on a GPU, the process's own
    pages (not those of mapped files) on a CPU.

    Raises:
        CapabilityError: a system that does not tell.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before, self.peak = 0, 0
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True)

    @property
    def rise(self) -> int:
        """The peak over what was held before."""
        return self.peak - self.before

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self.device.type == "cuda":
            synchronise(self.device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        else:
            self.before = self.peak = anonymous_bytes()
            self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            synchronise(self.device)
            self.peak = torch.cuda.max_memory_allocated(self.device)
        else:
            self._done.set()
            self._watch.join()
            self.peak = max(self.peak, anonymous_bytes())

    def _sample(self) -> None:
        while not self._done.wait(0.002):
            self.peak = max(self.peak, anonymous_bytes())


def anonymous_bytes() -> int:
    """The process's resident memory without the pages of mapped files, which the system may drop."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        raise CapabilityError("Memory on a CPU is measured on Linux alone: measure on a GPU, or on Linux.") from None
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def measure(settings: Settings, on_round: OnRound = quiet) -> Report:
    """Every phase of a picture and of an edit with one reference, with its part alone in memory."""
    report = Report(
        f"Peak memory of {settings.config.name}", settings.as_dict(),
        ("phase", "part", "weights", "peak", "peak over the weights"), x_axis="phase", y_axis="GB",
    )  # fmt: skip
    bars = Series("peak")
    for phase in phases(settings, [Request(settings.side, count, settings.prompt) for count in (0, 1)]):
        with PeakMemory(settings.device) as made:
            part, start = phase.prepare()
            with PeakMemory(settings.device) as ran:
                phase.run(part, start)
        weights = weight_bytes(part)
        del part, start
        over = max(0, made.peak - made.before - weights)
        report.rows.append((phase.name, phase.part, of_bytes(weights), of_bytes(made.rise), of_bytes(over)))
        report.results[phase.name] = {"weights": weights, "peak": made.rise, "while_running": ran.rise}
        bars.add(phase.name, made.rise / 1e9)
        on_round(phase.name)
    report.series.append(bars)
    return report
