"""What all stages of the training share: optimisers, the schedule, checkpoints, the log and its plot."""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightfusion_core.unfinished import unfinished

from .model import DEVICE
from .muon import Muon
from .team import Team

MEAN_DECAY = 0.999
"""Of the running mean of the weights, which is what ships."""

Losses = Callable[[random.Random], tuple[Tensor | None, dict[str, float]]]
"""One step: the loss, or None where the gradients stand already, and figures to log. All its chance comes from the
generator."""


def options(parser: argparse.ArgumentParser, *, minutes: float, plan: int, batch: int, rate: float) -> None:
    """The options that every stage has."""
    parser.add_argument("--minutes", type=float, default=minutes, help="how long to train now (default: %(default)s)")
    parser.add_argument("--plan", type=int, default=plan, help="steps until the rate has fallen (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=batch, help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=rate, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--finish", action=_Finish, nargs=0, default=False, help="let the rate fall within the minutes, plan or not"
    )


class _Finish(argparse.Action):
    """A flag that several processes are refused at once, before their data is made: each has a clock of its own."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object) -> None:
        if Team().count > 1:
            parser.error("--finish goes by one process's clock: train with a plan, or without torchrun.")
        setattr(namespace, self.dest, True)


def optimizers_of(module: nn.Module, rate: float, inner: tuple[str, ...]) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices whose names begin with one of `inner`, Adam for everything else; Muon's
    updates are scaled so that one rate serves both."""
    matrices = [p for name, p in module.named_parameters() if p.ndim == 2 and name.startswith(inner)]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in module.parameters() if id(parameter) not in chosen]
    return [
        Team().optimizer(Muon, matrices, lr=rate, weight_decay=0.05, like_adam=True),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


class Training:
    """A run that resumes from its checkpoint.

    Args:
        checkpoint: the file; a plot of the log stands beside it. One of weights alone is where a training begins.
        module: what is trained. A running mean of its weights is kept with it.
        mean: a copy of the module for the running mean.
        optimizers: of the module.
        rate, plan, seed: see `options`.
    """

    def __init__(
        self,
        checkpoint: Path,
        module: nn.Module,
        mean: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        *,
        rate: float,
        plan: int,
        seed: int,
    ) -> None:
        self.checkpoint, self.module, self.mean, self.optimizers = checkpoint, module, mean, optimizers
        self.rate, self.plan, self.seed = rate, plan, seed
        self.team = Team()
        self.step = 0
        self.log: list[tuple[int, dict[str, float]]] = []
        module.to(DEVICE)
        mean.to(DEVICE).requires_grad_(False)
        if checkpoint.exists():
            saved = torch.load(checkpoint, weights_only=True, map_location=DEVICE)
            module.load_state_dict(saved["weights"])
            mean.load_state_dict(saved["mean"])
            if "step" in saved:
                for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
                    optimizer.load_state_dict(state)
                self.step, self.log = saved["step"], saved["log"]
            if self.team.leads:
                print(f"resumed at step {self.step}", flush=True)

    def run(
        self,
        losses: Losses,
        minutes: float,
        show: Callable[[], None] | None = None,
        until: int | None = None,
        finish: bool = False,
    ) -> None:
        """Train until the plan (or the step `until`) is done or the time is up; a checkpoint every minute,
        a look at the model (`show`) every tenth of the plan, and both at the end. With `finish` the rate has fallen
        when the time is up, however many steps there were; for a team of one, see `options`."""
        begun = self.step
        started = saved = time.monotonic()
        recent: list[dict[str, float]] = []
        last = self.plan if until is None else min(until, self.plan)
        over = minutes <= 0
        while self.step < last and not over:
            now = time.monotonic()
            done = part_done(self.step, self.plan, begun, (now - started) / (minutes * 60) if finish else 0.0)
            figures, (over, due) = self._advance(losses, (now - started > minutes * 60, now - saved > 60), done)
            recent.append(figures)
            if self.step % 50 == 0 or self.step == self.plan:
                self._note(recent, (now - started) / 60)
                recent = []
            if due:
                self.save()
                saved = time.monotonic()
            if show is not None and self.team.leads and self.step % max(1000, self.plan // 10) == 0:
                show()
        self.save()
        if show is not None and self.team.leads:
            show()

    def _note(self, recent: list[dict[str, float]], minutes: float) -> None:
        """Log and print the means of the last steps' figures."""
        names = dict.fromkeys(name for figures in recent for name in figures)
        mean = {name: float(np.mean([row[name] for row in recent if name in row])) for name in names}
        self.log.append((self.step, mean))
        if self.team.leads:
            said = "  ".join(f"{name} {value:.3f}" for name, value in mean.items())
            print(f"step {self.step}  {said}  {minutes:.1f} min", flush=True)

    def _advance(self, losses: Losses, said: Sequence[bool], done: float) -> tuple[dict[str, float], list[bool]]:
        """One step, when a part `done` of the training is over; its figures, and what the team's leader said."""
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, done))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate * min(1.0, (self.step + 1) / 100) * (0.02 + 0.98 * fall)
        chance = self.seed * 1_000_003 + self.step * self.team.count + self.team.rank
        # what is recorded on a GPU adds to the gradients where they are
        self.module.zero_grad(set_to_none=DEVICE.type != "cuda")
        loss, figures = losses(random.Random(chance))
        if loss is not None:
            loss.backward()
        heard = self.team.average(self.module.parameters(), said)
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        decay = min(MEAN_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.module.parameters()), 1 - decay)
        self.step += 1
        return figures, heard

    def save(self) -> None:
        """Write the checkpoint whole or not at all, and the plot."""
        optimizers = [self.team.state_of(optimizer) for optimizer in self.optimizers]
        if not self.team.leads:
            return
        state = {
            "weights": self.module.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizers": optimizers,
            "step": self.step,
            "log": self.log,
        }
        _write(self.checkpoint, state)
        if self.log:
            plot(self.checkpoint.with_suffix(".png"), {self.checkpoint.stem: self.log})


