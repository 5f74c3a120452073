"""Under every launch flag that a machine without a GPU takes, nano draws what it draws without; and none is unknown.

Most run without a server: ComfyUI and the pack are imported anew for each, in `in_host/flag_probe.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import SAVE, edit, text_to_image
from host import Client, Server
from launch_flags import CACHES, CASES, Case, sorted_flags
from PIL import Image

from tools.comfyui import NONE_FOUND, PACK, Checkout, checkouts

NANO = "nano (built in)"
PROBE = Path(__file__).with_name("in_host") / "flag_probe.py"
pytestmark = [
    pytest.mark.comfy,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="flags are tried in forked processes"),
]


def _hosts() -> list[object]:
    """All but the first are slow."""
    found = checkouts()
    if not found:
        return [pytest.param(None, id="no ComfyUI", marks=pytest.mark.skip(reason=NONE_FOUND))]
    return [pytest.param(host, id=host.version, marks=[pytest.mark.slow] * bool(i)) for i, host in enumerate(found)]


class Probe:
    """A process that draws under one set of flags after another."""

    def __init__(self, host: Checkout) -> None:
        self.host = host
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [str(host.python), str(PROBE), str(host.path), str(PACK)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        )  # fmt: skip
        self.options = self.ask(None)

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The answer without flags."""
        return self.ask([])

    def ask(self, flags: list[str] | None) -> dict[str, Any]:
        """The answer to one set of flags; None asks for the parser's options."""
        self.process.stdin.write(json.dumps(flags) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            pytest.fail(f"{flags}: {answer['error']}\n{answer['traceback']}", pytrace=False)
        return answer

    def assert_near(self, answer: dict[str, Any], within: float) -> None:
        """Every picture is finite, and near that without flags."""
        for name, plain in self.plain["pictures"].items():
            difference = np.abs(np.array(answer["pictures"][name]) - np.array(plain)).mean()
            assert difference <= within, (name, difference)  # not a number fails as well

    def runs(self, code: str) -> bool:
        """Whether the host's environment has what a line of Python asks for."""
        return subprocess.run([self.process.args[0], "-c", code], check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module", params=_hosts())
def probe(request: pytest.FixtureRequest) -> Iterator[Probe]:
    """One for each ComfyUI, for all of this file."""
    probe = Probe(request.param)
    yield probe
    probe.process.stdin.close()
    probe.process.wait(60)


def test_every_flag_is_sorted(probe: Probe) -> None:
    """A flag that a newer host brings fails here by name until it has a place in one of the tables."""
    unknown = set(probe.options["options"]) - sorted_flags()
    assert not unknown, f"{sorted(unknown)}: sort them in launch_flags.py"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_picture_stays(probe: Probe, case: Case) -> None:
    """Finite, near the picture without the flag, and held in what the flag says."""
    if unknown := {flag for flag in case.flags if flag.startswith("-")} - set(probe.options["options"]):
        pytest.skip(f"this ComfyUI has no {', '.join(unknown)}")
    if len(case.flags) == 2 and case.flags[0] in probe.options["switches"] and not case.flags[1].startswith("-"):
        pytest.skip(f"this ComfyUI's {case.flags[0]} takes no value")
    if case.needs and not probe.runs(case.needs):
        pytest.skip(f"this ComfyUI's Python does not run `{case.needs}`")
    answer = probe.ask(list(case.flags))
    for part, held in case.held.items():
        assert held in answer[part], (part, answer[part])
    probe.assert_near(answer, case.within)


@pytest.mark.slow
def test_every_feature_of_fast_leaves_the_picture(probe: Probe) -> None:
    """One by one: `--fast` alone turns them all on."""
    for feature in probe.options["fast"]:
        probe.assert_near(probe.ask(["--fast", feature]), Case(()).within)


@pytest.mark.slow
@pytest.mark.parametrize("cache", CACHES)
def test_every_cache_gives_the_same_pictures(probe: Probe, cache: str, tmp_path: Path) -> None:
    """A picture, the same once more with another seed, and the first again: what was kept or dropped between them
    changes nothing, and an edit works after it."""
    if cache.split()[0] not in probe.options["options"]:
        pytest.skip(f"this ComfyUI has no {cache}")
    with Server(probe.host, tmp_path, options=cache.split()) as server:
        client = Client(server)
        pictures = []
        for seed in (1, 2, 1):
            result = client.run(text_to_image(NANO, seed=seed))
            assert result.status == "success", result.failure
            pictures.append(np.array(client.images(result, SAVE)[0]))
        assert np.array_equal(pictures[0], pictures[2]) and not np.array_equal(pictures[0], pictures[1])
        name = client.upload("drawn.png", Image.fromarray(pictures[0]))
        edited = client.run(edit(name, NANO))
        if cache == "--cache-none" and probe.host.numbers < (0, 4):  # such a host runs no node of several
            assert "--cache-lru 10 instead" in str(edited.failure)
        else:
            assert edited.status == "success", edited.failure
        client.close()
