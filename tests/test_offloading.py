"""Offloading changes where weights are and nothing of what is drawn; a device whose memory is spent gets one more try.

There is one device here, so a part that moves in is told by its weights being copies while it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import write_model
from torch import Tensor, nn

from lightfusion_core import CapabilityError, Decoding, DeviceMemoryError, InputError, LightFusion, Sampling, offload
from lightfusion_core.offload import Residency, is_out_of_memory

SHORT = Sampling(steps=2)


@pytest.fixture(scope="module", params=["frozen", pytest.param("coupled", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("offloaded"), coupled=request.param == "coupled")


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Moving to the device copies, and every copy is noted."""
    made: list[Tensor] = []

    def copy(tensor: Tensor, device: torch.device) -> Tensor:
        made.append(tensor.clone())
        return made[-1]

    monkeypatch.setattr(offload, "_moved", copy)
    return made


@pytest.fixture
def cpu_as_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' group offloading asks torch for an accelerator, and the CPU can serve as one."""
    pytest.importorskip("accelerate")
    if not hasattr(torch, "accelerator"):
        return
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cpu"))


def homes(model: LightFusion) -> list[int]:
    parts = (model.understanding, model.generation, model.vae)
    return [tensor.data_ptr() for part in parts for tensor in (*part.parameters(), *part.buffers())]


def requests(model: LightFusion, picture: Image.Image) -> list[Tensor | str]:
    """One of each kind."""
    drawn = model.generate("a word", width=64, height=96, seed=3, sampling=SHORT)
    edited = model.edit(picture, "change it", width=64, height=64, seed=4, sampling=SHORT)
    answer = "".join(model.answer("what is it?", [picture], decoding=Decoding(6)))
    return [drawn, edited, answer, "".join(model.think("a word", [picture], decoding=Decoding(6)))]


def is_same(found: list[Tensor | str], wanted: list[Tensor | str]) -> bool:
    return all(
        a == b if isinstance(a, str) else bool((a - b).abs().max() < 1e-4) for a, b in zip(found, wanted, strict=True)
    )


def test_phases_draw_the_same_and_end_at_home(folder: Path, picture: Image.Image, copied: list[Tensor]) -> None:
    wanted = requests(LightFusion.load(folder, device="cpu"), picture)
    assert not copied
    model = LightFusion.load(folder, device="cpu", offload="phases")
    before = homes(model)
    assert is_same(requests(model, picture), wanted)
    assert copied
    assert homes(model) == before


