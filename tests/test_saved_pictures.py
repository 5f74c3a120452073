"""Saving pictures: a save is whole or leaves what was there, and says how the picture was made."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import noise, pixels, refusal, unprivileged
from PIL import Image, PngImagePlugin

from lightfusion_core.picture_files import load_image, read_parameters, save_png

REPOSITORY = Path(__file__).resolve().parents[1]

PARAMETERS = {
    "prompt": "a fox, \u72d0 \u2603 \x00 \u0141\nsecond line",
    "seed": 2**63,
    "shift": 0.1,
    "width": 64,
    "height": 32,
    "model": Path("a/b"),
    "nested": {"x": None, "y": True},
}


def test_save_png_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "picture.png"
    save_png(noise(33, 21), path, PARAMETERS)
    assert pixels(load_image(path)) == pixels(noise(33, 21))
    assert read_parameters(path) == {**PARAMETERS, "model": str(Path("a/b"))}
    assert os.listdir(path.parent) == ["picture.png"]
    with Image.open(path) as image:
        lines = image.info["parameters"].splitlines()
        assert json.loads(image.info["lightfusion"])["shift"] == 0.1
    assert lines == ["a fox, \u72d0 \u2603  \u0141", "second line", f"Seed: {2**63}, Size: 64x32, Shift: 0.1"]


def test_save_png_takes_undecodable_names(tmp_path: Path) -> None:
    """A path with a byte that is not UTF-8 reaches Python as a lone surrogate."""
    save_png(noise(2, 2), tmp_path / "a.png", {"reference": "caf\udce9.png"})
    assert read_parameters(tmp_path / "a.png") == {"reference": "caf\udce9.png"}


def test_save_png_replaces_and_drops_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    save_png(noise(4, 4, seed=1), path, {"old": 1})
    os.link(path, tmp_path / "kept.png")
    image = noise(4, 4, seed=2)
    image.info["icc_profile"] = b"a profile"
    save_png(image, str(path), {})
    assert pixels(load_image(path)) == pixels(image) and read_parameters(path) == {}
    with Image.open(path) as saved:
        assert "icc_profile" not in saved.info
    # Written in place, the old file would have changed under whoever was reading it.
    assert pixels(load_image(tmp_path / "kept.png")) == pixels(noise(4, 4, seed=1))


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_saved_files_have_ordinary_permissions(tmp_path: Path) -> None:
    """A private temporary file would leave pictures that a web server or another user cannot read."""
    before = os.umask(0o022)
    try:
        save_png(noise(2, 2), tmp_path / "a.png", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o644


def test_saving_from_many_threads_leaves_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "same.png"
    threads = [threading.Thread(target=save_png, args=(noise(64, 64, n), path, {"n": n})) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = read_parameters(path)
    assert winner is not None and pixels(load_image(path)) == pixels(noise(64, 64, winner["n"]))
    assert os.listdir(tmp_path) == ["same.png"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a file system is not allowed here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_leaves_the_old_picture(small_disk: Path) -> None:
    path = small_disk / "picture.png"
    save_png(noise(40, 40), path, {"n": 1})
    before = path.read_bytes()
    message = refusal(path, lambda: save_png(noise(300, 300), path, {"n": 2}))
    assert "No space left" in message and "free some space" in message
    assert path.read_bytes() == before and os.listdir(small_disk) == ["picture.png"]
    save_png(noise(40, 40, seed=3), path, {"n": 3})
    assert read_parameters(path) == {"n": 3}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file size limits")
def test_write_that_fails_half_way_leaves_the_old_picture(tmp_path: Path) -> None:
    """The kernel stops the write at 20 kB, in a process of its own so that the limit ends with it."""
    path = tmp_path / "picture.png"
    save_png(noise(40, 40), path, {"n": 1})
    before = path.read_bytes()
    script = """
        import resource, signal, sys
        import numpy as np
        from PIL import Image
        from lightfusion_core.errors import InputError
        from lightfusion_core.picture_files import save_png
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
        try:
            save_png(picture, sys.argv[1], {})
        except InputError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith(f"{path}: ") and "File too large" in result.stdout
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["picture.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_saving_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "readonly"
    folder.mkdir(mode=0o500)
    with unprivileged():
        message = refusal(folder / "a.png", lambda: save_png(noise(2, 2), folder / "a.png", {}))
    assert "may write to" in message and os.listdir(folder) == []


def test_saving_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    inside = tmp_path / "file" / "deeper" / "a.png"
    assert "another folder" in refusal(inside, lambda: save_png(noise(2, 2), inside, {}))
    assert "folder or device" in refusal(tmp_path, lambda: save_png(noise(2, 2), tmp_path, {}))
    long = tmp_path / ("n" * 300 + ".png")
    assert "shorter name" in refusal(long, lambda: save_png(noise(2, 2), long, {}))
    null = tmp_path / "a\0b.png"
    refusal(null, lambda: save_png(noise(2, 2), null, {}))
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_saving_never_replaces_a_device(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/full")
    assert "device" in refusal(tmp_path / "a.png", lambda: save_png(noise(2, 2), tmp_path / "a.png", {}))
    assert (tmp_path / "a.png").is_symlink() and os.listdir(tmp_path) == ["a.png"]


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As every program does that opens a file to write; also where nothing is there yet."""
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "latest.png", tmp_path / "disk" / "picture.png"
    link.symlink_to("disk/picture.png")
    for size in (4, 6):
        save_png(noise(size, size), link, {})
        assert link.is_symlink()
        assert load_image(target).size == (size, size)
    assert f"latest.png is a link: the picture goes to {target}" in caplog.text
    assert os.listdir(tmp_path / "disk") == ["picture.png"]
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert "leads to itself" in refusal(tmp_path / "loop.png", lambda: save_png(noise(2, 2), tmp_path / "loop.png", {}))


def test_a_link_is_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("nothing.png")
    with pytest.raises(FileExistsError):
        save_png(noise(2, 2), tmp_path / "a.png", {}, new=True)
    assert os.listdir(tmp_path) == ["a.png"]


def test_read_parameters_of_other_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.gif"):
        noise(4, 4).save(tmp_path / name)
        assert read_parameters(tmp_path / name) is None
    refusal(tmp_path / "none.png", lambda: read_parameters(tmp_path / "none.png"))
    (tmp_path / "text.png").write_text("text")
    refusal(tmp_path / "text.png", lambda: read_parameters(tmp_path / "text.png"))


@pytest.mark.parametrize("record", ["{", "[1]", "[" * 100_000])
def test_read_parameters_refuses_a_damaged_record(tmp_path: Path, record: str) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("lightfusion", record)
    noise(4, 4).save(tmp_path / "a.png", pnginfo=chunks)
    assert "damaged" in refusal(tmp_path / "a.png", lambda: read_parameters(tmp_path / "a.png"))


def test_read_parameters_needs_no_pixels_and_finds_a_moved_record(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(noise(40, 40), path, {"seed": 5})
    data = path.read_bytes()
    path.write_bytes(data[:-2000])
    assert read_parameters(path) == {"seed": 5}
    start = data.index(b"tEXtlightfusion") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    path.write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    assert read_parameters(path) == {"seed": 5}
