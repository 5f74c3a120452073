"""On workers of Ray the same bytes come out; without Ray a sentence says what to install."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmark_data import Case, notes, tree, write_wise

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine, with two places for workers."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")  # Ray's own 15 starves them where anything else runs
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()


@pytest.mark.slow
def test_two_workers_draw_the_same_bytes(cluster: None, run, case: Case, data: Path, tmp_path: Path) -> None:
    given = (case.name, "--data", data, *case.arguments)
    assert run(*given, "--out", tmp_path / "alone")[0] == 0
    code, _, err = run(*given, "--out", tmp_path / "workers", "--workers", 2)
    assert code == 0, err
    assert tree(tmp_path / "workers") == tree(tmp_path / "alone")
    assert set(tree(tmp_path / "workers")) == case.tree


@pytest.mark.slow
def test_a_model_that_no_worker_can_load_is_one_line(cluster: None, run, folder: Path, tmp_path: Path) -> None:
    """Its configuration is read here; its weights, first by the workers."""
    import shutil

    model = tmp_path / "model"
    shutil.copytree(folder, model)
    (model / "tokenizer.json").write_text("{}", encoding="utf-8")
    write_wise(tmp_path / "data")
    given = ("wise", "--data", tmp_path / "data", "--out", tmp_path / "out", "--model", model)
    alone, workers = run(*given), run(*given, "--workers", 2)
    assert (alone[0], workers[0]) == (1, 1)
    assert notes(alone[2])[-1] == notes(workers[2])[-1]


@pytest.mark.slow
def test_a_disk_that_is_full_on_a_worker_is_one_line(cluster: None, run, tmp_path: Path) -> None:
    """A folder in the place of a picture stands for it: the worker cannot replace it."""
    write_wise(tmp_path / "data")
    given = ("wise", "--data", tmp_path / "data", "--out", tmp_path / "out", "--workers", 2)
    (tmp_path / "out.record").mkdir()
    (tmp_path / "out.record" / "unfinished").touch()
    code, _, err = run(*given)
    assert code == 1
    assert "expected to save a picture" in notes(err)[-1]


def test_workers_without_ray_say_what_to_install(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    write_wise(tmp_path / "data")
    code, _, err = run("wise", "--data", tmp_path / "data", "--out", tmp_path / "out", "--workers", 2)
    assert code == 1
    assert "pip install 'comfyui-lightfusion[ray]'" in notes(err)[0]


def test_parquet_without_pyarrow_says_what_to_install(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "test.parquet").touch()
    for name in ("gedit", "intelligent"):
        code, _, err = run(name, "--data", tmp_path, "--out", tmp_path / "out")
        assert code == 1
        assert "pip install 'comfyui-lightfusion[evaluate]'" in notes(err)[0]
