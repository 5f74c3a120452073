"""A training from its first step to its last, or on from where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..checkpoints.keys import authors_name
from ..config_json import config_to_json
from ..errors import CapabilityError, DeviceMemoryError, InputError, LightFusionError
from ..offload import is_out_of_memory
from ..pipeline import LightFusion
from ..sampling.loop import make_noise
from ..texts import first_line
from .adapters import add_lora, needs_extra, train_everything, write_lora
from .data import Example
from .draws import Draw, Draws, Pool
from .encoding import Encodings, fingerprint
from .files import write_tensors, write_whole
from .settings import Settings
from .sizes import target_size
from .state import State
from .trainee import Row, Trainee, recompute_blocks

LORA, WHOLE, SETTINGS = "lora.safetensors", "generation.safetensors", "settings.json"
_LOGGED = 10
"""Steps between two points of the log."""


class Training:
    """One run in one folder: it goes on from the checkpoint that it finds there.

    Args:
        model: is changed by it. Its generation side lies on its device.
        sources: the examples of every source of data.
        weights: each source's share of the batches.
        folder: where everything is written: checkpoint, result, settings.
        cache: where encodings are kept, which several runs may share.
        autocast: see `Trainee`.

    Raises:
        CapabilityError: a package or a part of the model is missing.
        InputError: settings that do not go together, or the folder holds another training.
    """

    def __init__(
        self,
        model: LightFusion,
        sources: Sequence[Sequence[Example]],
        weights: Sequence[float],
        settings: Settings,
        folder: Path,
        cache: Path,
        autocast: torch.dtype | None = None,
    ) -> None:
        try:
            from accelerate import Accelerator
        except ImportError:
            raise needs_extra("accelerate") from None
        self.model, self.settings, self.folder = model, settings, folder
        self.examples = [example for source in sources for example in source]
        side = settings.side or model.config.defaults.size
        self.sizes = [target_size(example, side, model.config) for example in self.examples]
        self.encodings = Encodings(model, self.examples, self.sizes, cache)
        # the model is where it is to run: accelerate would move it to the first device
        self.accelerator = Accelerator(cpu=model.device.type == "cpu", device_placement=False)
        share, left = divmod(settings.batch, self.accelerator.num_processes)
        if left or not share:
            raise InputError(f"A batch of {settings.batch} rows cannot be shared by {self.accelerator.num_processes} "
                             "processes: make it a multiple.")  # fmt: skip
        pools = make_pools([len(source) for source in sources], weights, self.sizes)
        counts = [len(example.references) for example in self.examples]
        self.draws = Draws(pools, counts, settings.batch, settings.seed, settings.shift, settings.dropout)
        tower = model.generation
        self.about = {
            **settings.decisive(),
            "model": fingerprint(tower),
            "data": self.encodings.digest(),
            "weights": list(weights),
            "autocast": str(autocast),
        }
        if settings.rank:
            add_lora(tower, settings.rank, settings.scale, settings.seed)
        else:
            train_everything(tower)
        if settings.recompute:
            recompute_blocks(tower)
        trained = {name: parameter for name, parameter in tower.named_parameters() if parameter.requires_grad}
        optimizer = make_optimizer(list(trained.values()), settings)
        vlm = model.understanding if tower.coupled else None
        self.trainee, wrapped = self.accelerator.prepare(Trainee(tower, vlm, autocast), optimizer)
        average = {name: tensor.detach().float().clone() for name, tensor in trained.items()} if settings.ema else {}
        self.state = State(dict(trained), wrapped, average)
        self.resumed = self.state.resume(folder, self.about)

    @property
    def leads(self) -> bool:
        """Whether this process writes and shows what all have made."""
        return self.accelerator.is_main_process

    def missing(self) -> list[tuple[int, Any]]:
        """What the steps to come need and is not encoded yet; see `Encodings.missing`."""
        batches = self.draws.steps(self.state.step, self.settings.steps)
        return self.encodings.missing(draw for batch in batches for draw in batch)

    def run(
        self,
        on_step: Callable[[int, float], None] = lambda step, loss: None,
        on_sample: Callable[[int], None] = lambda step: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the last step, or until `stop` says so; whether the last step is done. All is saved then.

        Args:
            on_step: told of every step that is done, and of its loss.
            on_sample: called where samples are due, with what the run would give in the tower.

        Raises:
            LightFusionError: a loss that is no number; the state before it is saved.
            DeviceMemoryError: a step for which the memory does not suffice.
            InputError: something cannot be written; the files are those of before.
        """
        settings, state = self.settings, self.state
        recent: list[float] = []
        last = max(settings.steps, state.step)
        stopped = self._agreed(stop())
        for batch in self.draws.steps(state.step, settings.steps):
            if stopped:
                break
            try:
                loss = self._step(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise DeviceMemoryError(
                    f"The memory of {self.model.device} does not suffice for step {state.step + 1} "
                    f"({first_line(error)}): run fewer rows at once, recompute blocks, or learn smaller pictures. What "
                    f"was saved before is in {self.folder}."
                ) from None
            recent.append(loss)
            if state.step % _LOGGED == 0 or state.step == last:
                state.log.append((state.step, sum(recent) / len(recent)))
                recent = []
            on_step(state.step, loss)
            stopped = self._agreed(stop())
            if state.step % settings.save_every == 0 and state.step < last and not stopped:
                self.save()
            if settings.sample_every and state.step % settings.sample_every == 0 and state.step < last and not stopped:
                self._show(on_sample)
        self.save()
        if state.step < last:
            return False
        if not settings.rank and self.leads:
            self._write_whole()
        self._show(on_sample)
        return True

    def save(self) -> None:
        """Write the checkpoint, and the LoRA as it is now."""
        if not self.leads:
            return
        self.state.save(self.folder, self.about)
        settings = self.settings
        record = {"step": self.state.step, "version": __version__, "base": self.model.config.name, **asdict(settings)}
        write_whole(self.folder / SETTINGS, lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))
        if settings.rank:
            dtype = torch.float32 if self.model.generation.dtype == torch.float32 else torch.bfloat16
            write_lora(self.folder / LORA, self.state.result(), settings.scale, record, dtype)

    def _step(self, batch: Sequence[Draw]) -> float:
        """One optimiser step on this process's rows; the mean loss of all."""
        accelerator, state, settings = self.accelerator, self.state, self.settings
        own = batch[accelerator.process_index :: accelerator.num_processes]
        size = settings.at_once or len(own)
        for group in state.optimizer.param_groups:
            group["lr"] = settings.rate * min(1.0, (state.step + 1) / max(1, settings.warmup))
        state.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.model.device)
        for start in range(0, len(own), size):
            part = own[start : start + size]
            more = start + size < len(own)
            with accelerator.no_sync(self.trainee) if more else nullcontext():
                losses = self.trainee([self._row(draw) for draw in part])
                self._check(losses, part)
                loss = losses.sum() / len(own)
                accelerator.backward(loss)
            total += loss.detach()
        norm = accelerator.clip_grad_norm_(list(state.trained.values()), settings.clip)
        if not bool(norm.isfinite()):
            self._refuse("The gradient", own)
        state.optimizer.step()
        state.step += 1
        state.follow(settings.ema)
        return float(accelerator.reduce(total, "mean"))

    def _row(self, draw: Draw) -> Row:
        clean = self.encodings.latent(draw.index)
        noise = make_noise(clean.shape[1:], [draw.noise])
        return Row(self.encodings.branch(draw.index, draw.shown), clean, noise, draw.sigma)

    def _check(self, losses: Tensor, rows: Sequence[Draw]) -> None:
        finite = losses.isfinite().tolist()
        if not all(finite):
            self._refuse("The loss", [row for row, fine in zip(rows, finite, strict=True) if not fine])

    def _refuse(self, what: str, rows: Sequence[Draw]) -> None:
        """End a run whose numbers are none, with the last good state on disk."""
        if self.state.is_finite():
            self.save()
        names = ", ".join(dict.fromkeys(str(self.examples[row.index]) for row in rows))
        raise LightFusionError(
            f"{what} of step {self.state.step + 1} is no number (NaN or infinity), with {names}: look at it, or lower "
            f"the learning rate. The state before it is in {self.folder}."
        )

    def _show(self, on_sample: Callable[[int], None]) -> None:
        if self.leads:
            with self.state.shown():
                on_sample(self.state.step)
        self.accelerator.wait_for_everyone()

    def _agreed(self, said: bool) -> bool:
        """What any process said, to all."""
        if self.accelerator.num_processes == 1:
            return said
        return bool(self.accelerator.gather(torch.tensor([said], device=self.model.device)).any())

    def _write_whole(self) -> None:
        """The whole generation side as a file that loads, with its configuration beside it."""
        weights = dict(self.model.generation.state_dict()) | self.state.result()
        write_tensors(self.folder / WHOLE, {authors_name(name): tensor for name, tensor in weights.items()})
        text = config_to_json(self.model.config)
        write_whole(self.folder / "config.json", lambda part: part.write_text(text, encoding="utf-8"))


