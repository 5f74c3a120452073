"""What ComfyUI asks of our objects, read from its sources: every version found, and versions that nobody has yet.

The same demands meet living objects in `in_host/check_contract.py`.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
from contract.judging import Breach, breaches
from contract.kinds import EXCUSED
from contract.ours import read_pack
from contract.sources import Library, Source, read_library

from tools.comfyui import NONE_FOUND, PACK, Checkout, checkouts

pytestmark = pytest.mark.comfy
HOSTS = checkouts()


def _hosts() -> list[object]:
    """All but the first are slow."""
    if not HOSTS:
        return [pytest.param(None, id="no ComfyUI", marks=pytest.mark.skip(reason=NONE_FOUND))]
    marks = [[pytest.mark.slow] if index else [] for index in range(len(HOSTS))]
    return [pytest.param(host, id=host.version, marks=mark) for host, mark in zip(HOSTS, marks, strict=True)]


@functools.cache
def library(host: Checkout) -> Library:
    """The sources of a host."""
    return read_library([host.path])


def _slow(*rows: tuple[object, ...]) -> list[object]:
    return [pytest.param(*row, marks=pytest.mark.slow) for row in rows]


@pytest.mark.parametrize("host", _hosts())
def test_the_host_gets_what_it_asks_for(host: Checkout) -> None:
    """Everything that this version's sources read of our objects and call on them, and all that we use of it."""
    found = breaches(read_pack(), library(host))
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("file", "text", "instead", "missed"),
    [
        ("nodes.native.vae", "super().__init__(sd={})", "pass", {"VAE.format_encoded", "VAE.handles_tiling"}),
        *_slow(
        ("nodes.native.clip", "def set_clip_options(", "def other(", {"text encoder.set_clip_options"}),
        ("nodes.native.clip", "clip.tokenizer_options = {}", "pass", {"CLIP.tokenizer_options"}),
        ("nodes.native.clip", ".dtypes = ", ".kinds = ", {"text encoder.dtypes"}),
        ("nodes.native.tokens", "return_word_ids: bool = False,", "*,", {"tokenizer.tokenize_with_weights(_, _)"}),
        ("nodes.native.loading", ".cached_patcher_init = ", ".other = ", {"patcher.cached_patcher_init"}),
        ("nodes.native.guiding", "seed: int | None = None", "dice: int | None = None", {"guider.predict_noise(x=, "}),
        ("nodes.native.guiding", "disable_pbar: bool", "quiet: bool", {"sampler.sample(model_wrap=, "}),
        ("nodes.native.model", "super().__init__(settings", "print(settings", {"model.model_sampling"}),
        ("nodes.native.model", "comfy.ops.disable_weight_init", "comfy.ops.gone", {"comfy.ops.gone"}),
        ("nodes.native.scaled", "convert_weight(self, weight:", "convert_weight(self, w:", {"scaled layer.convert"}),
        ),
    ],
)  # fmt: skip
@pytest.mark.skipif(not HOSTS, reason=NONE_FOUND)
def test_what_is_taken_away_is_missed(file: str, text: str, instead: str, missed: set[str]) -> None:
    """So that the test above can be believed: each of these was, or could have been, such a break."""
    sources = [_changed(source, text, instead) if source.name == file else source for source in read_pack().sources]
    found = breaches(Library(sources), library(HOSTS[0]))
    for start in missed:
        assert any(breach.key.startswith(start) for breach in found), (start, found)


def _changed(source: Source, text: str, instead: str) -> Source:
    assert text in source.text, f"{source.name} has no {text!r} any more"
    return Source(source.name, source.text.replace(text, instead))


NEWER = """
class VAE:
    def __init__(self, sd=None):
        self.first_stage_model = None
        self.set_for_us = None
        if not sd:
            return
        self.brand_new = None

    def encode(self, pixel_samples):
        if hasattr(self.first_stage_model, "asked_for"):
            self.first_stage_model.asked_for()
        return self.first_stage_model.encode(pixel_samples, tile=8)


class CLIP:
    def __init__(self, target=None, no_init=False):
        self.patcher = None

    def tokenize(self, text):
        return self.tokenizer.tokenize_with_weights(text, images=[]) + self.tokenizer.new_tokens(text)
"""


def test_a_loose_file_of_a_newer_host_is_judged(tmp_path: Path) -> None:
    """One file, as it would be fetched from a version that cannot be started here, through the command line."""
    file = tmp_path / "sd.py"
    file.write_text(NEWER, encoding="utf-8")
    command = [sys.executable, "-m", "tests.comfy.contract", str(file)]
    done = subprocess.run(command, cwd=PACK, capture_output=True, text=True, check=False)
    told = {line.partition(": ")[0] for line in done.stdout.splitlines()}
    assert {"VAE.brand_new", "tokenizer.new_tokens", "autoencoder.encode(_, tile=)"} <= told, done
    assert not {"VAE.set_for_us", "autoencoder.asked_for", "tokenizer.tokenize_with_weights(_, images=)"} & told, told
    assert done.returncode == 1


@pytest.mark.slow
def test_no_excuse_outlives_its_demand() -> None:
    """What is excused is still asked for by one of the hosts, and ours still lack it."""
    found: list[Breach] = []
    for host in HOSTS:
        found += breaches(read_pack(), library(host), excused=())
    asked = {breach.key for breach in found}
    if len(HOSTS) > 2:  # older ones ask for less
        assert set(EXCUSED) <= asked, set(EXCUSED) - asked
