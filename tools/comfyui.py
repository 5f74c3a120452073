"""Finding a ComfyUI on this machine, and starting one with this pack in it.

Needs Python alone, since it runs before anything is installed.

    python tools/comfyui.py        # or `make comfyui`
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
PACK_NAME = "comfyui-lightfusion"
HOME = Path("~/comfy").expanduser()
"""comfy-cli's default workspace."""

OWN = PACK / ".comfyui"
"""Where a release is put when there is none, and where the server that is started here keeps its files."""

REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"
RELEASE = "v0.3.64"
# one trio: a torchvision or torchaudio of another torch fails as it is imported
_PACKAGES = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0", "transformers<5")
_HAS_GPU = "import torch; assert torch.cuda.is_available() or torch.backends.mps.is_available()"
_HAS_REQUIREMENT = "import sys; from importlib.util import find_spec; sys.exit(find_spec('diffusers') is None)"
_NEEDED = ("torch", "aiohttp", "transformers", "diffusers")
_FOLDERS = ("custom_nodes", "input", "output", "temp", "user", "models/lightfusion", "models/loras")
_SHARED = ("checkpoints", "diffusion_models", "lightfusion", "loras", "text_encoders", "upscale_models", "vae")

NONE_FOUND = "there is no ComfyUI: set COMFYUI_PATH to a checkout, or clone one to ~/comfy/ComfyUI"


class NoComfyUIError(Exception):
    """None was found and none could be had; the text says what to do."""


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, to tell which is newer."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


@dataclass(frozen=True)
class Checkout:
    """A ComfyUI folder with the Python that runs it; `python` is None where none was found."""

    path: Path
    python: Path | None

    @property
    def version(self) -> str:
        text = (self.path / "comfyui_version.py").read_text(encoding="utf-8")
        found = re.search(r"__version__ = \"(.+?)\"", text)
        return found[1] if found else "unknown"

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as `numbers` has it."""
        return numbers(self.version)

    @property
    def missing(self) -> str | None:
        """What keeps it from running, None if nothing does."""
        if self.python is not None:
            return None
        return (
            f"{self.path} is a ComfyUI without a Python environment: make {self.path / '.venv'} or set COMFYUI_PYTHON"
        )

    def command(self, base: Path, port: int, packs: Iterable[str], options: Sequence[str] = ()) -> list[str]:
        """What starts it in the folder `base` with these packs alone."""
        return [
            str(self.python), "main.py", "--port", str(port), "--base-directory", str(base),
            "--database-url", "sqlite:///:memory:", "--preview-method", "auto", *options,
            "--disable-all-custom-nodes", "--whitelist-custom-nodes", *packs,
        ]  # fmt: skip


def checkouts() -> list[Checkout]:
    """Every ComfyUI of this machine: `$COMFYUI_PATH` first, then ~/comfy/ComfyUI*, the newest version first."""
    named = os.environ.get("COMFYUI_PATH")
    chosen = Path(named).expanduser().resolve() if named else None
    paths = [*([chosen] if chosen else []), *sorted(path.resolve() for path in HOME.glob("ComfyUI*"))]
    unique = dict.fromkeys(path for path in paths if (path / "main.py").is_file())
    found = [Checkout(path, _python_of(path, path == (chosen or HOME.resolve() / "ComfyUI"))) for path in unique]
    return sorted(found, key=lambda checkout: (checkout.path == chosen, checkout.numbers), reverse=True)


def lay_out(base: Path, packs: Mapping[str, Path]) -> None:
    """Make a server's folders in `base`, with the packs linked into them by name."""
    for folder in _FOLDERS:
        (base / folder).mkdir(parents=True, exist_ok=True)
    for name, target in packs.items():
        link = base / "custom_nodes" / name
        if not link.exists():
            link.symlink_to(target, target_is_directory=target.is_dir())


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _python_of(comfy: Path, default: bool) -> Path | None:
    """`$COMFYUI_PYTHON` (for the default checkout), the environments beside it, or our own if it serves."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named and default:
        return Path(named).expanduser()
    for folder in (comfy / ".venv", comfy / "venv", comfy.parent / ".venv"):
        python = _interpreter(folder)
        if python is not None:
            return python
    return Path(sys.executable) if _runs(Path(sys.executable), f"import {', '.join(_NEEDED)}") else None


def _interpreter(environment: Path) -> Path | None:
    places = (environment / "bin" / "python", environment / "Scripts" / "python.exe")
    return next((python for python in places if python.is_file()), None)


def _runs(python: Path, code: str) -> bool:
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def _own_release() -> Checkout:
    """The pinned release in a folder of its own, cloned and installed on first use."""
    folder, environment = OWN / "ComfyUI", OWN / ".venv"
    if not folder.exists():
        print(f"No ComfyUI found: cloning {RELEASE} to {folder}")
        source = os.environ.get("COMFYUI_REPOSITORY", REPOSITORY)
        clone = [
            "git",
            "-c",
            "advice.detachedHead=false",
            "clone",
            "--quiet",
            "--depth",
            "1",
            "--branch",
            RELEASE,
            source,
            str(folder),
        ]
        if subprocess.run(clone, check=False, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}).returncode:
            raise NoComfyUIError(
                f"{NONE_FOUND[0].upper()}{NONE_FOUND[1:]}. Cloning {source} did not work: see git's message above."
            )
    installed = environment / ".installed"
    if not installed.exists():
        print(f"Installing it into {environment}")
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        wanted = [*_PACKAGES, "-r", str(folder / "requirements.txt"), "-r", str(PACK / "requirements.txt")]
        subprocess.run(
            [str(_interpreter(environment)), "-m", "pip", "install", "--quiet", "requests", *wanted], check=True
        )
        installed.touch()
    return Checkout(folder, _interpreter(environment))


def _share_models(checkout: Checkout, base: Path) -> Path:
    """A settings file that lets the server see the models that the checkout already has."""
    lines = [f"{folder}: {folder}" for folder in _SHARED]
    file = base / "extra_model_paths.yaml"
    text = "\n    ".join([f"base_path: {checkout.path / 'models'}", *lines])
    file.write_text(f"comfyui:\n    {text}\n", encoding="utf-8")
    return file


def main() -> int:
    parser = argparse.ArgumentParser(description="Start a ComfyUI with this pack in it, in a folder of its own.")
    parser.add_argument("--port", type=int, default=0, help="where it listens; 0 takes a free one")
    options = parser.parse_args()
    try:
        checkout = next(iter(checkouts()), None) or _own_release()
        if checkout.python is None:
            raise NoComfyUIError(checkout.missing)
    except NoComfyUIError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    if not _runs(checkout.python, _HAS_REQUIREMENT):
        print(f"Installing the pack's one requirement, diffusers, into {checkout.python.parent.parent}")
        wanted = ["-m", "pip", "install", "--quiet", "-r", str(PACK / "requirements.txt")]
        subprocess.run([str(checkout.python), *wanted], check=True)
    base, port = OWN / "base", options.port or free_port()
    lay_out(base, {PACK_NAME: PACK})
    wanted = ["--extra-model-paths-config", str(_share_models(checkout, base))]
    if not _runs(checkout.python, _HAS_GPU):
        wanted.append("--cpu")
    print(f"ComfyUI {checkout.version} of {checkout.path} with {PACK_NAME}: http://127.0.0.1:{port}", flush=True)
    print("Its pictures and workflows lie in .comfyui/base; stop it with Ctrl+C.", flush=True)
    try:
        command = checkout.command(base, port, [PACK_NAME], wanted)
        return subprocess.run(command, cwd=checkout.path, check=False).returncode
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
