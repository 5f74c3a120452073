"""A node pack for tests alone: runs checks inside of ComfyUI's own process, and slows sampling down.

A check runs where a node runs: under the executor, in its thread, with its hooks and in inference mode.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from comfy.patcher_extension import WrappersMP
from comfy_api.latest import ComfyExtension, io

FOLDER = Path(__file__).resolve().parent


class Check(io.ComfyNode):
    """Runs one check_* function and shows the numbers that it returns."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LightFusionCheck",
            category="tests",
            inputs=[io.String.Input("module"), io.String.Input("function")],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: str) -> float:
        return float("nan")  # a check is never taken from the cache

    @classmethod
    def execute(cls, module: str, function: str) -> io.NodeOutput:
        if str(FOLDER) not in sys.path:
            sys.path.append(str(FOLDER))
        numbers = getattr(importlib.import_module(module), function)()
        return io.NodeOutput(ui={"text": [json.dumps(numbers or {})]})


class Slow(io.ComfyNode):
    """A model whose every call and whose sampling's end take longer, so that a cancel can be aimed at a step.

    The end too: a tiny model's picture is decoded and saved before a cancel at the last step can arrive.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LightFusionSlow",
            category="tests",
            inputs=[io.Model.Input("model"), io.Float.Input("seconds", default=0.3)],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, seconds: float) -> io.NodeOutput:
        def wait(executor: Any, *args: Any, **options: Any) -> Any:
            time.sleep(seconds)
            return executor(*args, **options)

        def linger(executor: Any, *args: Any, **options: Any) -> Any:
            latent = executor(*args, **options)
            time.sleep(seconds)
            return latent

        slow = model.clone()
        slow.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "slow", wait)
        slow.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "slow", linger)
        return io.NodeOutput(slow)


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [Check, Slow]


async def comfy_entrypoint() -> TestExtension:
    return TestExtension()
