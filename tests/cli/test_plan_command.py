"""`--plan`: what a request will take, said before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightfusion_core import Guidance, LightFusion


@pytest.mark.parametrize("image_guidance", [1.0, 2.0])
def test_an_edit_is_foreseen_as_it_is_encoded_and_held(run, folder: Path, photo: Path, image_guidance: float) -> None:
    """Guards token counts by the model's size rules, and the branches that guidance asks for."""
    settings = ("--width", "96", "--height", "64", "--guidance", "3", "--image-guidance", image_guidance)
    code, out, err = run("edit", photo, "a red circle", *settings, "--plan", "--json", "--quiet", "--dtype", "float32")
    assert (code, err) == (0, "")
    said = json.loads(out)
    model = LightFusion.load(folder, device="cpu", dtype=torch.float32)
    with torch.no_grad():
        conditioning = model.encode("a red circle", [Image.open(photo)])
        context = model.guided(conditioning, 96, 64, Guidance(3.0, image_guidance)).context
    assert said["branches"] == [branch.branch.tokens for branch in context.branches]
    assert said["context"] == sum(k.nbytes + v.nbytes for k, v in context.held())
    assert said["drawing"] >= said["context"]
    assert said["weights"]["generation"] > 0


def test_it_says_so_in_words_and_draws_nothing(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LightFusion, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    code, out, err = run("generate", "a red circle", "--plan", "--output", "drawn.png")
    assert (code, err) == (0, "")
    assert "Weights in the files: understanding" in out
    assert "Drawing 64x64" in out
    assert "context of 2 branches" in out
    assert not list(tmp_path.glob("**/*.png"))


def test_it_refuses_what_the_request_would(run) -> None:
    code, out, err = run("generate", "a", "--plan", "--width", "1024", "--height", "1024")
    assert (code, out) == (1, "")
    assert "up to 512 pixels" in err


def test_it_foresees_the_dtype_and_the_place_of_an_offloaded_model(run, folder: Path) -> None:
    """Weights that wait in the main memory are in the dtype of the device that they are for."""
    said = {}
    for offload in ((), ("--offload", "phases"), ("--offload", "groups")):
        code, out, err = run("generate", "a", "--plan", "--device", "cuda", *offload)
        assert (code, err) == (0, "")
        said[offload[1:]] = out
    assert "of its own" not in said[()]
    assert all("of its own, as bfloat16" in said[mode,] for mode in ("phases", "groups"))
    assert "beside one layer's weights" in said["groups",]
