"""What loading takes of a process's own memory: foreseen to the byte, and held to what there is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import relative_error
from tiny import write_model
from torch import nn

from lightfusion_core import Guidance, LightFusion, Sampling
from lightfusion_core.checkpoints import memory
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.checkpoints.keys import PARTS
from lightfusion_core.checkpoints.memory import available_memory, fitting, own_bytes
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.errors import DeviceMemoryError

MAPS = Path("/proc/self/maps")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model, coupled (so that nothing of its file is left out), in float32, float16, bfloat16 and scaled fp8."""
    folder = tmp_path_factory.mktemp("models")
    source = write_model(folder / "float32", coupled=True)
    shutil.copytree(source, folder / "float16")
    for file in (folder / "float16").glob("*.safetensors"):
        save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    for dtype in ("bf16", "fp8"):
        Converter(source, folder / dtype, dtype=dtype).run()
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.skipif(not MAPS.exists(), reason="needs Linux's list of mapped files")
@pytest.mark.parametrize("stored", ["float32", "float16", "bf16", "fp8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_own_memory_is_foreseen(folders: dict[str, Path], stored: str, dtype: torch.dtype) -> None:
    """All that does not lie inside of the mapped files, to the byte."""
    model = LightFusion.load(folders[stored], device="cpu", dtype=dtype)
    keeps_fp8 = dtype == torch.bfloat16
    found = sum(_own(module, folders[stored]) for module in (model.understanding, model.generation, model.vae))
    assert found == own_bytes(Checkpoint.open(folders[stored]), PARTS, dtype, keeps_fp8)


def _own(module: nn.Module, folder: Path) -> int:
    mapped = []
    for line in MAPS.read_text().splitlines():
        if str(folder) in line:
            mapped.append(tuple(int(end, 16) for end in line.split()[0].split("-")))
    return sum(
        parameter.nbytes
        for parameter in module.parameters()
        if not any(start <= parameter.data_ptr() < end for start, end in mapped)
    )


def test_a_bf16_model_stays_mapped_where_memory_is_short(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 31 GB model grew to 60 GB of its own until the system ended the process."""
    checkpoint = Checkpoint.open(folders["bf16"])
    assert fitting(checkpoint) == (torch.float32, False)
    monkeypatch.setattr(memory, "available_memory", lambda: own_bytes(checkpoint, PARTS, torch.float32))
    assert fitting(checkpoint) == (torch.bfloat16, False)
    model = LightFusion.load(folders["bf16"], device="cpu")
    assert {model.understanding.dtype, model.generation.dtype} == {torch.bfloat16}


@pytest.mark.skipif(not MAPS.exists(), reason="needs Linux's list of mapped files")
@pytest.mark.parametrize(
    ("stored", "dtype"), [("float32", torch.bfloat16), ("bf16", torch.float32), ("fp8", torch.float32)]
)
def test_matrices_without_room_in_a_named_dtype_are_cast_at_use(
    folders: dict[str, Path], stored: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A float32 file of 62 GB was given 31 GB of bfloat16 on a machine of 24, which ended the process."""
    checkpoint = Checkpoint.open(folders[stored])
    whole = LightFusion.load(folders[stored], device="cpu", dtype=dtype)
    mapped_bytes = own_bytes(checkpoint, PARTS, dtype, as_stored=True)
    assert mapped_bytes < own_bytes(checkpoint, PARTS, dtype, keeps_fp8=False)
    monkeypatch.setattr(memory, "available_memory", lambda: 1 + int(mapped_bytes / memory._SHARE))
    model = LightFusion.load(folders[stored], device="cpu", dtype=dtype)
    assert {model.understanding.dtype, model.generation.dtype} == {dtype}
    parts = (model.understanding, model.generation, model.vae)
    assert sum(_own(module, folders[stored]) for module in parts) == mapped_bytes
    request = {"sampling": Sampling(2), "guidance": Guidance(3.0)}
    wanted, found = (
        one.sample(one.encode([500, 65, 501], negative_prompt=[500, 501]), 64, 64, 1, **request)
        for one in (whole, model)
    )
    assert relative_error(found, wanted) < (1e-5 if dtype is torch.float32 else 2e-2)


def test_what_fits_in_no_dtype_is_refused_before_it_is_loaded(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    for dtype in (None, torch.bfloat16):
        with pytest.raises(DeviceMemoryError, match=r"GB are free for it: .*`lightfusion convert`"):
            LightFusion.load(folders["float16"], device="cpu", dtype=dtype)


def test_fp8_computes_in_bfloat16(folders: dict[str, Path]) -> None:
    """Named, the dtype widened the weights too."""
    model = LightFusion.load(folders["fp8"], device="cpu", dtype=torch.bfloat16)
    for tower in (model.generation, model.understanding):
        held = [parameter.dtype for parameter in tower.parameters()]
        assert held.count(torch.float8_e4m3fn) > 20
        assert tower.dtype == torch.bfloat16


def test_embeddings_are_read_row_by_row(folders: dict[str, Path]) -> None:
    """Of a table of 152,064 rows a prompt needs a few."""
    model = LightFusion.load(folders["bf16"], device="cpu", dtype=torch.float32)
    assert model.understanding.model.language_model.embed_tokens.weight.dtype == torch.bfloat16
    assert model.understanding.embed([1, 2]).dtype == torch.float32


def test_memory_is_read_from_the_system() -> None:
    assert 1 << 20 < available_memory() < 1 << 50