def make_pools(counts: Sequence[int], weights: Sequence[float], sizes: Sequence[tuple[int, int]]) -> list[Pool]:
    """The pools of sources with so many examples each: one for every size in a source, with its part of the source's
    weight.

    Raises:
        InputError: weights that are not one above 0 for each source.
    """
    if len(weights) != len(counts) or not all(0 < weight < float("inf") for weight in weights):
        raise InputError(f"Expected a weight above 0 for each of the {len(counts)} sources of data, found "
                         f"{', '.join(f'{weight:g}' for weight in weights) or 'none'}.")  # fmt: skip
    pools, start = [], 0
    for count, weight in zip(counts, weights, strict=True):
        places = range(start, start := start + count)
        for size in dict.fromkeys(sizes[place] for place in places):
            alike = tuple(place for place in places if sizes[place] == size)
            pools.append(Pool(weight * len(alike) / count, alike))
    return pools


def make_optimizer(parameters: list[Tensor], settings: Settings) -> torch.optim.Optimizer:
    """AdamW in the manner that is asked for. Raises CapabilityError where bitsandbytes is missing."""
    kind: Any = torch.optim.AdamW
    if settings.optimizer == "adamw8bit":
        try:
            from bitsandbytes import optim

            kind = optim.AdamW8bit
        except ImportError:
            raise CapabilityError(
                "The optimiser adamw8bit takes bitsandbytes, which is not installed here: pip install bitsandbytes, or "
                "take adamw."
            ) from None
    return kind(parameters, lr=settings.rate, betas=(0.9, 0.95), weight_decay=settings.decay)
