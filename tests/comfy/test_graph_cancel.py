"""Cancel, at the first, a middle and the last step: nothing is saved, the history says so, the server goes on."""

from __future__ import annotations

import numpy as np
import pytest
from driving import photo, run
from graphs import SAVE, edit, own_text_to_image
from host import Client, Graph, Result

pytestmark = pytest.mark.comfy
STEPS = 6


def saved(client: Client, graph: Graph) -> np.ndarray:
    """The picture that a graph saves."""
    return np.asarray(client.images(run(client, graph), SAVE)[0].convert("RGB"))


def assert_interrupted(result: Result) -> None:
    """No error, no picture, and a history that tells a cancel from a failure."""
    assert result.status == "interrupted"
    assert result.failure is None
    assert SAVE not in result.outputs
    status = result.history["status"]
    assert not status["completed"]
    assert [kind for kind, _ in status["messages"]][-1] == "execution_interrupted"


@pytest.mark.parametrize("step", [1, 3, STEPS])
def test_sampler_stops(client: Client, step: int) -> None:
    """And the next picture is the one that it would have been."""
    before = saved(client, own_text_to_image(seed=300, steps=STEPS))
    cancelled = client.run(own_text_to_image(seed=301, steps=STEPS, slow=0.25), cancel_at=step)
    assert_interrupted(cancelled)
    assert cancelled.progress()[-1] == (step, STEPS)
    client.run(own_text_to_image(seed=302, steps=STEPS))  # takes the sampler's cached result away
    assert np.array_equal(before, saved(client, own_text_to_image(seed=300, steps=STEPS)))


@pytest.mark.parametrize("step", [1, 3, STEPS])
def test_edit_stops(client: Client, step: int) -> None:
    """The step is one of a node that the edit stands for."""
    image = photo(client)
    cancelled = client.run(edit(image, seed=303, steps=STEPS, slow=0.25), cancel_at=step)
    assert_interrupted(cancelled)
    assert cancelled.progress()[-1] == (step, STEPS)
    assert saved(client, edit(image, seed=303, steps=STEPS)).shape == (70, 100, 3)
