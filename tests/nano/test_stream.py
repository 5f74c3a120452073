"""What a GPU's training learns from, and how: the same as a CPU's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from lightfusion_core.understanding.tokenizer import Tokenizer
from tools.nano import stream
from tools.nano.drawings import Pictures, Requests
from tools.nano.flow import Context, chance, flow_loss, new_generation, stacked
from tools.nano.model import RUNS, TOKENIZER, nano_config, read_vae_config
from tools.nano.stream import Recorded, Stream
from tools.nano.train_vlm import load_tower
from tools.nano.unpack import unpack

COUNTS = [("edit", 5), ("compose", 3), ("sized", 2)]


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Requests:
    """Those of the nano that ships."""
    monkeypatch.chdir(tmp_path)
    RUNS.mkdir(parents=True)
    unpack(generation=False)
    return Requests(Tokenizer(TOKENIZER, nano_config().special_tokens), load_tower())


def test_a_streamed_step_is_that_of_contexts_laid_out_one_by_one(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards which latents and features each row gets, dropped conditions among them, and that padding changes nothing:
    losses and gradients in float32."""
    monkeypatch.setattr(stream.torch, "autocast", lambda *given: torch.enable_grad())
    drawn = Stream(requests, lambda step: COUNTS, 4, 0, ("vit", "vae"))[3]
    tower, pictures = new_generation(nano_config(read_vae_config())), Pictures()
    torch.nn.init.normal_(tower.head.head.weight, std=0.1)
    monkeypatch.setattr(stream, "LENGTHS", 1)
    plain = Stream(requests, lambda step: COUNTS, 4, 0, ("vit", "vae"))[3]
    wanted = {}
    rng = random.Random(5)
    for one in plain:
        latents, features, shown = [], None, 0
        if len(one.worn):
            given = torch.where(one.worn[:, None, None, None], pictures.worn(one.references), one.references)
            latents, features = list(pictures.encode(given)), requests.features(given)
            shown = int(one.layout.rows.seen.sum()) // features.shape[1]
        clean = stacked([[latents[k] for k in row if k < len(latents)] for row in one.clean.tolist()])
        seen = None if features is None else features[one.seen[:shown]]
        target = pictures.encode(one.targets)
        context = Context(requests.vlm, one.layout, seen, clean)
        loss = flow_loss(tower, context, target, *chance(rng, target, 4.0))
        (loss / len(plain)).backward()
        wanted[f"{one.task} loss"] = float(loss.detach())
    gradients = [parameter.grad.clone() for parameter in tower.parameters() if parameter.grad is not None]
    tower.zero_grad()
    found = Recorded(tower, requests, pictures, 4.0)(drawn, random.Random(5))
    assert found == pytest.approx(wanted, rel=1e-5)
    again = [parameter.grad for parameter in tower.parameters() if parameter.grad is not None]
    for one, other in zip(gradients, again, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)
    assert {len(one.worn) - int(one.layout.rows.seen.sum()) // 25 for one in drawn[:2]} != {0}, "nothing was dropped"


def test_a_step_is_the_same_whenever_it_is_drawn(requests: Requests) -> None:
    steps = Stream(requests, lambda step: COUNTS, 3, 0, ("vit", "vae"))
    ahead = list(steps.batches(1))
    assert len(ahead) == 2
    for one, other in zip(steps[2], ahead[1], strict=True):
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.references, other.references)
        assert torch.equal(one.layout.rows.ids, other.layout.rows.ids)
