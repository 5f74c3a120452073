"""The package's face: light to import, and exactly the names that it lists."""

from __future__ import annotations

import json
import re
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


def _packed(path: str) -> bool:
    """Whether a file of the repository goes into the registry's package."""
    command = ["git", "-c", "core.excludesFile=.comfyignore", "check-ignore", "--no-index", "--quiet", path]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 1


def test_the_readmes_pictures_are_packed() -> None:
    """The registry shows the README out of the package."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert shown
    assert [path for path in shown if not (ROOT / path).is_file() or not _packed(path)] == []
    assert not _packed("tests/test_package.py")


def test_windows_tools_can_read_what_they_read() -> None:
    """The registry's tools open these with the system's encoding, which on Windows is cp1252."""
    for name in ("pyproject.toml", "requirements.txt", ".comfyignore"):
        assert (ROOT / name).read_bytes().isascii(), name
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        (ROOT / name).read_text(encoding="utf-8").encode("cp1252")


def test_no_requirement_takes_a_version_away() -> None:
    """Guards what other packs have installed; see the reasons in requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text(encoding="ascii").splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    assert wanted == ["transformers", "diffusers>=0.36", "transformers"]
