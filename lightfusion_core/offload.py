"""Which part of a model is on the device when: all of it, one phase after another, or layer by layer.

Encoding, drawing and decoding never overlap, so "phases" has on the device what the present one needs. Where that
is still too much, "groups" has one layer of a tower there at a time, through diffusers' group offloading. Weights
at home stay what the file is mapped to: moving out copies nothing.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .checkpoints.files import TensorFile
from .checkpoints.reader import require_unchanged
from .errors import CapabilityError, DeviceMemoryError, InputError
from .texts import first_line
from .turns import Turn
from .understanding.tower import UnderstandingTower

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

MODES = ("phases", "groups")
HOME = torch.device("cpu")


@contextmanager
def in_own_precision(device: torch.device) -> Iterator[None]:
    """Without the caller's autocast, which would compute in fewer bits what is float32 on purpose."""
    with torch.autocast("cpu", enabled=False):
        if device.type == "cpu":
            yield
        else:
            with torch.autocast(device.type, enabled=False):
                yield


class Residency:
    """Where a model's parts are, and whose turn it is to use them: one thread at a time computes.

    A part stays on the device until the last of those who use it is done.

    Attributes:
        files: what weights are mapped to.

    Args:
        device: where they run.
        towers: the parts that "groups" moves layer by layer.
        others: the parts that move as a whole.
        mode: None (everything stays on the device), "phases" or "groups"; the parts lie at home with either.

    Raises:
        InputError: no such mode. CapabilityError: "groups" without what it needs.
    """

    def __init__(
        self, device: torch.device, towers: Sequence[nn.Module], others: Sequence[nn.Module], mode: str | None
    ) -> None:
        check_mode(mode)
        self.device, self.mode, self.tile = device, mode, _TILE if mode == "groups" else None
        self._towers, self._others = list(towers), list(others)
        self.turn = Turn()
        self.files: tuple[TensorFile, ...] = ()
        self._uses: Counter[nn.Module] = Counter()
        self._homes: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        self._tell_towers(mode is not None)
        if mode == "groups":
            self._stream()

    def run(
        self,
        what: str,
        parts: Sequence[nn.Module],
        work: Callable[[], _Result],
        forget: Callable[[], None],
        watched: Watched | None = None,
    ) -> _Result:
        """Do `work` with these parts on the device, and once more with offloading and tiles where its memory does not
        suffice. Other threads wait meanwhile.

        Args:
            what: names the work in the log and in the error.
            forget: drops what is kept on the device for a next request.
            watched: the caller's function that `work` calls. What it raises is not the device's, whatever it says.

        Raises:
            DeviceMemoryError: the memory does not suffice then either.
            CheckpointError: see `require_files`.
        """
        self.require_files()
        for attempt in (nullcontext, self.tightened):
            try:
                with self.turn, attempt(), self.using(*parts), in_own_precision(self.device):
                    return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or (watched is not None and error is watched.raised):
                    raise
                said = first_line(error)
            # Here, and not above: the error holds the frames of what ran, and they hold its tensors
            forget()
            release(self.device)
            if attempt is nullcontext:
                log.warning("Out of memory while %s (%s): once more, with offloading and tiles.", what, said)
        raise DeviceMemoryError(
            f"The memory of {self.device} does not suffice for {what}, even with offloading and tiles ({said}): draw "
            "smaller or fewer pictures, use fewer references, or end what else uses the device."
        )

    def require_files(self) -> None:
        """Look whether the files that weights are mapped to are still the same: what was cut off would end the process,
        and what was written anew would draw another picture.

        Raises:
            CheckpointError: one has changed.
        """
        require_unchanged(self.files)

    @contextmanager
    def using(self, *parts: nn.Module | None) -> Iterator[None]:
        """Have these parts on the device while the block runs."""
        brought: list[nn.Module] = []
        try:
            with self.turn:
                for part in parts:
                    if part is not None and self._moves(part):
                        brought.append(part)
                        self._bring(part)
            yield
        finally:
            with self.turn:
                for part in brought:
                    self._leave(part)

    def _bring(self, part: nn.Module) -> None:
        self._uses[part] += 1
        if self._uses[part] == 1:
            homes = self._homes[part] = []
            for tensor in _tensors(part):
                homes.append((tensor, tensor.data))
                tensor.data = _moved(tensor.data, self.device)

    def _leave(self, part: nn.Module) -> None:
        self._uses[part] -= 1
        if not self._uses[part]:
            for tensor, home in self._homes.pop(part):
                tensor.data = home

    @contextmanager
    def tightened(self) -> Iterator[None]:
        """Have as little on the device as can be while the block runs: for what ran out of memory."""
        mode, tile = self.mode, self.tile
        streams = mode != "groups" and can_stream(self.device)
        if mode is None:
            for part in (*self._towers, *self._others):
                part.to(HOME)
            self._tell_towers(True)
        if streams:
            self._stream()
        self.mode, self.tile = ("groups" if streams else mode or "phases"), _TILE
        release(self.device)
        try:
            yield
        finally:
            self.mode, self.tile = mode, tile
            if streams:
                self._unstream()
            if mode is None:
                for part in (*self._towers, *self._others):
                    part.to(self.device)
                self._tell_towers(False)

    def _moves(self, part: nn.Module) -> bool:
        return self.mode == "phases" or (self.mode == "groups" and part not in self._towers)

    def _tell_towers(self, away: bool) -> None:
        """Tell towers whose weights are away where they run, which the weights do not tell."""
        for tower in self._towers:
            if isinstance(tower, UnderstandingTower):
                tower.runs_on = self.device if away else None

    def _stream(self) -> None:
        if not _has_accelerator():
            raise CapabilityError(
                'Offloading by "groups" moves layers to a GPU, and torch finds none here: leave offloading out.'
            )
        if not find_spec("accelerate"):
            raise CapabilityError(
                'Offloading by "groups" needs the package accelerate: install it, or offload by "phases".'
            )
        from diffusers.hooks import apply_group_offloading

        streams = self.device.type in ("cuda", "xpu")
        for tower in self._towers:
            apply_group_offloading(
                tower, self.device, HOME, offload_type="leaf_level", use_stream=streams, low_cpu_mem_usage=True
            )
            # Its prefetching follows the order inside of one forward call, and towers are called by many methods
            _remove_hooks(tower, _PREFETCHING)

    def _unstream(self) -> None:
        for tower in self._towers:
            _remove_hooks(tower, (_STREAMING,))


