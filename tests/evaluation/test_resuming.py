"""A run that ended anywhere goes on to the same bytes; runs side by side make the same folder; another's is refused."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmark_data import (
    CASES,
    GENEVAL,
    Case,
    notes,
    photo,
    tree,
    write_geneval,
    write_imgedit,
    write_intelligent,
    write_wise,
)

from lightfusion_core.evaluation import export

ROOT = Path(__file__).parents[2]
_QUICK = pytest.mark.parametrize(
    "case", [case if case.name in ("gedit",) else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
    ids=lambda case: case.name,
)  # fmt: skip


class EndedError(KeyboardInterrupt):
    """Ctrl+C, at a place that the test chose."""


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """End the run when it writes its `at`-th file: before it, or as a kill does, with the file half written."""
    count, write = 0, export.write_whole

    def counting(path: Path, data: bytes, *arguments, staging: Path, **named) -> None:
        nonlocal count
        if count == at:
            staging.mkdir(parents=True, exist_ok=True)
            (staging / ".half.tmp").write_bytes(data[: len(data) // 2])
            raise EndedError
        count += 1
        write(path, data, *arguments, staging=staging, **named)

    monkeypatch.setattr(export, "write_whole", counting)


@_QUICK
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    run, case: Case, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(case.name, "--data", data, "--out", tmp_path / "whole", *case.arguments)[0] == 0
    whole = tree(tmp_path / "whole")
    files = sum(name != "results.parquet" for name in whole) + (3 if case.name == "intelligent" else 0)  # its sources
    at = random.Random().randrange(files)
    print("interrupted at file", at, "of", files)  # pytest shows it where the test fails
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupted(patch, at)
        assert run(case.name, "--data", data, "--out", out, *case.arguments)[0] == 130
    part = tree(out)
    assert part.items() <= whole.items()
    assert "results.parquet" not in part
    code, said, err = run(case.name, "--data", data, "--out", out, *case.arguments)
    assert code == 0, err
    assert tree(out) == whole
    assert not (tmp_path / "out.record/unfinished").exists()
    before = {name: os.stat(out / name).st_mtime_ns for name in whole if name != "results.parquet"}
    code, said, _ = run(case.name, "--data", data, "--out", out, *case.arguments)
    assert "0 rows drawn now" in said
    assert tree(out) == whole
    assert {name: os.stat(out / name).st_mtime_ns for name in before} == before


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(folder: Path, run, tmp_path: Path) -> None:
    """SIGKILL at a random moment, three times."""
    write_geneval(tmp_path / "data")
    assert run("geneval", "--data", tmp_path / "data", "--out", tmp_path / "whole")[0] == 0
    line = [sys.executable, "-m", "lightfusion_core", "evaluate", "geneval", "--model", folder, "--device", "cpu"]
    line += ["--steps", "2", "--data", tmp_path / "data", "--out", tmp_path / "out", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    subprocess.run([*line[:-5], "--data", tmp_path / "data", "--out", tmp_path / "timed"], env=environment, check=True)
    needed = time.monotonic() - started
    for _ in range(3):
        process = subprocess.Popen(line, env=environment)
        time.sleep(random.uniform(0.5, 1.1) * needed)
        process.kill()
        process.wait()
    subprocess.run(line, env=environment, check=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole") == tree(tmp_path / "timed")


@pytest.mark.slow
def test_parts_make_the_whole(run, tmp_path: Path) -> None:
    """Each part says that others are lacking; the last run, over all, writes the parquet."""
    write_intelligent(tmp_path / "data")
    given = ("intelligent", "--data", tmp_path / "data", "--max-tokens", 6)
    assert run(*given, "--out", tmp_path / "whole")[0] == 0
    code, said, _ = run(*given, "--out", tmp_path / "out", "--shard", "1/2")
    assert (code, "1 row left to other shards" in said, "What to run next" in said) == (0, True, False)
    assert set(tree(tmp_path / "out")) == {"0.png", "2.png"}
    run(*given, "--out", tmp_path / "out", "--shard", "2/2")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert "0 rows drawn now" in run(*given, "--out", tmp_path / "out")[1]


def test_a_limit_can_be_lifted(run, tmp_path: Path) -> None:
    write_wise(tmp_path / "data")
    assert run("wise", "--data", tmp_path / "data", "--out", tmp_path / "out", "--limit", 1)[0] == 0
    first = tree(tmp_path / "out")
    assert set(first) == {"1.png"}
    assert run("wise", "--data", tmp_path / "data", "--out", tmp_path / "out")[0] == 0
    assert first.items() <= tree(tmp_path / "out").items()
    assert set(tree(tmp_path / "out")) == {"1.png", "401.png"}


def test_a_folder_of_other_settings_is_refused(run, tmp_path: Path) -> None:
    write_wise(tmp_path / "data")
    given = ("wise", "--data", tmp_path / "data", "--out", tmp_path / "out", "--limit", 1)
    assert run(*given)[0] == 0
    before = tree(tmp_path / "out"), tree(tmp_path / "out.record")
    for more, said in (
        (("--seed", 1), "seed 42, found 1"),
        (("--steps", 3), "sampling steps 2, found 3"),
        (("--guidance", 2), "guidance text 3.0, found 2.0"),
        (("--think",), "guidance"),
        (("--width", 96), "width 64, found 96"),
        (("--model", "nano"), "found"),
    ):
        code, out, err = run(*given, *more)
        (line,) = notes(err)
        assert (code, out) == (1, "")
        assert "expected the settings that it was written under" in line
        assert said in line, line
    assert (tree(tmp_path / "out"), tree(tmp_path / "out.record")) == before
    write_geneval(tmp_path / "other")
    assert "benchmark 'wise'" in run("geneval", "--data", tmp_path / "other", "--out", tmp_path / "out")[2]


@pytest.mark.slow
def test_other_weights_of_the_same_name_are_refused(folder: Path, run, tmp_path: Path) -> None:
    """Guards two checkpoints of one training: same names, same sizes, same shapes."""
    import shutil

    write_wise(tmp_path / "data")
    given = ("wise", "--data", tmp_path / "data", "--out", tmp_path / "out", "--limit", 1)
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    assert run(*given)[0] == 0
    assert run(*given, "--model", copy)[0] == 0  # elsewhere, and the same
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1000:] = bytes(1000)
    (copy / "model.safetensors").write_bytes(weights)
    code, _, err = run(*given, "--model", copy)
    assert code == 1
    assert "weights" in err


def test_other_data_are_refused_and_mended_rows_are_not(run, tmp_path: Path) -> None:
    write_geneval(tmp_path / "data")
    file = tmp_path / "data" / "evaluation_metadata.jsonl"
    good = file.read_text(encoding="utf-8")
    file.write_text(good.splitlines()[0] + "\n{broken\n", encoding="utf-8")
    given = ("geneval", "--data", tmp_path / "data", "--out", tmp_path / "out", "--pictures", 1)
    code, said, err = run(*given)
    assert code == 1
    assert len(notes(err)) == 1
    assert "line 2" in notes(err)[0]
    assert "1 row passed over" in said
    assert (tmp_path / "out.record/passed_over.txt").read_text().count("\n") == 1
    file.write_text(good, encoding="utf-8")
    assert run(*given)[0] == 0
    assert (tmp_path / "out.record/passed_over.txt").read_text() == ""
    file.write_text("".join(json.dumps({**line, "prompt": "another"}) + "\n" for line in GENEVAL), encoding="utf-8")
    code, said, err = run(*given)
    (line,) = notes(err)
    assert (code, said) == (1, "")
    assert "another prompt" in line
    assert str(file) in line


@pytest.mark.slow
def test_another_reference_of_the_same_name_is_refused(run, tmp_path: Path) -> None:
    write_imgedit(tmp_path / "data")
    given = ("imgedit", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert run(*given)[0] == 0
    photo((90, 90), 5).save(tmp_path / "data/data/Benchmark/singleturn/style/2.png")
    code, _, err = run(*given)
    assert code == 1
    assert "other references" in notes(err)[0]


def test_a_folder_of_unknown_origin_is_refused(run, tmp_path: Path) -> None:
    write_wise(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.png").touch()
    code, _, err = run("wise", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert code == 1
    assert "files of unknown settings" in notes(err)[0]
    assert set(tree(tmp_path / "out")) == {"mine.png"}
    code, _, err = run("wise", "--data", tmp_path / "data", "--out", tmp_path / "out" / "mine.png")
    assert code == 1
    assert "found a file" in notes(err)[0]
    assert set(tree(tmp_path / "out")) == {"mine.png"}


@pytest.mark.slow
def test_a_damaged_record_is_refused(run, tmp_path: Path) -> None:
    write_wise(tmp_path / "data")
    given = ("wise", "--data", tmp_path / "data", "--out", tmp_path / "out", "--limit", 1)
    assert run(*given)[0] == 0
    for name in ("settings.json", "pictures.jsonl"):
        file = tmp_path / "out.record" / name
        kept = file.read_bytes()
        for damaged in (b"{", b"[]", b'{"a": 1}', kept[: len(kept) // 2]):
            file.write_bytes(damaged)
            code, _, err = run(*given)
            assert (code, len(notes(err))) == (1, 1)
            assert name in notes(err)[0]
        file.write_bytes(kept)
    assert run(*given)[0] == 0


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_nothing_half_written(run, tmp_path: Path, monkeypatch) -> None:
    import errno

    write_geneval(tmp_path / "data")
    count, replace = 0, os.replace

    def full(source, target) -> None:
        nonlocal count
        if str(target).endswith(".png"):
            count += 1
            if count == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    given = ("geneval", "--data", tmp_path / "data", "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        from lightfusion_core import picture_files

        patch.setattr(picture_files.write_whole, "__defaults__", (full,))
        code, said, err = run(*given)
    assert (code, said) == (1, "")
    (line,) = notes(err)
    assert "free some space" in line
    assert len([name for name in tree(tmp_path / "out") if name.endswith(".png")]) == 2
    assert run(*given)[0] == 0
    assert len(tree(tmp_path / "out")) == 10
