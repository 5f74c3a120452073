"""Passes of the network that a run does without: velocities foreseen from those before, guidance that is kept.

Every picture of a batch is decided alone, so that it is the same as when it is drawn alone. Solvers, masks and
hosts see a velocity like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

Evaluate = Callable[[Sequence[int], bool], tuple[Tensor, Tensor]]
"""evaluate(pictures, guided) -> the prompted and the guided velocity (n, C, ...) of these pictures of the batch. They
are the same where not `guided`, which runs the prompt's branch alone."""


@dataclass(slots=True)
class Passes:
    """What a run cost, counted in pictures: a step of a batch of four is four.

    steps: velocities that the solver asked for. foreseen: those of them that no pass was made for. run: rows that the
    network ran, one for a branch of a picture. plain: rows that it would have run with every branch at every step.
    """

    steps: int = 0
    foreseen: int = 0
    run: int = 0
    plain: int = 0

    def count(self, pictures: int, run: int, branches: int, foreseen: int = 0) -> None:
        """Add one prediction of a batch."""
        self.steps += pictures
        self.foreseen += foreseen
        self.run += run
        self.plain += pictures * branches

    def add(self, other: Passes) -> None:
        """Add another run's."""
        self.count(other.steps, other.run, 0, other.foreseen)
        self.plain += other.plain

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        share = self.foreseen / max(1, self.steps)
        return (
            f"{self.foreseen} of {self.steps} steps foreseen ({share:.0%}), "
            f"{self.run} of {self.plain} passes of the network run"
        )


class Skipping:
    """Decides for every picture and level which branches the network runs.

    The decision follows EasyCache (arXiv 2507.02860): what skipping is expected to cost, relative to the velocity, is
    summed over skipped steps until it reaches a threshold. What stands in for a skipped velocity is the line through
    the last two (TaylorSeer's first order, arXiv 2503.06923), and its error comes from how far the last pass was off
    the line before it. On nano that reaches half the passes with a third of the error that reuse makes.

    Args:
        threshold: the sum that may not be reached; 0 foresees nothing.
        every: guidance is worked out at every `every`-th step of a picture; between them the difference that it made
            last is added to the prompted velocity.
        passes: counts.
    """

    def __init__(self, threshold: float, every: int, passes: Passes) -> None:
        self.threshold, self.every, self.passes = threshold, every, passes
        self._lines: list[_Line] = []
        self._kind: Hashable = None

    def __call__(
        self, pictures: int, sigma: float, kind: Hashable, branches: int, most: int, evaluate: Evaluate
    ) -> Tensor:
        """The guided velocity of all pictures (n, C, ...).

        Args:
            kind: what velocities at different levels must share to lie on one line: whether guidance acts, and
                whatever a host changes on the way.
            branches: how many rows a picture takes at this level, of `most` that it takes anywhere.
        """
        if kind != self._kind or len(self._lines) != pictures:
            self._kind, self._lines = kind, [_Line() for _ in range(pictures)]
        due = [line.is_due(sigma, self.threshold) for line in self._lines]
        guided = [branches > 1 and line.kept_for >= self.every for line in self._lines]
        for both in (True, False):
            chosen = [k for k in range(pictures) if due[k] and guided[k] == both]
            if chosen:
                self._run(chosen, sigma, both, evaluate)
        run = sum(branches if guided[k] else 1 for k in range(pictures) if due[k])
        self.passes.count(pictures, run, most, foreseen=due.count(False))
        for line in self._lines:
            line.kept_for += 1
        return torch.stack([line.at(sigma) for line in self._lines])

    def _run(self, chosen: list[int], sigma: float, guided: bool, evaluate: Evaluate) -> None:
        full, mixed = evaluate(chosen, guided)
        for row, line in enumerate(self._lines[k] for k in chosen):
            if guided:
                line.difference, line.kept_for = mixed[row] - full[row], 0
            elif line.difference is not None:
                line.learn(sigma, full[row] + line.difference)
                continue
            line.learn(sigma, mixed[row])


class _Line:
    """The line through the last two velocities of one picture, over the noise level."""

    def __init__(self) -> None:
        self.difference: Tensor | None = None
        """What guidance added to the prompted velocity when it was last worked out, `kept_for` steps ago."""
        self.kept_for = 1 << 30
        self._points: list[tuple[float, Tensor]] = []
        self._bend: Tensor | float | None = None  # of the velocity over the level, relative to it
        self._spent = 0.0

    def is_due(self, sigma: float, threshold: float) -> bool:
        """Whether the network must say what the velocity is there; else that is added to what was spent."""
        if threshold <= 0 or self._bend is None or sigma >= self._points[-1][0]:
            return True
        self._bend = float(self._bend)  # waits for the device, so not before it is needed
        self._spent += self._bend * self._reach(sigma)
        return self._spent >= threshold

    def at(self, sigma: float) -> Tensor:
        """The velocity there."""
        (before, old), (last, new) = self._points[0], self._points[-1]
        if sigma == last:
            return new
        return new + (new - old) * ((sigma - last) / (last - before))

    def learn(self, sigma: float, velocity: Tensor) -> None:
        """The network's velocity at a level."""
        self._spent = 0.0
        if self._points and sigma == self._points[-1][0]:  # a solver that looks again from a better place
            self._points[-1] = sigma, velocity
            return
        if self._points and sigma > self._points[-1][0]:  # one that goes back
            self._points, self._bend = [], None
        if len(self._points) == 2:
            off = (velocity - self.at(sigma)).norm() / velocity.norm().clamp(min=1e-12)
            self._bend = off / self._reach(sigma)
        self._points = [*self._points[-1:], (sigma, velocity)]

    def _reach(self, sigma: float) -> float:
        """How the error of a line grows beyond its two points: with the distances to both."""
        return (self._points[-1][0] - sigma) * (self._points[0][0] - sigma)
