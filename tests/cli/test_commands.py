"""Every command on a tiny random model: what it leaves behind, what it says where."""

from __future__ import annotations

import errno
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from command_results import pixels, refusal
from PIL import Image, ImageCms

from lightfusion_core.commands import console
from lightfusion_core.commands.result import deliver
from lightfusion_core.commands.sheet import contact_sheet
from lightfusion_core.errors import InputError
from lightfusion_core.picture_files import load_stored, read_parameters, save_png
from lightfusion_core.stored import Stored

# generate


def test_generate_writes_a_picture_that_says_how_it_was_made(run, folder: Path) -> None:
    code, out, err = run("generate", "a red circle", "--seed", 7, "-o", "made/circle.png", "--guidance", 2)
    assert (code, out) == (0, "made/circle.png\n")
    assert "Loading" in err
    assert "Drawn" in err
    assert Image.open("made/circle.png").size == (64, 64)
    parameters = read_parameters("made/circle.png")
    assert parameters["prompt"] == "a red circle"
    assert parameters["seed"] == 7
    assert parameters["guidance"] == 2
    assert parameters["negative_prompt"] == "blurred"
    assert parameters["model"] == str(folder)
    assert parameters["steps"] == 2
    assert parameters["solver"] == "unipc"
    assert parameters["dtype"] == "float32"


def test_passes_that_were_saved_are_told(run) -> None:
    """Guards both ways of telling, and that a run which saves nothing is silent about it."""
    settings = ("generate", "x", "--steps", 6, "--guidance", 3, "--guidance-every", 3, "--cache", 0.5, "-o", "a.png")
    code, _, err = run(*settings)
    assert code == 0 and "of 6 steps foreseen" in err and "of 12 passes of the network run" in err
    told = json.loads(run(*settings, "--json")[1])
    assert told["passes"]["steps"] == 6 and told["passes"]["run"] < told["passes"]["plain"] == 12
    assert (told["settings"]["cache"], told["settings"]["guidance_every"]) == (0.5, 3)
    assert "foreseen" not in run("generate", "x", "-o", "a.png")[2]


def test_a_picture_can_be_made_again_from_what_it_says(run) -> None:
    run("generate", "x", "--seed", 3, "--solver", "heun", "--interval", 0.2, 0.9, "--renorm", "channel", "-o", "a.png")
    said = read_parameters("a.png")
    again = ["--seed", said["seed"], "--solver", said["solver"], "--interval", *said["interval"], "--renorm"]
    again += [said["renorm"], "--steps", said["steps"], "--shift", said["shift"], "--guidance", said["guidance"]]
    assert run("generate", said["prompt"], *again, "--width", said["width"], "--height", said["height"], "-o", "b.png")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    assert run("generate", "x", "--seed", 3, "-o", "c.png")[0] == 0
    assert not np.array_equal(pixels("a.png"), pixels("c.png"))


def test_json_is_all_that_stands_on_stdout(run) -> None:
    code, out, err = run("generate", "a red circle", "--batch", 2, "--seed", 5, "--json")
    said = json.loads(out)
    assert code == 0
    assert err
    assert out.count("\n") == 1
    assert said["files"] == ["output/a-red-circle-1.png", "output/a-red-circle-2.png"]
    assert said["seed"] == 5
    assert said["seconds"] > 0
    assert said["settings"]["batch"] == 2
    assert [read_parameters(file)["seed"] for file in said["files"]] == [5, 6]


def test_quiet_says_nothing_on_stderr(run) -> None:
    code, out, err = run("generate", "a", "--width", 70, "--height", 60, "--quiet")
    assert (code, out, err) == (0, "output/a.png\n", "")


def test_an_image_of_a_batch_is_its_single_run(run) -> None:
    run("generate", "a", "--batch", 2, "--seed", 1, "-o", "both.png")
    run("generate", "a", "--seed", 2, "-o", "alone.png")
    difference = pixels("both-2.png").astype(int) - pixels("alone.png")
    assert np.abs(difference).max() <= 1
    assert not np.array_equal(pixels("both-1.png"), pixels("both-2.png"))


