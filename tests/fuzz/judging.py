"""What loading, converting and the report make of a damaged model, and whether that is as it should be."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import FrameType

import torch
from tiny import CONFIG as TINY
from tiny import write_model

from lightfusion_core import LightFusion, LightFusionError, Sampling
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.checkpoints.report import inspect

from .mutations import CONFIG, OF_NUMBERS, SAFETENSORS, TOKENIZER, Mutation

SMALL = replace(
    TINY,
    text=replace(TINY.text, num_hidden_layers=2),
    vision=replace(TINY.vision, depth=1, fullatt_block_indexes=(0,)),
    dit=replace(TINY.dit, num_layers=1),
    fusion=replace(TINY.fusion, num_layers=1),
    vae=replace(TINY.vae, dim_mult=(1, 1), num_res_blocks=1, temporal_downsample=(True,)),
)
SECONDS, WAITED = 20, 300
"""Of the processor, and of waiting on a busy machine, that any file may take."""

KINDS: dict[str, tuple[tuple[str, ...], tuple[Mutation, ...]]] = {
    "safetensors": (("model.safetensors", "vae.safetensors"), SAFETENSORS),
    "config": (("config.json",), CONFIG),
    "tokenizer": (("tokenizer.json",), TOKENIZER),
}


class HangError(BaseException):
    """Something took longer than any file may take."""


@dataclass
class Figures:
    """How often what came out. wrong: what should never be, a line each."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        self.outcomes += other.outcomes
        self.slowest = max(self.slowest, other.slowest)
        self.wrong += other.wrong


@contextmanager
def limited() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError

    before = [signal.signal(number, ring) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WAITED)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


class Judge:
    """One whole small model, and copies of it that are damaged one at a time."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.whole = write_model(base / "whole", SMALL)
        self.target = base / "out"
        self.wanted = weights(LightFusion.load(self.whole, device="cpu", dtype=torch.float32))

    def run(self, kind: str, seeds: range) -> Figures:
        """The damage of these seeds."""
        figures = Figures()
        files, mutations = KINDS[kind]
        for seed in seeds:
            draw = Random(f"{kind} {seed}")
            name, mutate = draw.choice(files), mutations[seed % len(mutations)]
            folder = Path(shutil.copytree(self.whole, self.base / f"{kind} {seed}"))
            try:
                (folder / name).write_bytes(mutate((folder / name).read_bytes(), draw))
                start = time.process_time()
                outcome, wrong = self._judge(folder, kind, mutate.__name__, draw)
                figures.slowest = max(figures.slowest, time.process_time() - start)
                figures.outcomes[outcome] += 1
                figures.wrong += [f"{kind} {seed} ({mutate.__name__} of {name}): {line}" for line in wrong]
            finally:
                shutil.rmtree(folder)
        return figures

    def _judge(self, folder: Path, kind: str, mutation: str, draw: Random) -> tuple[str, list[str]]:
        wrong: list[str] = []
        report = self._tried("inspect", lambda: inspect(folder), wrong)
        sound = report is not None and report.is_sound
        if report is not None:
            self._tried("its text", lambda: (str(report), report.as_dict()), wrong)
        model = self._tried("load", lambda: LightFusion.load(folder, device="cpu", dtype=torch.float32), wrong)
        taken = self._tried("convert", lambda: Converter(folder, self.target), wrong)
        if taken is not None and (draw.random() < 0.1 or model is None):  # numbers are read as they are written
            taken = self._tried("convert", taken.run, wrong)
            shutil.rmtree(self.target, ignore_errors=True)
        if left := [name for name in os.listdir(self.base) if name.startswith(".")]:
            wrong.append(f"converting left {left}")
        says = {"inspect": sound, "load": model is not None, "convert": taken is not None}
        if len(set(says.values())) > 1:
            faults = report.faults[:1] if report is not None else []
            wrong.append(f"they disagree: {says} {faults}")
        if model is not None:
            self._try_out(model, kind, mutation, wrong)
        return ("taken" if model is not None else "refused"), wrong

    def _try_out(self, model: LightFusion, kind: str, mutation: str, wrong: list[str]) -> None:
        """What was loaded must be the model, or draw and speak without a fault."""
        if kind == "safetensors":
            found = weights(model)
            same = found.keys() == self.wanted.keys() and all(torch.equal(found[n], self.wanted[n]) for n in found)
            if not same and mutation not in OF_NUMBERS:
                wrong.append("it loads, with other weights")
            return

        def request() -> bool:
            conditioning = model.encode("a red star", negative_prompt="")
            drawn = model.decode(model.sample(conditioning, 64, 64, 0, Sampling(2)))
            assert model.tokenizer is not None
            model.tokenizer.decode(model.tokenizer.encode("a red star"))
            return bool(drawn.isfinite().all())

        if self._tried("a request", request, wrong) is False:
            wrong.append("it draws what is no number")

    def _tried(self, what: str, act, wrong: list[str]):
        """What a call returns; None where it refuses in one sentence."""
        try:
            with limited():
                return act()
        except LightFusionError as error:
            text = str(error)
            if "\n" in text or not text.isprintable() or len(text) > 1500 or not text.endswith("."):
                wrong.append(f"{what} says {text[:200]!r}")
        except HangError:
            wrong.append(f"{what} takes more than {SECONDS} s")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(sys.exc_info()[2])[-1]
            wrong.append(f"{what} ends in {type(error).__name__}: {str(error)[:150]} ({where.filename}:{where.lineno})")
        return None


def weights(model: LightFusion) -> dict[str, torch.Tensor]:
    """All tensors of a model."""
    parts = {"understanding": model.understanding, "generation": model.generation, "vae": model.vae}
    return {
        f"{part}.{name}": tensor for part, module in parts.items() if module is not None
        for name, tensor in module.state_dict().items()
    }  # fmt: skip
