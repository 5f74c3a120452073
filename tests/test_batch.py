"""Many prompts give the pictures of single runs, and a run that ends early loses none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import write_model

from lightfusion_core import CapabilityError, Decoding, InputError, LightFusion, Sampling
from lightfusion_core.batch import Renderer, Row, left_over, make_rows, read_prompts, render
from lightfusion_core.images import to_pil
from lightfusion_core.picture_files import load_image, read_parameters
from lightfusion_core.understanding.answer import THINK_SYSTEM

ROOT = Path(__file__).parents[1]
PROMPTS = ["a word", "two words", "", "ein Wort"]
SHORT = Sampling(steps=2)
SIZE = {"width": 64, "height": 96}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("batch"))


@pytest.fixture(scope="module")
def alone(folder: Path) -> list[bytes]:
    """What single runs draw."""
    model = LightFusion.load(folder, device="cpu")
    return [
        to_pil(model.generate(prompt, seed=7 + index, sampling=SHORT, **SIZE)[0]).tobytes()
        for index, prompt in enumerate(PROMPTS)
    ]


def drawing(folder: Path) -> dict:
    return {"model": folder, "load": {"device": "cpu"}, "sampling": {"steps": 2}, "settings": SIZE}


def pixels(row: Row) -> bytes:
    with Image.open(row["file"]) as image:
        return image.convert("RGB").tobytes()


def test_pictures_are_those_of_single_runs(folder: Path, alone: list[bytes], tmp_path: Path) -> None:
    rows = make_rows(PROMPTS, tmp_path / "out", seed=7)
    done = list(render(rows, **drawing(folder)))
    assert [row["error"] for row in done] == [""] * 4
    assert [pixels(row) for row in rows] == alone
    assert read_parameters(rows[1]["file"])["seed"] == 8


def test_several_pictures_of_one_prompt_are_those_of_single_runs(
    folder: Path, alone: list[bytes], tmp_path: Path
) -> None:
    files = [str(tmp_path / f"{k}.png") for k in range(2)]
    row = {"index": 0, "prompt": PROMPTS[0], "seeds": [7, 9], "files": files}
    done = next(iter(render([row], **drawing(folder))))
    assert done["error"] == ""
    assert pixels({"file": files[0]}) == alone[0]
    assert [read_parameters(file)["seed"] for file in files] == [7, 9]
    Path(files[1]).unlink()
    assert left_over([row]) == [row]


def test_an_edit_after_a_thought_is_that_of_a_single_run(folder: Path, picture: Image.Image, tmp_path: Path) -> None:
    """Of two references the last one, 80 x 100, gives the size, and the thought stands beside the picture."""
    picture.save(tmp_path / "a.png")
    picture.rotate(90, expand=True).save(tmp_path / "b.png")
    given = [str(tmp_path / name) for name in ("a.png", "b.png")]
    row = {"index": 0, "prompt": "turn it", "seed": 3, "file": str(tmp_path / "edited.png"), "pictures": given}
    row |= {"thought": str(tmp_path / "edited.txt")}
    quick = {"sampling": {"steps": 2}, "thinking": {"max_tokens": 6}}
    assert next(iter(render([row], model=folder, load={"device": "cpu"}, **quick)))["error"] == ""
    model = LightFusion.load(folder, device="cpu")
    references = [model.prepare(load_image(file)) for file in given]
    thought = "".join(model.think("turn it", references, decoding=Decoding(6)))
    conditioning = model.encode("turn it", references, system=THINK_SYSTEM, thought=thought)
    drawn = to_pil(model.decode(model.sample(conditioning, 64, 96, 3, SHORT))[0])
    assert drawn.size == (64, 96)
    assert pixels(row) == drawn.tobytes()
    assert (tmp_path / "edited.txt").read_text(encoding="utf-8") == thought


def test_what_cannot_be_saved_ends_the_run(folder: Path, tmp_path: Path) -> None:
    """Guards a night of drawing onto a full disk."""
    (tmp_path / "file").touch()
    rows = make_rows(PROMPTS, tmp_path / "file" / "out")
    with pytest.raises(InputError, match="path is a file"):
        list(render(rows, **drawing(folder)))


def test_what_is_there_is_not_drawn_again(folder: Path, alone: list[bytes], tmp_path: Path) -> None:
    rows = make_rows(PROMPTS, tmp_path, seed=7)
    list(render(rows[:2], **drawing(folder)))
    before = [os.stat(row["file"]).st_mtime_ns for row in rows[:2]]
    assert left_over(rows) == rows[2:]
    list(render(rows, **drawing(folder)))
    assert [os.stat(row["file"]).st_mtime_ns for row in rows[:2]] == before
    assert [pixels(row) for row in rows] == alone
    assert left_over(rows) == []
    assert list(render([], **drawing(folder))) == []


def test_a_name_tells_all_that_makes_a_picture(tmp_path: Path) -> None:
    """Guards resuming with another setting, which must not find the pictures of the first."""
    names = {
        make_rows(["a word"], tmp_path, seed, **settings)[0]["file"]
        for seed, settings in ((0, {}), (1, {}), (0, {"steps": 3}), (0, {"model": "other"}))
    }
    assert len(names | {make_rows(["another"], tmp_path)[0]["file"]}) == 5
    assert make_rows(["a word"], tmp_path) == make_rows(["a word"], tmp_path)
    with pytest.raises(InputError, match="at least one prompt"):
        make_rows([], tmp_path)


def test_a_refused_prompt_does_not_end_the_others(folder: Path, tmp_path: Path) -> None:
    rows = make_rows(["x" * 2000, "a word"], tmp_path, seed=8)
    done = list(render(rows, **drawing(folder)))
    assert "shorten the prompt" in done[0]["error"]
    assert done[1]["error"] == ""
    assert left_over(rows) == rows[:1]


def test_prompts_of_a_file(tmp_path: Path) -> None:
    """Windows puts a mark before a text, which must not become a part of the first prompt; a prompt may hold what
    Unicode calls a line's end."""
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa red circle\r\n\n  two words \ntop\u2028bottom\x0b\n".encode())
    assert read_prompts(file) == ["a red circle", "two words", "top\u2028bottom\x0b"]
    file.write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="save it as UTF-8"):
        read_prompts(file)
    with pytest.raises(InputError, match="check the path"):
        read_prompts(tmp_path)


