"""What cannot be converted is refused in one line, and nothing half-written is ever left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoint_layouts import golden, golden_vae, write
from headers import rewritten
from pictures import unprivileged
from safetensors.torch import load_file, save_file
from samples import heed_interrupts

from lightfusion_core import CheckpointError, InputError, LightFusionError
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.checkpoints.report import inspect
from lightfusion_core.checkpoints.staging import Staging
from lightfusion_core.checkpoints.writer import Planned

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


@pytest.mark.slow
def test_a_disk_that_fills(source: Path, tmp_path: Path) -> None:
    """The system refuses a write half way through the first file."""
    out = tmp_path / "new" / "out"
    said, errors = start(source, out, "full").communicate(timeout=300)
    assert "the disk is full" in said, errors
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_an_earlier_conversion_survives_a_disk_that_fills(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Converter(source, out).run()
    before = {name: (out / name).read_bytes() for name in left(out)}
    said, errors = start(source, out, "full").communicate(timeout=300)
    assert "the disk is full" in said, errors
    assert {name: (out / name).read_bytes() for name in left(out)} == before


@pytest.mark.parametrize(
    "how", [*(pytest.param(how, marks=pytest.mark.slow) for how in (signal.SIGINT, signal.SIGTERM)), signal.SIGKILL]
)
def test_a_cancelled_conversion_leaves_nothing_under_a_final_name(
    how: signal.Signals, source: Path, tmp_path: Path
) -> None:
    """Ctrl+C and SIGTERM leave nothing at all; a killed process cannot clean up, and what it leaves no reader sees."""
    out = tmp_path / "out"
    process = start(source, out, "watch")
    for _ in range(10):
        assert process.stdout.readline()
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not out.exists()
    hidden = [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert sorted(hidden) == ([".out.lock", ".out.partial"] if how is signal.SIGKILL else [])
    assert {file.parent.name for file in Checkpoint.open(tmp_path).files} == {"source"}  # no hidden folder's
    Converter(source, out).run()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_callback_that_raises_ends_the_run_cleanly(source: Path, tmp_path: Path) -> None:
    class CancelledError(Exception):
        pass

    def cancel(name: str) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        Converter(source, tmp_path / "out").run(cancel)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def open_to_all(source: Path) -> Iterator[Path]:
    """A copy of the source where every user may look."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        yield Path(shutil.copytree(source, Path(place, "source")))


def test_a_place_that_may_not_be_written(open_to_all: Path) -> None:
    """Or not even be looked into."""
    (open_to_all.parent / "locked").mkdir(mode=0o500)
    (open_to_all.parent / "hidden").mkdir(mode=0o600)
    for place in ("locked", "hidden", "hidden/deep"):
        converter = Converter(open_to_all, open_to_all.parent / place / "out")
        with unprivileged(), refused(InputError, place, "Permission denied"):
            converter.run()
    assert left(open_to_all.parent / "locked") == left(open_to_all.parent / "hidden") == []


@pytest.mark.parametrize("name", ["model.safetensors", "vae.safetensors", "config.json", "."])
def test_what_may_not_be_read_is_said_alike(open_to_all: Path, name: str) -> None:
    os.chmod(open_to_all / name, 0)
    Converter(write(open_to_all.parent / "other", {"model.safetensors": golden()}), open_to_all.parent / "x")  # imports
    acts = (inspect, Checkpoint.open, lambda path: Converter(path, open_to_all.parent / "out"))
    for act in acts[::2] if name == "config.json" else acts:
        with unprivileged():
            try:
                said = str(act(open_to_all).faults)
            except LightFusionError as error:
                said = str(error)
        assert "cannot be read: Permission denied" in said


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


def test_a_damaged_header_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    """Offsets shifted by two bytes: each tensor is still inside of the file, and reads as other numbers."""
    file = source / "model.safetensors"

    def shift(header: dict) -> None:
        value = header["vgen_model.head.head.bias"]
        value["data_offsets"] = [offset - 2 for offset in value["data_offsets"]]

    rewritten(file, shift)
    with refused(CheckpointError, file, "is damaged"):
        Converter(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_replaced_meanwhile(source: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "out", source / "vae.safetensors"
    Converter(source, out).run()
    before = {name: (out / name).read_bytes() for name in left(out)}
    converter = Converter(source, out, dtype="fp8", force=True)
    shutil.copyfile(file, tmp_path / "new.safetensors")
    os.replace(tmp_path / "new.safetensors", file)
    with refused(CheckpointError, file, "has changed since"):
        converter.run()
    assert {name: (out / name).read_bytes() for name in left(out)} == before


def test_a_folder_under_the_name_of_a_file(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "config.json").mkdir(parents=True)
    with refused(InputError, "config.json is no file and would be lost"):
        Converter(source, tmp_path / "out", force=True)


def test_what_else_lies_in_the_target_is_kept(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Converter(source, out).run()
    (out / "notes").mkdir()
    (out / "notes" / "mine.txt").write_text("mine")
    (out / "link").symlink_to("notes")
    (out / "tokenizer.json").write_text("of an earlier conversion")
    Converter(source, out, understanding="drop", force=True).run()
    assert left(out) == [
        "config.json", "generation.safetensors", "link", "notes", "notes/mine.txt", "vae.safetensors"
    ]  # fmt: skip
    assert (out / "link" / "mine.txt").read_text() == "mine"


def test_weights_in_a_folder_of_the_target_would_be_mixed_in(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "more").mkdir(parents=True)
    save_file({"x": torch.zeros(1)}, tmp_path / "out" / "more" / "mine.SAFETENSORS")
    with refused(InputError, "more/mine.SAFETENSORS, which no conversion wrote"):
        Converter(source, tmp_path / "out", force=True)


def test_a_link_stays_a_link(source: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "out").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "out")
    Converter(source, tmp_path / "out").run()
    assert (tmp_path / "out").is_symlink()
    assert "generation.safetensors" in left(tmp_path / "disk" / "out")
    assert os.listdir(tmp_path / "disk") == ["out"]


def test_the_folder_that_one_is_in(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with refused(InputError, "is the folder that you are in"):
        Converter(source, Path(".")).run()


def test_a_target_has_one_writer(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = Converter(source, out), Converter(source, out)
    with Staging(out), refused(InputError, "is being written by another conversion"):
        second.run()
    first.run()
    with refused(InputError, "exists and is not empty"):  # it was empty when it was looked at first
        second.run()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_new_files_have_the_rights_that_any_new_file_has(source: Path, tmp_path: Path) -> None:
    """Without a moment in which this process would give others' files away."""
    before = os.umask(0o027)
    try:
        Converter(source, tmp_path / "out").run()
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {0o640}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL", "full"])
@pytest.mark.parametrize("earlier", [False, True])
def test_killed_at_every_call_that_changes_the_disk(name: str, earlier: bool, tmp_path: Path) -> None:
    """Afterwards the target is the earlier one, the new one, or not there, and the next run leaves nothing hidden."""
    command = [sys.executable, Path(__file__).with_name("killing.py"), tmp_path, name, str(int(earlier))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=heed_interrupts, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 20
