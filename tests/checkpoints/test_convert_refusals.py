"""What cannot be converted is refused in one line, and nothing half-written is ever left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from checkpoint_layouts import golden, golden_vae, write
from safetensors.torch import load_file, save_file
from samples import heed_interrupts

from lightfusion_core import CheckpointError, InputError
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.checkpoints.writer import Planned, Staging

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source", {"model.safetensors": golden(), "vae.safetensors": golden_vae()})


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def refused(error: type[Exception], *said: object):
    return pytest.raises(error, match=".*".join(str(text).replace("(", r"\(") for text in said))


def test_a_wrong_dtype(source: Path, tmp_path: Path) -> None:
    with refused(InputError, "bf16 or fp8", "int4"):
        Converter(source, tmp_path / "out", dtype="int4")


def test_a_wrong_place_for_the_understanding_side(source: Path, tmp_path: Path) -> None:
    with refused(InputError, "keep, separate, drop", "'apart'"):
        Converter(source, tmp_path / "out", understanding="apart")


def test_a_source_that_is_cut_off(source: Path, tmp_path: Path) -> None:
    file = source / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    with refused(CheckpointError, file, "is cut off"):
        Converter(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_cut_off_meanwhile(source: Path, tmp_path: Path) -> None:
    """After its header was checked: reading meets the end, where a memory map would end the process."""
    converter = Converter(source, tmp_path / "out")
    file = source / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    with refused(CheckpointError, file, "is cut off inside of"):
        converter.run()
    assert not (tmp_path / "out").exists()


def test_a_source_with_nan(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "vae.safetensors")
    next(iter(tensors.values())).view(-1)[0] = torch.nan
    save_file(tensors, source / "vae.safetensors")
    with refused(CheckpointError, "NaN or infinity"):
        Converter(source, tmp_path / "deep" / "out").run()
    assert not (tmp_path / "deep").exists()


def test_a_source_that_is_not_whole(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    del tensors["vgen_model.head.head.bias"]
    save_file(tensors, source / "model.safetensors")
    with refused(CheckpointError, "head.head.bias"):
        Converter(source, tmp_path / "out")


def test_a_target_that_exists(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Converter(source, out, understanding="separate").run()
    before = {name: (out / name).read_bytes() for name in left(out)}
    with refused(InputError, "exists and is not empty", "--force"):
        Converter(source, out, dtype="fp8")
    assert {name: (out / name).read_bytes() for name in left(out)} == before
    Converter(source, out, dtype="fp8", understanding="drop", force=True).run()
    assert left(out) == ["config.json", "generation.safetensors", "vae.safetensors"]  # no part of the earlier one
    assert torch.float8_e4m3fn in {tensor.dtype for tensor in load_file(out / "generation.safetensors").values()}


def test_force_does_not_mix_models(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    save_file({"x": torch.zeros(1)}, out / "mine.safetensors")
    with refused(InputError, "mine.safetensors"):
        Converter(source, out, force=True)


def test_an_empty_target_is_taken(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    Converter(source, tmp_path / "out").run()
    assert "generation.safetensors" in left(tmp_path / "out")


@pytest.mark.parametrize("target", ["source", "source/out", ".", "link", "source/../source"])
def test_the_target_may_not_be_where_the_source_is(target: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    before = left(source)
    with refused(InputError, "is where the source lies"):
        Converter(source, tmp_path / target, force=True)
    with refused(InputError, "is where the source lies"):
        Converter(source / "model.safetensors", tmp_path / target, force=True)
    assert left(source) == before


@pytest.mark.parametrize("target", ["out.safetensors", "file"])
def test_a_target_that_is_a_file(target: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refused(InputError, "expected a folder"):
        Converter(source, tmp_path / target, force=True)


def test_a_disk_without_room_is_refused_before_anything(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1000))
    with refused(InputError, "bytes are needed and 1,000 are free"):
        Converter(source, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


PROGRAM = """
import sys, time
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.errors import InputError
converter = Converter(sys.argv[1], sys.argv[2], force=True)
if sys.argv[3] == "full":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    try:
        converter.run()
    except InputError as error:
        print(error)
else:
    def watch(name):
        print(name, flush=True)
        time.sleep(0.05)
    converter.run(watch)
"""


def start(source: Path, target: Path, what: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(source), str(target), what]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, preexec_fn=heed_interrupts, **pipes)


def test_a_disk_that_fills(source: Path, tmp_path: Path) -> None:
    """The system refuses a write half way through the first file."""
    out = tmp_path / "new" / "out"
    said, errors = start(source, out, "full").communicate(timeout=300)
    assert "the disk is full" in said, errors
    assert not (tmp_path / "new").exists()


def test_an_earlier_conversion_survives_a_disk_that_fills(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Converter(source, out).run()
    before = {name: (out / name).read_bytes() for name in left(out)}
    said, errors = start(source, out, "full").communicate(timeout=300)
    assert "the disk is full" in said, errors
    assert {name: (out / name).read_bytes() for name in left(out)} == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_cancelled_conversion_leaves_nothing_under_a_final_name(
    how: signal.Signals, source: Path, tmp_path: Path
) -> None:
    """Ctrl-C leaves nothing at all; a killed process cannot clean up, and what it leaves no reader sees."""
    out = tmp_path / "out"
    process = start(source, out, "watch")
    for _ in range(10):
        assert process.stdout.readline()
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    if how is signal.SIGINT:
        assert not out.exists()
    else:
        assert left(out)
        assert all(name.startswith(".") and name.endswith(".partial") for name in left(out))
        with pytest.raises(CheckpointError, match=r"holds no \.safetensors file"):
            Converter(out, tmp_path / "next")


def test_a_callback_that_raises_ends_the_run_cleanly(source: Path, tmp_path: Path) -> None:
    class CancelledError(Exception):
        pass

    def cancel(name: str) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        Converter(source, tmp_path / "out").run(cancel)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_place_that_may_not_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with refused(InputError, "cannot be written"):
        Converter(source, tmp_path / "locked" / "out").run()


def test_a_writer_counts_what_it_was_promised(tmp_path: Path) -> None:
    """A file with a hole in it must never get its name."""

    def write() -> None:
        with Staging(tmp_path / "out") as staging, staging.open("a", [Planned("x", "F32", (3,))], {}) as writer:
            writer.write("x", torch.zeros(2))

    with pytest.raises(RuntimeError, match="4 planned bytes"):
        write()
    assert not (tmp_path / "out").exists()


def test_a_file_is_what_the_library_reads(tmp_path: Path) -> None:
    """Numbers in any order and in pieces, dtypes mixed, a tensor without numbers."""
    plan = [
        Planned("b", "BF16", (3, 5)),
        Planned("e", "F8_E4M3", (0,)),
        Planned("f", "F32", ()),
        Planned("q", "F8_E4M3", (7,)),
    ]
    b, q = torch.randn(3, 5).bfloat16(), torch.randn(7).to(torch.float8_e4m3fn)
    with Staging(tmp_path / "out") as staging:
        with staging.open("a.safetensors", plan, {"made_by": "ü"}) as writer:
            writer.write("q", q)
            writer.write("b", b.view(-1)[4:], 4)
            writer.write("f", torch.tensor(2.5))
            writer.write("b", b.view(-1)[:4])
        assert not (tmp_path / "out" / "a.safetensors").exists()
        staging.commit()
    found = load_file(tmp_path / "out" / "a.safetensors")
    assert torch.equal(found["b"], b)
    assert torch.equal(found["q"].float(), q.float())
    assert found["f"] == 2.5
    assert found["e"].shape == (0,)
