"""Only what a change touches runs again: nodes by ComfyUI's cache, the image prefix by the pack's own."""

from __future__ import annotations

from typing import Any

import pytest
from driving import count, photo, run
from graphs import SAMPLER, SAVE, edit, node, own_text_to_image
from host import Client, Graph, Result

pytestmark = pytest.mark.comfy
NOTHING = dict.fromkeys(("pictures", "latents", "texts", "segments", "vae"), 0)


def change(client: Client, before: Graph, after: Graph) -> tuple[Result, dict[str, int]]:
    """Run one graph and then another: the second's result, and how much of each kind it encoded."""
    count(client, "start")
    run(client, before)
    result = run(client, after)
    calls = NOTHING | count(client, "read").get(result.prompt, {})
    print(result.executed, calls)
    return result, calls


def with_reference(client: Client, size: tuple[int, int] = (100, 70), **options: Any) -> Graph:
    """The pack's own graph with a picture as reference."""
    graph = own_text_to_image(vae=["load", 2], image_1=["image", 0], **options)
    return graph | {"image": node("LoadImage", image=photo(client, *size))}


def test_unchanged_graph_executes_nothing(client: Client) -> None:
    graph = with_reference(client, seed=400)
    run(client, graph)
    again = run(client, graph)
    assert again.executed == []
    assert again.cached == set(graph)


def test_changed_seed_runs_the_sampler_and_what_follows(client: Client) -> None:
    again, calls = change(client, with_reference(client, seed=401), with_reference(client, seed=402))
    assert again.executed == [SAMPLER, "decode", SAVE]
    assert calls == NOTHING


def test_changed_picture_is_encoded_once(client: Client) -> None:
    """By each side; the branches of guidance share it."""
    _, calls = change(client, *(with_reference(client, size, seed=403) for size in ((100, 70), (70, 100))))
    assert calls["pictures"] == calls["latents"] == calls["vae"] == 1


def test_changed_text_does_not_run_the_image_prefix_again(client: Client) -> None:
    """Pictures are most of the sequence, and of the time."""
    again, calls = change(client, *(with_reference(client, text=text, seed=404) for text in ("one", "two")))
    assert again.executed == ["encode", SAMPLER, "decode", SAVE]
    assert calls["pictures"] == calls["latents"] == calls["vae"] == 0
    assert calls["texts"] > 0


def test_changed_instruction_of_an_edit_does_not_run_the_image_prefix_again(client: Client) -> None:
    image = photo(client)
    _, calls = change(client, *(edit(image, text=f"make it {color}", seed=405) for color in ("green", "yellow")))
    assert calls["pictures"] == calls["latents"] == calls["vae"] == 0
    assert calls["texts"] > 0
