"""Files larger than memory and swap together: they are mapped without a byte being set aside for them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from lightfusion_core.checkpoints.files import TensorFile
from lightfusion_core.checkpoints.header import ELEMENT_SIZES
from lightfusion_core.errors import CheckpointError

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32}


@pytest.fixture(params=DTYPES)
def large(request: pytest.FixtureRequest, tmp_path: Path) -> TensorFile:
    """A file of holes, 4 GiB larger than memory and swap, whose last tensor is two ones."""
    dtype, size = request.param, _memory() + (4 << 30)
    width = ELEMENT_SIZES[dtype]
    tensors = {"large": (size // width, 0), "last": (2, size)}
    header = json.dumps(
        {
            name: {"dtype": dtype, "shape": [numbers], "data_offsets": [start, start + numbers * width]}
            for name, (numbers, start) in tensors.items()
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    file = tmp_path / "large.safetensors"
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        stream.seek(size, 1)
        stream.write(torch.ones(2, dtype=DTYPES[dtype]).view(torch.uint8).numpy().tobytes())
    return TensorFile.open(file)


def _memory() -> int:
    """Bytes of memory and swap."""
    lines = Path("/proc/meminfo")
    if not lines.is_file():
        pytest.skip("how much memory there is, is read from Linux' /proc")
    said = dict(line.split(":") for line in lines.read_text(encoding="ascii").splitlines())
    return sum(int(said[name].split()[0]) * 1024 for name in ("MemTotal", "SwapTotal"))


def test_is_mapped(large: TensorFile) -> None:
    """The authors' checkpoint is one file of 30 GB, or of 60: mapped as memory that may be written, the system
    refuses it where memory is less."""
    assert large.tensor("last").tolist() == [1.0, 1.0]
    assert large.tensor("large")[-1] == 0


def test_what_is_written_stays_in_memory(large: TensorFile) -> None:
    """A host may change weights in place."""
    large.tensor("last").zero_()
    assert large.tensor("last").tolist() == [0.0, 0.0]
    assert TensorFile.open(large.path).tensor("last").tolist() == [1.0, 1.0]


def test_a_mapping_that_is_refused_is_explained(large: TensorFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("mmap.mmap", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be mapped .* `lightfusion convert`"):
        large.tensor("last")
