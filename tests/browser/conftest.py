"""A headless Chromium, and the editor in it: of a real ComfyUI, or of the frontend's package alone."""

from __future__ import annotations

from collections.abc import Iterator

import chromium
import frontend
import pytest
from editor import VUE, Editor
from host import LOAD_FAILURE, Server

from tools.comfyui import NONE_FOUND, Checkout, checkouts

VUE_SINCE = (0, 4)
"""The ComfyUI from which on its editor can make nodes of elements and put ours into them."""


@pytest.fixture(scope="session")
def browser() -> Iterator[chromium.Chromium]:
    """The browser; tests open pages of their own."""
    if chromium.find() is None:
        pytest.skip(chromium.NONE_FOUND)
    with chromium.Chromium() as running:
        yield running


# A real ComfyUI


def _name(checkout: Checkout, newest: bool, vue: bool) -> str:
    return f"{checkout.version}{'-newest' if newest else ''}{'-vue' if vue else ''}"


def _editors() -> list[object]:
    """Each checkout with its own frontend, and the newest one with the frontend that the tests' own requirements
    install; with nodes on the canvas and, where it can, of elements. All but the first are slow."""
    params = []
    for checkout in checkouts():
        for newest in [False, True] if checkout == checkouts()[0] else [False]:
            for vue in [False, True] if checkout.numbers >= VUE_SINCE else [False]:
                marks = [pytest.mark.slow] if params else []
                if checkout.missing:
                    marks.append(pytest.mark.skip(reason=checkout.missing))
                if newest and frontend.static_files() is None:
                    marks.append(pytest.mark.skip(reason=frontend.NONE_FOUND))
                params.append(pytest.param((checkout, newest, vue), id=_name(checkout, newest, vue), marks=marks))
    return params or [pytest.param(None, id="no ComfyUI", marks=pytest.mark.skip(reason=NONE_FOUND))]


@pytest.fixture(scope="session", params=_editors())
def editor(
    request: pytest.FixtureRequest, browser: chromium.Chromium, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Editor]:
    """The editor of a real server; modules share it, so they must leave it usable."""
    checkout, newest, vue = request.param
    options = ["--front-end-root", str(frontend.static_files())] if newest else []
    base = tmp_path_factory.mktemp("comfyui")
    with Server(checkout, base, options=options) as server, browser.page() as page:
        assert not LOAD_FAILURE.search(server.log())
        editor = Editor(page, server.url, _name(*request.param), **{VUE: vue})
        yield editor
        assert editor.complaints() == []


# The frontend alone


@pytest.fixture(scope="module")
def server() -> Iterator[frontend.RecordedServer]:
    static = frontend.static_files()
    if static is None:
        pytest.skip(frontend.NONE_FOUND)
    with frontend.RecordedServer(static) as server:
        yield server


@pytest.fixture(scope="module")
def opened(browser: chromium.Chromium, server: frontend.RecordedServer) -> Iterator[Editor]:
    """The editor, opened once: that takes longer than most tests."""
    with browser.page() as page:
        yield Editor(page, server.url, "recorded", **{VUE: False})
