"""Wrong input of every command: one line that says what to do, and nothing on stdout."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from command_results import refusal
from pictures import unprivileged
from PIL import Image, ImageFile

LONG = "a" * 300

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs POSIX pipes and permissions")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--solver", "magic"), "There is no solver 'magic': choose one of unipc"),
        (("--steps", "0"), "at least 1 step, found 0"),
        (("--shift", "0"), "shift must be above 0"),
        (("--renorm", "all"), "renorm must be one of none"),
        (("--renorm-min", "2"), "renorm_min must lie between 0 and 1"),
        (("--interval", "0.9", "0.1"), "must run from low to high"),
        (("--interval", "-1", "0.5"), "found -1 to 0.5"),
        (("--interval", "0.5", "2"), "found 0.5 to 2"),
        (("--shift", "1e15"), "A shift of 1e+15 leaves no difference"),
        (("--steps", "1000000000000"), "takes at most 1,000,000 steps"),
        (("--guidance", "1e30"), "between -1000 and 1000, found 1e+30"),
        (("--think", "--negative", "b"), "--negative has no effect with --think"),
        (("--batch", "2000"), "at most 256 pictures, found 2000"),
        (("--device", "hpu"), "The device 'hpu' cannot be used here"),
        (("--device", "abacus", "--plan"), "There is no device 'abacus'"),
        (("-o", f"{LONG}.png"), "File name too long; choose another name"),
        (("-o", f"{LONG[:251]}.png", "--batch", "10"), "File name too long"),
        (("-o", f"{LONG}/x.png"), "File name too long"),
        (("--model", LONG), "File name too long"),
        (("--vae", LONG), "File name too long"),
        (("--understanding", LONG), "File name too long"),
        (("--tokenizer", LONG), "File name too long"),
        (("--batch", "0"), "at least 1 picture, found 0"),
        (("--width", "1700", "--height", "100"), "at most 16:1, found 1700x100"),
        (("--width", "0", "--height", "64"), "1x1 pixel, found 0x64"),
        (("--width", "4096", "--height", "4096"), "up to 512 pixels a side, found 4096x4096"),
        (("--width", "2000"), "16:1"),
        (("--device", "abacus"), "There is no device 'abacus'"),
        (("--device", "meta"), "There is no device 'meta'"),
        (("-o", "picture.jpg"), "saved as PNG, found .jpg"),
        (("-o", "photo.png/x.png"), "photo.png is a file"),
        (("--tokenizer", "nowhere"), "does not exist: give a tokenizer.json"),
        (("--vae", "nowhere.safetensors"), "nowhere.safetensors does not exist"),
        (("--understanding", "photo.png"), "photo.png is not a safetensors file"),
    ],
)
def test_settings_that_cannot_be_used(run, photo: Path, arguments: tuple[str, ...], said: str) -> None:
    refusal(run("generate", "a", *arguments), said)
    assert sorted(path.name for path in Path().iterdir()) == ["photo.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "COMMAND"),
        (("paint",), "invalid choice: 'paint'"),
        (("generate",), "prompt"),
        (("generate", "a", "--steps", "many"), "--steps: invalid int value: 'many'"),
        (("generate", "a", "--seed", "-1"), "a seed lies between 0"),
        (("generate", "a", "--seed", "1e3"), "--seed: invalid seed value"),
        (("generate", "a", "--guidance", "nan"), "a number is needed, found nan"),
        (("generate", "a", "--dtype", "int8"), "invalid choice: 'int8'"),
        (("generate", "a", "--mask", "m.png"), "unrecognized arguments: --mask m.png"),
        (("generate", "\udcff"), "not valid UTF-8"),
        (("ask", "a", "--manner", "rude"), "invalid choice: 'rude'"),
        (("bench", "speed"), "invalid choice: 'speed'"),
        (("ask", "a", "--nonsense", "b.png"), "unrecognized arguments: --nonsense b.png (see `lightfusion ask"),
        (("generate", "a", "--model", "~no-such-person/x"), "there is no home folder ~no-such-person"),
        (("edit", "~no-such-person/x.png", "a"), "there is no home folder ~no-such-person"),
    ],
)
def test_arguments_that_cannot_be_read(run, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments, model=False)
    refusal(result, said, "--help`)", code=2)
    assert result[2].count("\n") == 1


@linux
@pytest.mark.parametrize("option", ["--model", "--vae", "--understanding", "--tokenizer"])
def test_pipes_are_not_waited_for(run, photo: Path, option: str) -> None:
    """Opening one stands still until someone writes into it."""
    os.mkfifo("pipe")
    refusal(run("generate", "a", option, "pipe"), "pipe is a pipe", code=2)
    for line in (("edit", "pipe", "a"), ("edit", photo, "a", "--mask", "pipe"), ("ask", "a", photo, "pipe")):
        refusal(run(*line), "pipe is a pipe", code=2)
    refusal(run("inspect", "pipe", model=False), "pipe is a pipe", code=2)
    os.mkfifo("pipe.png")
    refusal(run("generate", "a", "-o", "pipe.png"), "pipe.png: expected a file name to save to")


@linux
def test_folders_that_may_not_be_searched(run, photo: Path, folder: Path) -> None:
    """A normal user's, in every option that is a path: one sentence each, where root would be let in."""
    closed = Path("closed")
    closed.mkdir()
    (closed / "x.png").write_bytes(photo.read_bytes())
    closed.chmod(0)
    inside = "closed/x.png"
    lines: list[tuple[object, ...]] = [
        *(("generate", "a", option, inside) for option in ("--model", "--vae", "--understanding", "--tokenizer", "-o")),
        *(("edit", photo, "a", option, inside) for option in ("--mask", "--reference")),
        ("edit", inside, "a"), ("ask", "a", inside), ("demo", "-o", inside),
    ]  # fmt: skip
    bare = [("inspect", inside), ("convert", inside, "new"), ("convert", folder, "closed/new"),
            ("bench", "step", "--preset", "tiny", "--json", inside), ("bench", "shapes", "--json", inside),
            ("bench", "load", "--model", inside)]  # fmt: skip
    for name in (Path(), *Path().absolute().parents, folder, *folder.parents):
        with suppress(OSError):
            name.chmod(name.stat().st_mode | 0o055)  # pytest's own folders are root's alone
    with unprivileged():
        for line in lines:
            refusal(run(*line), "ermission")
        for line in bare:
            refusal(run(*line, model=False), "ermission")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--json", "."), ".: expected a file name to save to"),
        (("--plot", "."), ".: expected a file name to save to"),
        (("--json", LONG), "File name too long"),
        (("--threads", "100000"), "found 100000"),
    ],
)
def test_a_measurement_is_refused_before_it_is_made(
    run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("lightfusion_core.bench.step.measure", lambda *given: pytest.fail("measured"))
    refusal(run("bench", "step", "--preset", "tiny", *arguments, model=False), said)


def test_a_huge_picture_is_refused_by_its_header(run, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (12_000, 12_000)).save("huge.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *given: pytest.fail("read"))
    for line in (("edit", "huge.png", "a"), ("ask", "a", "huge.png")):
        refusal(run(*line), "huge.png: too large to open safely (12000x12000 pixels")


def test_pictures_may_stand_behind_options(run, photo: Path) -> None:
    for line in (
        ("ask", "a", "--quiet", photo),
        ("ask", "a", photo, "--max-tokens", 2, photo),
        ("ask", "--quiet", "a", photo),
    ):
        code, _, err = run(*line, "--quiet", "--max-tokens", 2)
        assert (code, err) == (0, "")


def test_pictures_that_cannot_be_used(run, photo: Path) -> None:
    Image.new("RGB", (1700, 100)).save("long.png")
    Image.new("L", (50, 40)).save("small.png")
    Path("text.png").write_text("no picture")
    refusal(run("edit", "missing.png", "a"), "missing.png: expected a picture, found no such file")
    refusal(run("edit", "text.png", "a"), "text.png: expected a picture")
    refusal(run("edit", "long.png", "a"), "at most 16:1")
    refusal(run("edit", photo, "a", "--reference", "missing.png"), "missing.png")
    refusal(run("edit", photo, "a", "--mask", "missing.png"), "missing.png")
    refusal(run("edit", photo, "a", "--mask", "small.png"), "the picture's size, 100x80, found 50x40")
    refusal(run("edit", photo, "a", "--denoise", 0), "denoise must be above 0")
    refusal(run("ask", "a", "missing.png"), "missing.png")
    refusal(run("ask", "a", photo, "--max-tokens", 0), "at least 1 token")
    refusal(run("ask", "a", "--temperature", -1), "temperature must be 0")


def test_a_prompt_that_is_too_long(run, photo: Path) -> None:
    refusal(run("generate", "word " * 200), "this model takes 512 in all: shorten the prompt")
    refusal(run("edit", photo, "word " * 200), "shorten the prompt or use fewer references")
    refusal(run("ask", "word " * 200), "shorten the prompt")


def test_models_that_cannot_be_used(run, folder: Path, tmp_path: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.safetensors").write_text("hello " * 100)
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    for name, said in (
        ("cut.safetensors", "cut off"),
        ("text.safetensors", "is not a safetensors file"),
        ("model.pt", "pickle file, which can run any code"),
        ("missing", "does not exist"),
    ):
        refusal(run("generate", "a", "--model", name, model=False), name, said)


def test_nothing_without_its_part(run, folder: Path, photo: Path) -> None:
    """No VAE and no tokenizer: each is named with the argument that brings it."""
    model = folder / "model.safetensors"
    alone = folder.parent / "alone"
    alone.mkdir(exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        (alone / name).write_bytes((folder / name).read_bytes())
    refusal(run("generate", "a", "--model", alone, model=False), "tokenizer=PATH")
    given = ("--model", alone, "--tokenizer", folder)
    refusal(run("generate", "a", *given, model=False), "vae=PATH")
    assert run("generate", "a", *given, "--vae", folder / "vae.safetensors", model=False)[0] == 0
    assert model.exists()


def test_names_do_not_move_a_terminal(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that clears the screen and turns letters round, in errors, progress and results; a program that reads stdout
    gets it as it is."""
    evil = "\x1b[2J\x9b31m\u202ea\x07"
    lines = (("inspect", evil), ("ask", "a", evil), (evil,), ("generate", "a", "--model", evil), ("convert", evil, "b"))
    for line in lines:
        _, out, err = run(*line, model=False)
        assert not set("\x1b\x9b\u202e\x07") & set(out + err)
        assert "\\x1b[2J" in err
    drawn = ("generate", "a", "--quiet", "--steps", 1, "-o", f"{evil}.png")
    assert run(*drawn) == (0, f"{evil}.png\n", "")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, out, _ = run(*drawn)
    assert (code, out) == (0, "\\x1b[2J\\x9b31m\\u202ea\\x07.png\n")
