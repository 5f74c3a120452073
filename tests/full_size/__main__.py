"""The table of every layout at full size: seconds, processor seconds and memory of its own, against its bound.

    python -m tests.full_size [--layout TEXT] [--folder FOLDER] [--run] [--convert FORM]

Takes some ten minutes on two cores and a few megabytes of disk; `--convert` takes the disk of what it writes. Exit
status 1 where a row is over its bound.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lightfusion_core.checkpoints.convert import FORMS

from .layouts import LAYOUTS, Layout

MOST = 1.15
"""Times its bound that a row's own memory may be."""
_RUN = "converted, bf16"
"""The layout that draws and edits too; what runs is the same for all."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layout", default="", help="only layouts whose name has this in it")
    parser.add_argument("--folder", type=Path, help="where the files of holes are made (default: a temporary one)")
    parser.add_argument("--run", action="store_true", help=f"draw and edit with every layout, and not with {_RUN} only")
    parser.add_argument("--convert", choices=FORMS, help="convert each as well")
    options = parser.parse_args()
    os.environ["LIGHTFUSION_ALLOW_ZEROS"] = "1"  # else files of holes are taken for downloads that were cut off
    worst = 0.0
    print("| layout | phase | seconds | processor | own | bound |\n|---|---|---|---|---|---|")
    for number, layout in enumerate(one for one in LAYOUTS if options.layout in one.name):
        base = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            for row in _rows(layout, base / str(number), options):
                gigabytes = [f"{row[name] / 1e9:.2f} GB" for name in ("own", "bound")]
                times = [f"{row[name]:.1f}" for name in ("seconds", "processor")]
                print("|", " | ".join([layout.name, row["phase"], *times, *gigabytes]), "|", flush=True)
                worst = max(worst, row["own"] / row["bound"])
        finally:
            shutil.rmtree(base)
    print(f"\nThe most of a bound that a row took: {worst:.2f} (at most {MOST})")
    return int(worst > MOST)


def _rows(layout: Layout, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    paths = layout.make(folder)
    named = [str(paths[name]) for name in ("model", "understanding", "vae") if name in paths]
    if "understanding" not in paths and "vae" in paths:
        named.insert(1, str(paths["model"]))
    command = [sys.executable, "-m", "tests.full_size.measure", *named]
    command += ["--run"] if options.run or layout.name == _RUN else []
    command += ["--convert", options.convert] if options.convert else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise SystemExit(f"{layout.name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
