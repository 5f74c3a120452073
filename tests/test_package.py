"""The package's face: light to import, and exactly the names that it lists."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lightfusion_core

ROOT = Path(lightfusion_core.__file__).parents[1]
HEAVY = ("torch", "numpy", "PIL", "transformers", "diffusers", "tokenizers", "safetensors", "einops")
PROGRAM = f"""
import sys, time, json
sys.path.insert(0, {str(ROOT)!r})
start = time.perf_counter()
import lightfusion_core
taken = time.perf_counter() - start
lightfusion_core.ModelConfig, lightfusion_core.InputError, lightfusion_core.Conditioning
print(json.dumps([taken, [name for name in {HEAVY} if name in sys.modules]]))
"""


def test_importing_brings_in_nothing_heavy() -> None:
    """Guards the host's start: torch and the model libraries come with the first name that needs them.
    A configuration, an error and the conditioning's type need none of them."""
    times = []
    for _ in range(3):
        run = subprocess.run([sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True)
        taken, loaded = json.loads(run.stdout)
        assert loaded == []
        times.append(taken)
    assert min(times) < 0.2


def test_all_names_resolve() -> None:
    """Guards the table of lazy names: one that moved, or that is listed and not in the table."""
    assert list(lightfusion_core.__all__) == sorted(lightfusion_core.__all__)
    assert set(lightfusion_core._HOMES) | {"__version__"} == set(lightfusion_core.__all__)
    for name in lightfusion_core.__all__:
        value = getattr(lightfusion_core, name)
        assert name == "__version__" or value.__name__ == name


def test_dir_shows_what_all_lists() -> None:
    """Guards completion in a shell: lazy names must show before they were used."""
    assert dir(lightfusion_core) == sorted(lightfusion_core.__all__)


def test_names_that_are_not_there_say_so() -> None:
    assert not hasattr(lightfusion_core, "LightBagel")
    assert not hasattr(lightfusion_core, "_pipeline")


def test_the_hosts_entry_point_is_not_imported() -> None:
    """Guards pytest.ini, which stands in tests/ so that the root's `__init__.py` (ComfyUI's way in, which
    needs ComfyUI) is never taken for a package of the tests."""
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    assert str(ROOT / "__init__.py") not in loaded
