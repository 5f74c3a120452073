"""One model, several threads and processes: every result is what it would have been alone."""

from __future__ import annotations

import copy
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from samples import latents
from torch import Tensor

from lightfusion_core import Decoding, DeviceMemoryError, Guidance, LightFusion, Sampling, Step
from lightfusion_core.turns import Turn

SHORT, GUIDED = Sampling(steps=2), Guidance(text=3.0, image=1.5)


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads that change places as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def shade(value: int) -> Image.Image:
    return Image.fromarray(np.full((48, 64, 3), (value, 255 - value, 90), dtype=np.uint8))


def refuse(step: Step) -> None:
    raise MemoryError("the caller's own")


def failing(model: LightFusion, number: int) -> Tensor:
    with pytest.raises(MemoryError, match="the caller's own"):
        model.generate("a word", width=64, height=64, seed=number, sampling=SHORT, on_step=refuse)
    return torch.zeros(1)


def asked(model: LightFusion, number: int) -> Tensor:
    text = "".join(model.answer("what is it?", [shade(number)], decoding=Decoding(max_tokens=4, temperature=1.0)))
    return torch.tensor([*text.encode()])


def requests(model: LightFusion) -> list[Callable[[int], Tensor]]:
    return [
        lambda number: model.generate("a word", width=64, height=64, seed=number, sampling=SHORT),
        lambda number: model.edit(shade(number), "change it", width=64, height=64, sampling=SHORT, guidance=GUIDED),
        lambda number: model.decode(latents(1, 2, 2, seed=number)),
        partial(asked, model),
        partial(failing, model),
    ]


def check_shared(model: LightFusion, count: int) -> None:
    kinds = requests(model)
    wanted = [[kind(number) for number in range(3)] for kind in kinds]
    order = [(index % len(kinds), random.Random(index).randrange(3)) for index in range(count)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda request: kinds[request[0]](request[1]), order))
    wrong = [
        request
        for request, one in zip(order, found, strict=True)
        if not torch.equal(one, wanted[request[0]][request[1]])
    ]
    assert wrong == []


@pytest.mark.usefixtures("hurried")
def test_threads_share_a_model(model: LightFusion) -> None:
    """Guards the VAE's own features and the kept prefixes: another thread's picture came back without an error."""
    check_shared(model, 40)


@pytest.mark.slow
@pytest.mark.usefixtures("hurried")
def test_threads_share_a_model_for_long(model: LightFusion) -> None:
    check_shared(model, 5000)


@pytest.mark.usefixtures("hurried")
def test_threads_share_an_offloaded_model(frozen: LightFusion, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is taken off the device when nobody uses it, and not when the first is done."""
    moved = copy.deepcopy(frozen)
    monkeypatch.setattr(moved.residency, "mode", "phases")
    check_shared(moved, 20)
    assert not +moved.residency._uses


def test_what_a_callback_raises_is_its_own(frozen: LightFusion) -> None:
    """Not the device's, whatever it says: the run is not begun again, and the caller gets the error."""
    steps: list[int] = []

    def spend(step: Step) -> None:
        steps.append(step.index)
        if step.index:
            raise RuntimeError("CUDA out of memory, says a caller")

    with pytest.raises(RuntimeError, match="says a caller") as caught:
        frozen.generate("a word", width=64, height=64, sampling=Sampling(steps=3), on_step=spend)
    assert steps == [0, 1]
    assert not isinstance(caught.value, DeviceMemoryError)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_its_turn() -> None:
    """While another thread of the parent has it, which the child does not have."""
    turn, taken, done = Turn(), threading.Event(), threading.Event()

    def hold() -> None:
        with turn:
            taken.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    child = os.fork()
    if not child:
        got = turn._lock.acquire(timeout=5)
        os._exit(0 if got else 1)
    done.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0
