"""A ComfyUI server for each version found, with tiny random models and a LoRA in its folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import host
import pytest
import torch
from graphs import LORA
from safetensors.torch import save_file
from tiny import CONFIG, write_model
from torch import Tensor

from lightfusion_core.config import ModelConfig, SpecialTokens
from tools.comfyui import NONE_FOUND, checkouts

CHECKS = Path(__file__).with_name("in_host") / "lightfusion_checks.py"
OTHER = CHECKS.with_name("other_model.py")


def _versions() -> list[object]:
    """One parameter for each checkout; all but the first are slow."""
    found = checkouts()
    if not found:
        return [pytest.param(None, id="no ComfyUI", marks=pytest.mark.skip(reason=NONE_FOUND))]
    params = []
    for index, checkout in enumerate(found):
        marks = [pytest.mark.slow] if index else []
        if checkout.missing:
            marks.append(pytest.mark.skip(reason=checkout.missing))
        params.append(pytest.param(checkout, id=checkout.version, marks=marks))
    return params


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lightfusion/` with random models: frozen, coupled, and one of the published vocabulary without a tokenizer;
    and `loras/` with a LoRA for all."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "lightfusion" / "tiny", CONFIG)
    write_model(folder / "lightfusion" / "coupled", replace(CONFIG, name="coupled"), coupled=True)
    published = replace(CONFIG.text, vocab_size=ModelConfig().text.vocab_size)
    config = replace(CONFIG, name="untokenized", text=published, special_tokens=SpecialTokens())
    write_model(folder / "lightfusion" / "untokenized", config, tokenizer=False, lm_head=False)
    (folder / "loras").mkdir()
    save_file(_wan_lora(), folder / "loras" / LORA)
    return folder


@pytest.fixture(scope="session", params=_versions())
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_folders: Path
) -> Iterator[host.Server]:
    """A running ComfyUI; tests share it, so they must leave it usable."""
    base = tmp_path_factory.mktemp("comfyui")
    (base / "models").mkdir()
    for name in ("lightfusion", "loras"):
        (base / "models" / name).symlink_to(model_folders / name)
    with host.Server(request.param, base, modules=[CHECKS, OTHER]) as server:
        assert not host.LOAD_FAILURE.search(server.log()), f"the pack does not load:\n{server.log()[-4000:]}"
        yield server


@pytest.fixture
def client(server: host.Server) -> Iterator[host.Client]:
    """A client of the server."""
    client = host.Client(server)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _log_of_this_test(request: pytest.FixtureRequest) -> None:
    """Remember where the server's log stands, so that a failure can show what was written since."""
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        request.node.stash[_SINCE] = (server, server.log_length)


_SINCE: pytest.StashKey[tuple[host.Server, int]] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed and _SINCE in item.stash:
        server, since = item.stash[_SINCE]
        report.sections.append(("ComfyUI's log of this test", server.log(since)[-8000:]))
    return report


def _wan_lora() -> dict[str, Tensor]:
    """A LoRA under the names that published Wan files have: low-rank pairs with alpha for the linear
    layers, differences for biases and norms."""
    draw, dit, tensors = torch.Generator().manual_seed(1), CONFIG.dit, {}

    def change(*shape: int) -> Tensor:
        return 0.2 * torch.randn(shape, generator=draw)

    def linear(name: str, inputs: int, outputs: int) -> None:
        tensors[f"diffusion_model.{name}.lora_down.weight"] = change(4, inputs)
        tensors[f"diffusion_model.{name}.lora_up.weight"] = change(outputs, 4)
        tensors[f"diffusion_model.{name}.alpha"] = torch.tensor(4.0)
        tensors[f"diffusion_model.{name}.diff_b"] = change(outputs)

    for i in range(dit.num_layers):
        for part in ("self_attn", "cross_attn"):
            for name in "qkvo":
                linear(f"blocks.{i}.{part}.{name}", dit.dim, dit.dim)
            for name in "qk":
                tensors[f"diffusion_model.blocks.{i}.{part}.norm_{name}.diff"] = change(dit.dim)
        linear(f"blocks.{i}.ffn.0", dit.dim, dit.ffn_dim)
        linear(f"blocks.{i}.ffn.2", dit.ffn_dim, dit.dim)
        tensors[f"diffusion_model.blocks.{i}.norm3.diff"] = change(dit.dim)
        tensors[f"diffusion_model.blocks.{i}.norm3.diff_b"] = change(dit.dim)
    linear("text_embedding.0", dit.text_dim, dit.dim)
    linear("time_embedding.2", dit.dim, dit.dim)
    linear("time_projection.1", dit.dim, 6 * dit.dim)
    linear("head.head", dit.dim, dit.out_dim * dit.patch_size**2)
    return tensors