def test_workers_without_ray_say_so(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CapabilityError, match="Ray"):
        list(render(make_rows(PROMPTS, tmp_path), workers=1, **drawing(folder)))


def example(folder: Path, out: Path, *more: str) -> subprocess.Popen:
    prompts = out.parent / "prompts.txt"
    prompts.write_text("a word\n\ntwo words\nthree more words\n", encoding="utf-8")
    command = [sys.executable, ROOT / "examples" / "render_prompts.py", prompts, out, "--model", folder]
    command += ["--device", "cpu", "--steps", "2", "--width", "64", "--height", "64", *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_the_example_goes_on_where_it_was_killed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = example(folder, out)
    while ".png" not in process.stdout.readline():
        assert process.poll() is None
    process.kill()
    process.communicate()
    first = {file.name: file.stat().st_mtime_ns for file in out.glob("*.png")}
    assert 1 <= len(first) <= 3
    said, errors = example(folder, out).communicate(timeout=300)
    assert "refused" in said, errors
    files = {file.name: file.stat().st_mtime_ns for file in out.glob("*.png")}
    assert len(files) == 3
    assert first.items() <= files.items()
    assert not [file for file in out.iterdir() if file.suffix != ".png"]


@pytest.mark.slow
def test_a_killed_worker_of_ray_loses_no_prompt(
    folder: Path, alone: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One actor ends by SIGKILL at its first picture: the pool draws all of them, the same as single runs."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's own 15 starves them where anything else runs
    marker = tmp_path / "killed"

    class Mortal(Renderer):
        def done(self, row: Row) -> Row:
            torch.set_num_threads(1)
            if row["prompt"] == "two words" and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), 9)
            return super().done(row)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        rows = make_rows(PROMPTS, tmp_path / "out", seed=7)
        done = list(render(rows, workers=2, kind=Mortal, **drawing(folder)))
    finally:
        ray.shutdown()
    assert marker.exists()
    assert sorted(row["index"] for row in done) == [0, 1, 2, 3]
    assert {row["error"] for row in done} == {""}
    assert [pixels(row) for row in rows] == alone
