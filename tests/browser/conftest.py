"""A headless Chromium, and the editor in it: of a real ComfyUI, or of the frontend's package alone."""

from __future__ import annotations

from collections.abc import Iterator

import chromium
import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[chromium.Chromium]:
    """The browser; tests open pages of their own."""
    if chromium.find() is None:
        pytest.skip(chromium.NONE_FOUND)
    with chromium.Chromium() as running:
        yield running