def test_odd_sizes_are_rounded_and_that_is_said(run) -> None:
    code, _, err = run("generate", "a", "--width", 70, "--height", 50, "-o", "a.png")
    assert code == 0
    assert "note: 70x50 is not a multiple of 32 pixels: drawing 64x64." in err
    assert Image.open("a.png").size == (64, 64)
    assert "note" not in run("generate", "a", "--width", 96, "--height", 64, "-o", "b.png")[2]
    assert Image.open("b.png").size == (96, 64)


def test_an_empty_prompt_and_one_that_names_no_file(run) -> None:
    assert run("generate", "", "--quiet")[1] == "output/picture.png\n"
    assert run("generate", "/../ ?*", "--quiet")[1] == "output/picture_2.png\n"


def test_nothing_is_overwritten_unless_it_is_named(run) -> None:
    Path("output").mkdir()
    Path("output/a.png").write_bytes(b"mine")
    assert run("generate", "A!", "-o", "output/", "--quiet")[1] == "output/a_2.png\n"
    assert run("generate", "A!", "-o", "output", "--quiet")[1] == "output/a_3.png\n"
    assert Path("output/a.png").read_bytes() == b"mine"
    assert run("generate", "a", "-o", "output/a.png", "--quiet")[0] == 0
    assert read_parameters("output/a.png")["prompt"] == "a"


def delivered(output: str | None, prompt: str, batch: int) -> list[Path]:
    return deliver(output, prompt, [Image.new("RGB", (2, 2))] * batch, [{"prompt": prompt}] * batch)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("empty_folder")