def part_done(step: int, plan: int, begun: int, passed: float) -> float:
    """What part of a training is over, by its steps or by its time, whichever is further.

    Args:
        begun: the step at which this run of it began.
        passed: the part of this run's time that is over; 0 where steps alone count.
    """
    first = begun / plan
    return max(step / plan, first + (1 - first) * min(1.0, passed))


def begin(checkpoint: Path, weights: Mapping[str, Tensor]) -> None:
    """Write where a training begins: weights alone, which are their running mean too."""
    _write(checkpoint, {"weights": weights, "mean": weights})


def _write(checkpoint: Path, state: Mapping[str, object]) -> None:
    """Whole or not at all."""
    with unfinished(checkpoint) as part:
        torch.save(state, part)


def plot(path: Path, logs: dict[str, list[tuple[int, dict[str, float]]]]) -> None:
    """Every figure of one or several logs as a curve of its own."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for log in logs.values() for _, figures in log for name in figures))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.5 * columns, 2.8 * rows), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1, title=name, xlabel="step")
        for label, log in logs.items():
            points = [(step, figures[name]) for step, figures in log if name in figures]
            axes.plot(*zip(*points, strict=True), label=label)
        if len(logs) > 1:
            axes.legend(fontsize="small")
        if "loss" in name:
            axes.set_yscale("log")
    figure.savefig(path, dpi=100)


def sheet(path: Path, rows: list[tuple[list[np.ndarray], str]], columns: int = 4) -> None:
    """Rows of pictures (H, W, 3), each with a text under it, on one page."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * columns, 2.2 * -(-len(rows) // columns)), layout="constrained")
    for index, (pictures, text) in enumerate(rows):
        axes = figure.add_subplot(-(-len(rows) // columns), columns, index + 1)
        gap = np.full((len(pictures[0]), 6, 3), 255, np.uint8)
        axes.imshow(np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1))
        axes.set_title(text, fontsize="small", wrap=True)
        axes.axis("off")
    figure.savefig(path, dpi=80)
