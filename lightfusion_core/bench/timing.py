"""Fair clocks: tasks take turns within one run, and what is told is a median with its quartiles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Task = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some measurements between their first and third quartile."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))

    def straddles(self, bound: float) -> bool:
        """Whether the quartiles lie on both sides of a bound, so that the median decides nothing."""
        return self.low <= bound <= self.high


def synchronise(device: torch.device) -> None:
    """Wait until everything that was started on a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(task: Task, device: torch.device) -> float:
    """How long a task takes."""
    synchronise(device)
    start = time.perf_counter()
    task()
    synchronise(device)
    return time.perf_counter() - start


def interleaved(
    tasks: Mapping[str, Task],
    rounds: int,
    device: torch.device,
    *,
    warmup: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of every task in every round.

    The tasks of a round run one after another, in turned order every other round, so that a machine that
    slows down or speeds up does so for all of them.
    """
    for _ in range(warmup):
        for task in tasks.values():
            seconds(task, device)
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for index in range(rounds):
        order = list(tasks) if index % 2 == 0 else list(tasks)[::-1]
        for name in order:
            times[name].append(seconds(tasks[name], device))
        on_round()
    return times


def ratio(times: Mapping[str, Sequence[float]], of: str, to: str) -> Spread:
    """The ratio of two tasks' times, paired round by round."""
    return Spread.of([one / other for one, other in zip(times[of], times[to], strict=True)])
