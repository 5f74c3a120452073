"""One step of the network, recorded on an NVIDIA GPU as a CUDA graph and played back.

A step is some two thousand small operations, and Python starts them one after another: small pictures, and weights in
fp8, wait for that more than for the GPU. Played back, they are one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..texts import first_line
from .context import BranchContext, Context
from .tower import GenerationTower

log = logging.getLogger(__name__)


class RecordedStep:
    """`GenerationTower.velocity` for one context, whose steps are recorded where that can be done and pays.

    The first step of each kind (rows and size) runs as it is, so that all that is made once is made outside of the
    recording, which takes as long as one.
    """

    def __init__(self, tower: GenerationTower, context: Context) -> None:
        self.tower, self.context = tower, context
        self._records = can_record(tower, context)
        self._seen: dict[_Kind, int] = {}
        self._recordings: dict[_Kind, _Recording] = {}

    def __call__(self, x: Tensor, timestep: int, branches: Sequence[BranchContext]) -> Tensor:
        """The velocity of every row: as `GenerationTower.velocity`, and the same bits."""
        if not self._records:
            return self.tower.velocity(x, timestep, self.context, branches)
        kind = (tuple(map(id, branches)), x.shape)
        recording = self._recordings.get(kind)
        if recording is None and self._is_time(kind):
            recording = self._record(kind, x, branches)
        if recording is None:
            return self.tower.velocity(x, timestep, self.context, branches)
        return recording.play(x, self.context.clock[timestep : timestep + 1])

    def _is_time(self, kind: _Kind) -> bool:
        self._seen[kind] = self._seen.get(kind, 0) + 1
        return self._seen[kind] > RECORDED_AFTER and len(self._recordings) < _MOST

    def _record(self, kind: _Kind, x: Tensor, branches: Sequence[BranchContext]) -> _Recording | None:
        try:
            made = self._recordings[kind] = _Recording(self.tower, self.context, branches, x)
        except RuntimeError as error:  # out of memory too: its activations are held apart from all others
            log.info(
                "Steps are not recorded as a CUDA graph (%s): they run one by one, at their usual speed.",
                first_line(error),
            )
            self._records = False
            return None
        return made


_Kind = tuple[tuple[int, ...], torch.Size]
RECORDED_AFTER = 1
"""Steps of a kind that run as they are."""
_MOST = 4
"""Recordings of a run: with a step cache every number of pictures left is a kind of its own."""
_NEARLY_FULL = 2 << 30


class _Recording:
    """A step with the inputs that it reads and the output that it writes.

    Raises:
        RuntimeError: an operation that cannot be recorded, or too little memory.
    """

    def __init__(self, tower: GenerationTower, context: Context, branches: Sequence[BranchContext], x: Tensor) -> None:
        self.x, self.sinusoids = x.clone(), context.clock[:1].clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(x.device), self._aside(x.device):
            self.graph.capture_begin(capture_error_mode="thread_local")  # other threads may use the GPU meanwhile
            try:
                self.velocity = tower.velocity_at(self.x, self.sinusoids, context, branches)
            finally:
                self.graph.capture_end()

    @staticmethod
    @contextmanager
    def _aside(device: torch.device) -> Iterator[None]:
        """A stream to record on, as is asked for. What torch holds and does not use is kept, unlike in its own context
        for it, unless the card is nearly full: a next picture would have to ask for all of it again."""
        if torch.cuda.mem_get_info(device)[0] < _NEARLY_FULL:
            torch.cuda.empty_cache()
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            yield
        here.wait_stream(aside)

    def play(self, x: Tensor, sinusoids: Tensor) -> Tensor:
        self.x.copy_(x)
        self.sinusoids.copy_(sinusoids)
        with torch.cuda.device(x.device):
            self.graph.replay()
        return self.velocity.clone()


def can_record(tower: GenerationTower, context: Context) -> bool:
    """Whether a step would do the same when it is played back: on an NVIDIA GPU, where no hook of others (which moves
    weights, or looks at what layers make) runs inside of it."""
    if context.clock.device.type != "cuda" or torch.version.hip is not None:
        return False
    return not any(_hooked(module) for module in tower.modules())


def _hooked(module: torch.nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks:
        return True
    return any(hasattr(module, name) for name in ("_diffusers_hook", "_hf_hook"))
