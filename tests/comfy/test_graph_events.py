"""What reaches the browser while the pack's own nodes work: progress, previews, and no flood of text."""

from __future__ import annotations

import time

import pytest
from driving import photo, run
from graphs import SAMPLER, ask, edit, own_text_to_image
from host import Client, Event

pytestmark = pytest.mark.comfy


def test_sampler_sends_progress_and_previews(client: Client) -> None:
    """One of each for every step; a preview has the picture's proportions."""
    result = run(client, own_text_to_image(seed=200, steps=6, width=96, height=64))
    assert result.progress(SAMPLER) == [(step, 6) for step in range(1, 7)]
    assert [preview.node for preview in result.previews] == [SAMPLER] * 6
    width, height = result.previews[-1].image.size
    assert abs(width / height - 96 / 64) < 0.01


def test_edit_sends_progress_and_previews(client: Client) -> None:
    """The sampler inside of it is another node to the server; its events must still come."""
    result = run(client, edit(photo(client), seed=201, steps=6))
    assert result.progress() == [(step, 6) for step in range(1, 7)]
    assert all(str(data["node"]).startswith("edit.") for data in result.of("progress"))
    assert len(result.previews) == 6
    assert all(str(preview.node).startswith("edit.") for preview in result.previews)


def test_ask_sends_progress_and_no_flood_of_text(client: Client) -> None:
    """Every text holds all that was written before it: sent for every token, an answer's bytes grow with its square."""
    times: list[float] = []

    def clock(event: Event) -> None:
        if event.kind == "lightfusion.text":
            times.append(time.monotonic())

    result = client.run(ask(question="a long story", length=200), on_event=clock)
    assert result.status == "success", str(result.failure)
    progress = result.progress("ask")
    assert len(progress) > 1
    assert progress == sorted(progress)
    assert progress[-1] == (200, 200)
    assert 1 <= len(times) <= 2 + (times[-1] - times[0]) / 0.1
