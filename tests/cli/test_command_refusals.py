"""Wrong input of every command: one line that says what to do, and nothing on stdout."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_results import refusal
from PIL import Image


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--solver", "magic"), "There is no solver 'magic': choose one of unipc"),
        (("--steps", "0"), "at least 1 step, found 0"),
        (("--shift", "0"), "shift must be above 0"),
        (("--renorm", "all"), "renorm must be one of none"),
        (("--renorm-min", "2"), "renorm_min must lie between 0 and 1"),
        (("--interval", "0.9", "0.1"), "must run from low to high"),
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
    ],
)
def test_arguments_that_cannot_be_read(run, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments, model=False)
    refusal(result, said, "--help`)", code=2)
    assert result[2].count("\n") == 1


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
