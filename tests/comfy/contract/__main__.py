"""Judge a ComfyUI by its sources: python -m tests.comfy.contract FILE_OR_FOLDER..."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.comfyui import checkouts

from .judging import breaches
from .ours import read_pack
from .sources import read_library


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.comfy.contract", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="a checkout of ComfyUI, a folder of it, or loose files")
    given = parser.parse_args().paths
    absent = [str(path) for path in given if not path.exists()]
    if absent:
        parser.error(f"not there: {', '.join(absent)}")
    host = read_library(given)
    known = next(iter(checkouts()), None)
    rest = None if known is None or (given[0] / "main.py").is_file() else read_library([known.path])
    found = breaches(read_pack(), host, rest)
    print(*found, sep="\n")
    print(f"{len(host.sources)} files read, {len(found)} breaches of the contract")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