def test_names_of_files() -> None:
    assert delivered("x.PNG", "a", 2) == [Path("x-1.PNG"), Path("x-2.PNG")]
    assert delivered(None, "Ein roter Kreis, größer", 1) == [Path("output/ein-roter-kreis-größer.png")]
    assert len(delivered(None, "very " * 100, 1)[0].name) <= 44
    Path("output/a-2.png").touch()
    assert delivered(None, "a", 2) == [Path("output/a_2-1.png"), Path("output/a_2-2.png")]


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("linkless", [False, True])
def test_runs_at_once_lose_no_picture(linkless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is taken when the file is made, not when it is looked up: 11 of 25 pairs once printed the same one."""
    if linkless:
        monkeypatch.setattr(os, "link", refuse_links)
    with ThreadPoolExecutor(8) as pool:
        found = [file for files in pool.map(lambda batch: delivered(None, "a", batch), [1, 2] * 12) for file in files]
    assert len({*found}) == len(found) == 36
    assert sorted(os.listdir("output")) == sorted(file.name for file in found)


def refuse_links(source: object, target: object) -> None:
    raise PermissionError(errno.EPERM, "no links here")


def test_thinking_comes_first_and_its_settings_are_the_published_ones(run) -> None:
    """A random model thinks until the tiny one's positions are full, and what it thought is drawn all the same."""
    code, out, _ = run("generate", "a", "--think", "--json", "--guidance", 5)
    said = json.loads(out)["settings"]
    assert code == 0
    assert said["thought"]
    assert not said["thought"].startswith("\n")
    assert said["system"].startswith("You should first think")
    assert (said["guidance"], said["image_guidance"], said["renorm"], said["interval"]) == (
        5,
        2,
        "text_channel",
        [0.7, 1],
    )
    assert said["negative_prompt"] is None
    assert read_parameters(json.loads(out)["files"][0])["thought"] == said["thought"]
    Image.new("RGB", (64, 64), "red").save("red.png")
    code, out, err = run("edit", "red.png", "b", "--think", "--json")
    assert code == 0
    assert json.loads(out)["settings"]["thought"].rstrip() in err


# edit


def test_edit_outpaints_in_the_pictures_own_mode(run) -> None:
    """Guards what is kept of a picture with alpha, which has no pixels where it grows."""
    own = np.random.default_rng(0).integers(1, 256, (70, 100, 4), dtype=np.uint8)
    Image.fromarray(own).save("alpha.png")
    code, out, _ = run("edit", "alpha.png", "go on", "--outpaint", 8, 4, 20, 0, "-o", "b.png", "--json")
    said = json.loads(out)["settings"]
    assert code == 0 and said["outpaint"] == [8, 4, 20, 0]
    made = pixels("b.png")
    assert made.shape == (74, 128, 4) and np.array_equal(made[4:, 8:108], own)
    refusal(run("edit", "alpha.png", "go on", "--outpaint", 8, 4, -2, 0), "0 or more each, found 8 4 -2 0")


def test_edit_draws_a_part_at_a_mask(run) -> None:
    own = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(own).save("large.png")
    area = np.zeros((300, 400), np.uint8)
    area[100:164, 200:264] = 255
    Image.fromarray(area).save("mask.png")
    code, out, _ = run("edit", "large.png", "a", "--mask", "mask.png", "-o", "b.png", "--json", "--context", 2)
    said = json.loads(out)["settings"]
    assert code == 0 and (said["width"], said["height"], said["context"]) == (128, 128, 2)
    assert np.array_equal(pixels("b.png")[area == 0], own[area == 0])
    assert np.abs(pixels("b.png")[area > 0].astype(int) - own[area > 0]).mean() > 5
    refusal(run("edit", "large.png", "a", "--mask", "mask.png", "--context", 0.5), "1 or more")


def test_edit_says_where_the_picture_shows_it(run, photo: Path) -> None:
    """Guards the mask as a file, one for each picture; random weights change all of it, a mask's outside never."""
    Image.fromarray(np.uint8([[0] * 50 + [255] * 50] * 80)).save("mask.png")
    given = ("edit", photo, "make it blue", "--batch", 2, "-o", "b.png", "--changed", "where.png")
    for options, wanted in (((), 255), (("--no-keep",), 255), (("--mask", "mask.png"), pixels("mask.png"))):
        code, out, _ = run(*given, *options)
        assert (code, out) == (0, "b-1.png\nb-2.png\n")
        for k in (1, 2):
            assert np.array_equal(Image.open(f"where-{k}.png").convert("L"), np.broadcast_to(wanted, (80, 100)))
    assert read_parameters("b-1.png")["keep"] is True
    refusal(run(*given[:-1], "where.jpg"), "saved as PNG")


def test_edit_returns_the_pictures_size_and_keeps_what_the_mask_keeps(run, photo: Path) -> None:
    mask = Image.new("L", (100, 80), 0)
    mask.paste(255, (20, 10, 60, 50))
    mask.save("mask.png")
    code, out, _ = run("edit", photo, "make it blue", "--mask", "mask.png", "-o", "edited.png", "--denoise", 0.8)
    assert (code, out) == (0, "edited.png\n")
    before, after, changed = pixels(photo), pixels("edited.png"), np.asarray(mask) > 0
    assert after.shape == before.shape
    assert np.array_equal(after[~changed], before[~changed])
    assert not np.array_equal(after[changed], before[changed])
    said = read_parameters("edited.png")
    assert said["command"] == "edit"
    assert said["mask"] == "mask.png"
    assert said["denoise"] == 0.8
    assert (said["width"], said["height"]) == (96, 64)


def test_edit_keeps_alpha_depth_and_profile(run) -> None:
    """With strokes on a transparent layer as the mask, as painting programs write it; a batch keeps them in each."""
    levels = np.random.default_rng(0).integers(0, 65536, (80, 100, 4)).astype(np.uint16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save_png(Stored(levels, profile), "deep.png", {})
    mask = Image.new("RGBA", (100, 80), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (20, 10, 60, 50))
    mask.save("mask.png")
    line = ("edit", "deep.png", "make it blue", "--mask", "mask.png", "-o", "edited.png")
    assert run(*line, "--batch", 2)[0] == 0
    kept = np.asarray(mask)[..., 3] == 0
    for name in ("edited-1.png", "edited-2.png"):
        after = load_stored(name)
        assert after.levels.dtype == np.uint16 and after.profile == profile
        assert np.array_equal(after.levels[kept], levels[kept])
        assert np.array_equal(after.levels[..., 3], levels[..., 3])
        assert not np.array_equal(after.levels[~kept], levels[~kept])
        assert read_parameters(name)["command"] == "edit"


def test_edit_with_references_another_size_and_a_batch(run, photo: Path) -> None:
    options = ("--reference", photo, "--width", 64, "--height", 128, "--batch", 2, "--image-guidance", 1.5)
    code, out, _ = run("edit", photo, "mix them", *options, "--json")
    said = json.loads(out)
    assert code == 0
    assert len(said["files"]) == 2
    assert all(Image.open(file).size == (100, 80) for file in said["files"])
    assert said["settings"]["references"] == [str(photo)]
    assert said["settings"]["image_guidance"] == 1.5
    assert (said["settings"]["width"], said["settings"]["height"]) == (64, 128)


def test_less_denoise_stays_nearer_to_the_picture(run, photo: Path) -> None:
    """Guards a partial run without a mask, which starts from the picture's own latent."""
    for denoise in (0.1, 1):
        arguments = ("--denoise", denoise, "--steps", 10, "--guidance", 1, "-o", f"{denoise}.png")
        assert run("edit", photo, "make it blue", *arguments)[0] == 0
    runs = [Image.open(f"{denoise}.png").size for denoise in (0.1, 1)]
    assert runs == [(100, 80), (100, 80)]
    assert not np.array_equal(pixels("0.1.png"), pixels("1.png"))


# ask


def test_ask_streams_the_answer(run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(
        "lightfusion_core.commands.ask.say", lambda text, end="\n", exact=False: flushed.append(text + end)
    )
    assert run("ask", "What is it?", photo, "--max-tokens", 6)[0] == 0
    assert len(flushed) > 2
    assert flushed[-1] == "\n"


def test_ask_as_text_and_as_json(run, photo: Path) -> None:
    for manner in ("chat", "reference"):
        asked = ("ask", "What is it?", photo, photo, "--max-tokens", 6, "--manner", manner)
        code, out, _ = run(*asked)
        said = json.loads(run(*asked, "--json")[1])
        assert code == 0
        assert said["answer"]
        assert said["answer"] + "\n" == out
        assert said["settings"]["manner"] == manner
        assert said["settings"]["max_tokens"] == 6
        assert said["settings"]["images"] == [str(photo)] * 2


def test_ask_draws_lots_by_its_seed(run) -> None:
    def answer(seed: int) -> str:
        return run("ask", "hello", "--max-tokens", 8, "--temperature", 1, "--seed", seed)[1]

    assert answer(1) == answer(1) != answer(2)


# inspect


def test_inspect_as_text_and_as_json(run, folder: Path) -> None:
    code, out, _ = run("inspect", folder, model=False)
    assert code == 0
    assert "a complete LightFusion" in out
    assert "Every tensor is there" in out
    code, out, _ = run("inspect", folder, "--json", model=False)
    assert code == 0
    assert json.loads(out)["sound"]
    assert json.loads(out)["coupled"] is False


def test_inspect_of_a_broken_file_reports_and_fails(run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500_000])
    code, out, err = run("inspect", "cut.safetensors", model=False)
    assert code == 1
    assert "cut off" in out
    assert "error" not in err
    refusal(run("inspect", "nothing.safetensors", model=False), "does not exist")


# demo


def test_demo_leaves_one_sheet(run) -> None:
    code, out, _ = run("demo", "--json", "--seed", 4)
    said = json.loads(out)
    assert code == 0
    assert said["files"] == ["output/demo.png"]
    sheet = Image.open("output/demo.png")
    sheet.load()
    assert sheet.width > 1000
    assert [path.name for path in Path("output").iterdir()] == ["demo.png"]
    captions = read_parameters("output/demo.png")["captions"]
    assert len(captions) == 6
    assert captions[4].startswith(captions[0]) and captions[4].endswith("make it a sunny day")
    assert captions[5].startswith("What is in this picture?")


def test_demo_of_a_model_that_only_draws_shapes(run, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"name": "nano", "tasks": ["generate"]}
    painter = folder.parent / "painter"
    painter.mkdir(exist_ok=True)
    for file in folder.iterdir():
        (painter / file.name).write_bytes(file.read_bytes())
    (painter / "config.json").write_text(json.dumps(config))
    code, out, _ = run("demo", "--steps", 1, "--model", painter, "-o", "sheet.png", model=False)
    assert (code, out) == (0, "sheet.png\n")
    assert len(read_parameters("sheet.png")["captions"]) == 10
    Image.new("RGB", (32, 32)).save("p.png")
    for command in (("edit", "p.png", "a"), ("ask", "a"), ("generate", "a", "--think")):
        refusal(run(*command, "--model", painter, model=False), "was not trained to", "Load another model")


# bench


def test_bench_leaves_scores_and_a_sheet(run) -> None:
    """An untrained model follows nothing, and says so in the form that was asked for."""
    code, out, err = run("bench", "shapes", "--count", 1, "--seed", 3, "--json", "scores.json", "--quiet")
    assert (code, err) == (0, "")
    *table, sheet, last = out.splitlines()
    assert sheet.startswith("output/bench.png") and last == "scores.json"
    assert any(line.startswith("color attribution") for line in table)
    scores = json.loads(Path("scores.json").read_text())
    assert {name: len(part) for name, part in scores.items()} == {
        "text_to_image": 6, "composition": 3, "manners": 1, "editing": 2, "chains": 2, "questions": 1, "talk": 3,
        "painting": 3, "outlines": 2
    }  # fmt: skip
    unknown = {"outline_error", "circle_error", "outline_error_after"}  # of what was drawn right: nothing
    values = {name: value for part in scores.values() for name, value in part.items()}
    assert {name for name, value in values.items() if value is None} == unknown
    assert all(0 <= value <= 1 for name, value in values.items() if name not in unknown)
    assert scores["text_to_image"]["position"] == 0
    assert read_parameters("output/bench.png")["seed"] == 3


def test_bench_measures_parts_alone(run) -> None:
    code, out, _ = run("bench", "shapes", "--count", 1, "--parts", "manners", "--json", "scores.json", "--quiet")
    assert code == 0 and "any manner" in out and "edits done" not in out
    assert set(json.loads(Path("scores.json").read_text())) == {"manners", "outlines"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--count", "0"), "takes 1 to 10,000 requests of each kind, found 0"),
        (("--json", "nowhere/scores.json"), "found no nowhere; make it"),
        (("-o", "sheet.jpg"), "saved as PNG, found .jpg"),
    ],
)
def test_bench_refuses_before_it_draws(run, arguments: tuple[str, ...], said: str) -> None:
    refusal(run("bench", "shapes", *arguments), said)
    assert list(Path().iterdir()) == []


def test_a_sheet_of_pictures_of_any_size() -> None:
    tiles = [(Image.new("RGB", size, "red"), "word " * 30) for size in ((64, 64), (1, 40), (2000, 100))]
    sheet = contact_sheet(tiles, columns=2, side=128)
    assert sheet.width < 300
    assert sheet.height > 300
    assert sheet.getpixel((70, 70)) == (255, 0, 0)
    with pytest.raises(InputError):
        contact_sheet([])


# Progress


@pytest.fixture(params=["rich", "tqdm", "plain"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With all libraries for progress bars, without rich, and without any."""
    for missing in {"rich": (), "tqdm": ("rich",), "plain": ("rich", "tqdm")}[request.param]:
        monkeypatch.setitem(sys.modules, missing, None)
    return request.param


def test_progress_with_and_without_the_libraries_for_it(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    for total in (20, None):
        with console.progress("Drawing [x]", total) as bar:
            for _ in range(20):
                bar.advance()
            bar.phase("Decoding [y]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Decoding [y]" in err
    assert "20" in err
    with console.progress("Drawing", 20, quiet=True) as bar:
        bar.advance()
    assert capsys.readouterr().err == ""
