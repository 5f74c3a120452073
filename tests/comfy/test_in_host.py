"""Checks that run inside of ComfyUI's process, where its model management can be reached.

Each is a check_* function in `in_host/`; a node of tests runs it as ComfyUI runs any node.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from graphs import node
from host import Client

pytestmark = pytest.mark.comfy
SLOW = {
    "check_every_stock_sampler_draws",
    "check_step_caches_keep_the_picture",
    "check_the_hosts_trainer_reaches_every_layer",
    "check_thirty_runs_keep_no_tensor",
    "check_what_was_merged_is_saved",
}
"""The longest of those whose like is tested in less time."""


def _checks() -> list[object]:
    """The functions, read without importing them: they need ComfyUI."""
    found, unknown = [], set(SLOW)
    for file in sorted(Path(__file__).with_name("in_host").glob("check_*.py")):
        for part in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(part, ast.FunctionDef) and part.name.startswith("check_"):
                unknown.discard(part.name)
                marks = [pytest.mark.slow] * (part.name in SLOW)
                found.append(pytest.param(file.stem, part.name, id=part.name.removeprefix("check_"), marks=marks))
    assert not unknown, f"There is no {', no '.join(sorted(unknown))}: take the name out of SLOW."
    return found


@pytest.mark.parametrize(("module", "function"), _checks())
def test_check(client: Client, module: str, function: str) -> None:
    """See the function's own text."""
    result = client.run({"check": node("LightFusionCheck", module=module, function=function)})
    if result.failure is not None:
        pytest.fail(str(result.failure), pytrace=False)
    assert result.status == "success"
    print(json.loads(result.outputs["check"]["text"][0]))