def test_a_phase_has_what_it_needs_and_nothing_else(
    folder: Path, copied: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LightFusion.load(folder, device="cpu", offload="phases")
    before = dict(
        zip(("understanding", "generation"), (first(model.understanding), first(model.generation)), strict=True)
    )
    seen: list[tuple[str, set[str]]] = []

    def inside() -> set[str]:
        towers = {"understanding": model.understanding, "generation": model.generation}
        return {name for name, tower in towers.items() if first(tower) != before[name]}

    encode, velocity, decode = model.encoder.encode, model.generation.velocity, model.vae.decode
    monkeypatch.setattr(model.encoder, "encode", lambda *a: (seen.append(("encode", inside())), encode(*a))[1])
    monkeypatch.setattr(model.generation, "velocity", lambda *a: (seen.append(("draw", inside())), velocity(*a))[1])
    monkeypatch.setattr(model.vae, "decode", lambda *a: (seen.append(("decode", inside())), decode(*a))[1])
    model.generate("a word", width=64, height=64, sampling=SHORT)
    drawing = {"generation", "understanding"} if model.generation.coupled else {"generation"}
    assert seen == [("encode", {"understanding"}), ("draw", drawing), ("draw", drawing), ("decode", set())]


def first(part: nn.Module) -> int:
    return next(part.parameters()).data_ptr()


def test_an_error_in_a_phase_brings_everything_home(folder: Path, copied: list[Tensor]) -> None:
    model = LightFusion.load(folder, device="cpu", offload="phases")
    before = homes(model)

    def cancel(step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate("a word", width=64, height=64, sampling=SHORT, on_step=cancel)
    assert homes(model) == before


def test_an_answer_holds_its_tower_until_it_ends(folder: Path, copied: list[Tensor]) -> None:
    model = LightFusion.load(folder, device="cpu", offload="phases")
    before = homes(model)
    pieces = model.answer("what is it?", decoding=Decoding(6))
    next(pieces, None)
    assert homes(model) != before
    pieces.close()
    assert homes(model) == before


def test_an_idle_conditioning_lies_on_the_cpu(folder: Path) -> None:
    model = LightFusion.load(folder, device="cpu", offload="phases")
    conditioning = model.encode("a word")
    assert {segment.hidden.device.type for segment in conditioning.full.segments} == {"cpu"}
    assert model.encoder._kept is None


def test_groups_draw_the_same(folder: Path, picture: Image.Image, cpu_as_accelerator: None) -> None:
    """Every tower's layer is moved by diffusers, whichever of the tower's methods runs it."""
    wanted = requests(LightFusion.load(folder, device="cpu"), picture)
    model = LightFusion.load(folder, device="cpu", offload="groups")
    assert hasattr(model.generation.blocks[0].ffn[0], "_diffusers_hook")
    assert is_same(requests(model, picture), wanted)


@pytest.mark.parametrize("offload", ["layers", ""])
def test_a_mode_that_is_not_there(offload: str, folder: Path) -> None:
    with pytest.raises(InputError, match="phases or groups"):
        LightFusion.load(folder, device="cpu", offload=offload)


# Out of memory


class Spent:
    """A hook that finds no memory the first so many times."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left, self.error = (
            times,
            error or torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB."),
        )

    def __call__(self, *unused: object) -> None:
        if self.left:
            self.left -= 1
            raise self.error


@pytest.fixture
def loaded(folder: Path, copied: list[Tensor]) -> Iterator[LightFusion]:
    model = LightFusion.load(folder, device="cpu")
    before = homes(model)
    yield model
    assert homes(model) == before
    assert model.residency.mode is None
    assert model.residency.tile is None


def place(model: LightFusion, where: str) -> nn.Module:
    """A module that runs in one phase alone."""
    return {
        "reading the prompt": model.understanding.model.language_model.embed_tokens,
        "drawing": model.generation.blocks[2],
        "decoding": model.vae.model.decoder,
    }[where]


@pytest.mark.parametrize("where", ["reading the prompt", "drawing", "decoding"])
def test_one_retry_with_offloading_and_tiles(
    where: str, loaded: LightFusion, caplog: pytest.LogCaptureFixture, copied: list[Tensor]
) -> None:
    wanted = loaded.generate("a word", width=64, height=64, sampling=SHORT)
    assert not copied
    hook = place(loaded, where).register_forward_pre_hook(Spent(1))
    with caplog.at_level(logging.WARNING, "lightfusion_core"):
        found = loaded.generate("a word", width=64, height=64, sampling=SHORT)
    hook.remove()
    assert [f"Out of memory while {where}" in record.getMessage() for record in caplog.records] == [True]
    assert "once more, with offloading and tiles" in caplog.text
    assert copied
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("where", ["reading the prompt", "drawing", "decoding"])
def test_then_a_clear_error_and_the_next_request_works(where: str, loaded: LightFusion) -> None:
    wanted = loaded.generate("a word", width=64, height=64, sampling=SHORT)
    hook = place(loaded, where).register_forward_pre_hook(Spent(2))
    with pytest.raises(DeviceMemoryError, match=f"does not suffice for {where}, even with offloading") as caught:
        loaded.generate("a word", width=64, height=64, sampling=SHORT)
    assert caught.value.__context__ is None  # its frames would hold the tensors that filled the memory
    found = loaded.generate("a word", width=64, height=64, sampling=SHORT)
    hook.remove()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_a_retry_of_an_edit_encodes_the_picture_in_tiles(loaded: LightFusion, picture: Image.Image) -> None:
    tiles: list[object] = []
    encode = loaded.vae.encode
    loaded.vae.encode = lambda pixels, tile=None: (tiles.append(tile), encode(pixels, tile))[1]
    hook = loaded.vae.model.encoder.register_forward_pre_hook(Spent(1))
    loaded.edit(picture, "change it", width=64, height=64, sampling=SHORT, keep=False)
    hook.remove()
    del loaded.vae.encode
    assert tiles == [None, 512]


def test_a_retry_streams_the_towers_where_it_can(
    folder: Path, cpu_as_accelerator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offload, "can_stream", lambda device: True)
    model = LightFusion.load(folder, device="cpu")
    wanted = model.generate("a word", width=64, height=64, sampling=SHORT)
    modes: list[str | None] = []
    spent = Spent(1)

    def watch(*unused: object) -> None:
        modes.append(model.residency.mode)
        spent()

    hook = model.generation.blocks[2].register_forward_pre_hook(watch)
    found = model.generate("a word", width=64, height=64, sampling=SHORT)
    hook.remove()
    assert modes[0] is None
    assert set(modes[1:]) == {"groups"}
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    registry = model.generation.blocks[0].ffn[0]._diffusers_hook
    assert registry.get_hook("group_offloading") is None
    torch.testing.assert_close(model.generate("a word", width=64, height=64, sampling=SHORT), wanted, rtol=0, atol=1e-4)


def test_other_errors_pass_through(loaded: LightFusion) -> None:
    hook = loaded.generation.blocks[2].register_forward_pre_hook(Spent(1, RuntimeError("shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="shapes"):
        loaded.generate("a word", width=64, height=64, sampling=SHORT)
    hook.remove()


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.05 GB)"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_each_device_says_it_in_its_own_way(error: Exception, spent: bool) -> None:
    assert is_out_of_memory(error) is spent


def test_groups_without_accelerate_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "_has_accelerator", lambda: True)
    monkeypatch.setattr(offload, "find_spec", lambda name: None)
    with pytest.raises(CapabilityError, match="accelerate"):
        Residency(torch.device("cpu"), [nn.Linear(1, 1)], [], "groups")


@pytest.mark.skipif(offload._has_accelerator(), reason="this machine has a GPU")
def test_groups_without_a_gpu_say_so() -> None:
    """Whether accelerate is there or not: installing it would not help."""
    with pytest.raises(CapabilityError, match="torch finds none"):
        Residency(torch.device("cpu"), [nn.Linear(1, 1)], [], "groups")
