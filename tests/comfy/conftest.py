"""A ComfyUI server for each version found, with tiny random models and a LoRA in its folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import host
import pytest
from graphs import LORA
from loras import nano_lora, wan_lora
from safetensors.torch import save_file
from tiny import CONFIG, write_model
from wiring import LORA as NANO_LORA

from lightfusion_core.config import ModelConfig, SpecialTokens
from tools.comfyui import NONE_FOUND, checkouts

CHECKS = Path(__file__).with_name("in_host") / "lightfusion_checks.py"
OTHER, MATRIX = CHECKS.with_name("other_model.py"), CHECKS.with_name("matrix_nodes.py")


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
    save_file(wan_lora(CONFIG.dit), folder / "loras" / LORA)
    save_file(nano_lora(), folder / "loras" / NANO_LORA)
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
    with host.Server(request.param, base, modules=[CHECKS, OTHER, MATRIX]) as server:
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
