"""`lightfusion train` as a person runs it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from samples import heed_interrupts

from lightfusion_core.cli import build_parser, main
from lightfusion_core.commands import train as command
from lightfusion_core.picture_files import read_parameters
from lightfusion_core.training.data import Example, read_examples
from lightfusion_core.training.settings import Settings
from lightfusion_core.training.state import CHECKPOINT
from tools.comfyui import free_port

for _package in ("accelerate", "peft"):
    pytest.importorskip(_package, reason=f"a training takes {_package}")


def _arguments(model: Path, captions: Path, output: Path, *more: str) -> list[str]:
    return ["train", str(captions), "-o", str(output), "--model", str(model), "--device", "cpu", "--batch", "1",
            "--rank", "2", "--quiet", *more]  # fmt: skip


def _sources(captions: Path) -> tuple[list[list[Example]], list[float]]:
    return [read_examples(captions)], [1.0]


@pytest.mark.slow
def test_a_run_leaves_its_result_samples_and_a_plot(
    small_models: dict[bool, Path], captions: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two sources are mixed by weight; the same command goes on, and a longer one too."""
    folder = tmp_path / "run"
    arguments = _arguments(small_models[False], captions, folder, "--steps", "1")
    arguments[2:2] = [str(pairs)]
    arguments += ["--weights", "1", "2"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "a LoRA of rank 2" in said.out and "Memory on cpu" in said.out
    assert said.out.rstrip().endswith(str(folder / "lora.safetensors"))
    files = ["checkpoint.safetensors", "encodings", "lora.safetensors", "loss.png", "samples", "settings.json"]
    assert sorted(os.listdir(folder)) == files
    assert sorted(os.listdir(folder / "samples")) == ["000001.png"]
    told = read_parameters(folder / "samples" / "000001.png")
    assert told is not None and told["captions"] == ["picture 0", "picture 1", "change it", "change it"]
    assert Image.open(folder / "loss.png").size == (700, 350)
    arguments[arguments.index("--steps") + 1] = "2"
    assert main([*arguments, "--sample", "a moon"]) == 0
    assert "going on from step 1" in capsys.readouterr().err
    told = read_parameters(folder / "samples" / "000002.png")
    assert told is not None and told["captions"] == ["a moon"]


def test_what_cannot_fit_is_refused_before_it_starts(
    small_models: dict[bool, Path],
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In memory, and on the disk: one sentence each. A plan is told all the same, and starts nothing."""
    arguments = _arguments(small_models[False], captions, tmp_path / "run")
    needs = command._foreseen(build_parser().parse_args(arguments), Settings(rank=2, batch=1), *_sources(captions))
    monkeypatch.setattr(command, "_foreseen", lambda *given: needs)
    with monkeypatch.context() as patch:
        patch.setattr(command, "_free", lambda device: 1e6)
        assert main([*arguments, "--plan"]) == 0
        assert "On disk" in capsys.readouterr().out
        assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "This training takes" in said and "1.0 MB are free" in said
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1000))
    assert main(arguments) == 1
    assert "are free on that disk" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--full", "--rank", "4"], "leave one out"),
        (["--offload", "groups"], "leave --offload groups out"),
        (["--dtype", "float16"], "float16 overflows in training"),
        (["--weights", "1", "2"], "a weight above 0 for each of the 1 sources"),
        (["--steps", "0"], "steps must be above 0"),
        (["--drop", "0", "0", "2"], "vit must lie between 0 and 1"),
        (["--understanding", "/nowhere"], "/nowhere"),
    ],
)
def test_arguments_that_do_not_go_together(
    more: list[str],
    said: str,
    small_models: dict[bool, Path],
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(_arguments(small_models[False], captions, tmp_path / "run", *more)) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_packages_that_are_missing_are_named(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(_arguments(Path("nano"), captions, tmp_path / "run")) == 1
    assert (
        "accelerate and peft, not installed here: pip install 'comfyui-lightfusion[train]'" in capsys.readouterr().err
    )


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command._own_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [command._own_device(name) for name in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_ctrl_c_at_any_point(small_models: dict[bool, Path], captions: Path, tmp_path: Path) -> None:
    """Again and again at random times, until it is done: the result is an unbroken run's, bit for bit."""

    def run(folder: str, after: float | None) -> int:
        arguments = _arguments(small_models[False], captions, tmp_path / folder, "--steps", "40", "--save-every", "3")
        # a program that was started in the background of a shell would not hear of it
        process = subprocess.Popen(
            [sys.executable, "-m", "lightfusion_core", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, preexec_fn=heed_interrupts, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if after is not None:
            time.sleep(after)
            process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=300)
        assert "Traceback" not in error, error
        return process.returncode

    rng, codes = random.Random(3), []
    begun = time.monotonic()
    assert run("whole", None) == 0
    longest = time.monotonic() - begun
    while 0 not in codes and len(codes) < 30:
        codes.append(run("parts", rng.uniform(0.1, 1.3) * longest))
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert codes[-1] == 0 and set(codes) <= {0, 130}, codes
    for name in (CHECKPOINT, "lora.safetensors"):
        whole, parts = (load_file(tmp_path / folder / name) for folder in ("whole", "parts"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback interface has another name")
def test_two_processes_train_what_one_does(small_models: dict[bool, Path], captions: Path, tmp_path: Path) -> None:
    """Each on half of every batch; one of them writes."""
    together = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    together += ["--master-port", str(free_port())]
    for folder, start in (("one", []), ("two", together)):
        arguments = _arguments(small_models[False], captions, tmp_path / folder, "--steps", "3", "--sample-every", "0")
        arguments[arguments.index("--batch") + 1] = "4"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        command_line = [sys.executable, *start, "-m", "lightfusion_core", *arguments]
        done = subprocess.run(command_line, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / folder / CHECKPOINT) for folder in ("one", "two"))
    for name in one:
        if name.endswith("exp_avg"):
            assert torch.allclose(one[name], two[name], atol=1e-6), name