class Watched:
    """A caller's function, and what it last raised."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.raised: BaseException | None = None

    def __call__(self, *arguments: Any) -> None:
        try:
            self.function(*arguments)
        except BaseException as error:
            self.raised = error
            raise


_TILE = 512
_STREAMING = "group_offloading"
_PREFETCHING = ("lazy_prefetch_group_offloading", "layer_execution_tracker")


def _remove_hooks(tower: nn.Module, names: Sequence[str]) -> None:
    """Take diffusers' hooks of these names off a tower and all that is in it."""
    for module in tower.modules():
        registry = getattr(module, "_diffusers_hook", None)
        if registry is not None:
            for name in names:
                if registry.get_hook(name) is not None:
                    registry.remove_hook(name, recurse=False)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device)


def _tensors(part: nn.Module) -> Iterator[Tensor]:
    yield from part.parameters()
    yield from part.buffers()


def check_mode(mode: str | None) -> None:
    """Refuse a mode that is not there. Raises InputError."""
    if mode is not None and mode not in MODES:
        raise InputError(f"Offloading goes by {' or '.join(MODES)}, found {mode!r}.")


def _has_accelerator() -> bool:
    """Whether torch has a device beside the CPU: diffusers' group offloading asks it for one."""
    if hasattr(torch, "accelerator"):
        return torch.accelerator.current_accelerator() is not None
    return torch.cuda.is_available()


def can_stream(device: torch.device) -> bool:
    """Whether a tower can be moved layer by layer: from the main memory to another device's."""
    return device.type != "cpu" and find_spec("accelerate") is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory is spent; each kind of device says it in its own way."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SPENT)


_SPENT = ("out of memory", "can't allocate memory", "not enough memory")


def release(device: torch.device) -> None:
    """Give back what torch holds of a device's memory and nothing uses."""
    gc.collect()
    if device.type in ("cuda", "mps", "xpu"):
        getattr(torch, device.type).empty_cache()
