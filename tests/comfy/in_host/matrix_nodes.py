"""Nodes of tests for the compatibility matrix: one that measures what a node did, and one that gives things which
only other models' files hold.

Of the older kind, since a socket for every type is what 0.3.64 knows there alone.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

FOLDER = Path(__file__).resolve().parent


class AnyKind(str):
    """A socket's type that equals every other."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


ANY = AnyKind("*")


class Probe:
    """Measures one property (a function of matrix_properties) of what was found, beside the plain run's."""

    CATEGORY, FUNCTION, OUTPUT_NODE = "tests", "measure", True
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {
            "required": {"property": ("STRING", {}), "given": ("STRING", {})},
            "optional": {name: (ANY, {}) for name in ("found", "plain", "other")},
        }

    def measure(self, property: str, given: str, **values: Any) -> dict[str, Any]:  # noqa: A002
        numbers = _module("matrix_properties").measure(property, values, json.loads(given))
        return {"ui": {"text": [json.dumps(numbers)]}}


class StandIn:
    """A thing of another model, as its loader would give it."""

    CATEGORY, FUNCTION = "tests", "make"
    RETURN_TYPES = (ANY,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"of": ("STRING", {})}}

    def make(self, of: str) -> tuple[Any]:
        return (_module("matrix_stand_ins").make(of),)


def _module(name: str) -> Any:
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)


NODE_CLASS_MAPPINGS = {"LightFusionProbe": Probe, "LightFusionStandIn": StandIn}
