"""Fixtures of all tests: two tiny random models, one of each kind of checkpoint."""

from __future__ import annotations

import os
import tempfile
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import make_model

from lightfusion_core import LightFusion

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that would download must fail instead
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="lightfusion-tests-")  # what loading remembers of files
torch.set_num_threads(1)  # the models are so small that a second thread costs more than it does


@pytest.fixture(scope="session")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> LightFusion:
    """A model whose fusion leaves the understanding stream alone."""
    return make_model(tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="session")
def coupled(tmp_path_factory: pytest.TempPathFactory) -> LightFusion:
    """A model whose fusion writes into the understanding stream."""
    return make_model(tmp_path_factory.mktemp("coupled"), coupled=True)


@pytest.fixture(params=["frozen", "coupled"])
def model(request: pytest.FixtureRequest) -> LightFusion:
    """Both kinds, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """A picture of 100 x 80 pixels with something in it."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return coarse.resize((100, 80), Image.Resampling.BICUBIC)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not run, and why: a green run must not look like more than it was."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    left_out = len(terminalreporter.stats.get("deselected", []))
    if reasons or left_out:
        terminalreporter.section("NOT RUN", sep="!", bold=True, yellow=True)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}", yellow=True)
    if left_out:
        terminalreporter.write_line(f"{left_out} left out by markers: `make test-all` runs them", yellow=True)
