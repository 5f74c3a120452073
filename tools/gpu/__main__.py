"""Measures the engine on a GPU within nine minutes, without installing anything.

    python -m tools.gpu prepare          gathers packages that such a machine may lack, into .wheels/ (needs a network)
    python -m tools.gpu run -o output/gpu

Every part runs in a process of its own under a time budget of its own, so that one that fails or takes too long
costs the others nothing; what there is no time for is skipped with a word. The folder then holds a JSON file for each
part, the plots of those that have one, and `summary.json`; the table of it is printed last.

`--preset tiny` runs all of it on a CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .wheels import gather, unpacked

BUDGETS = {
    "golden": 50, "nano": 40, "pictures": 110, "compiled": 120, "steps": 110, "phases": 60, "profile": 40,
}  # fmt: skip
"""Seconds for each part, in the order in which they run: what is right first, then what is asked for most."""
_WHOLE = 540
_SPARE = _LEAST = 5
_SHOWN = 8
"""Rows of a part in the table; its file has all."""


def run(folder: Path, preset: str, parts: Sequence[str], whole: float = _WHOLE) -> list[dict[str, Any]]:
    """Run the parts into a folder.

    Args:
        whole: seconds that all of it may take.

    Returns:
        A line for each part: its name, "ok" or what went wrong, its seconds, and its rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start, lines = time.monotonic(), []
    with unpacked() as environment:
        for name in parts:
            left = min(BUDGETS[name], whole - _SPARE - (time.monotonic() - start))
            lines.append(_run(name, folder, preset, left, environment))
            told = {"parts": lines, "seconds": time.monotonic() - start}
            (folder / "summary.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return lines


def _run(name: str, folder: Path, preset: str, seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    line: dict[str, Any] = {"part": name, "seconds": 0.0, "rows": []}
    if seconds < _LEAST:
        return line | {"status": "skipped: no time was left"}
    file, start = folder / f"{name}.json", time.monotonic()
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tools.gpu.parts", name, preset, str(file)]
    try:
        done = subprocess.run(command, timeout=seconds, capture_output=True, text=True, env=environment, check=False)
        said = done.stderr.strip().splitlines()
        status = "ok" if done.returncode == 0 else f"failed: {said[-1] if said else done.returncode}"
    except subprocess.TimeoutExpired:
        status = f"ended after its {seconds:.0f} s"
    line |= {"status": status, "seconds": round(time.monotonic() - start, 1)}
    if file.is_file():
        table = json.loads(file.read_text(encoding="utf-8"))["table"]
        line["rows"] = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    return line


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The summary as text, the first rows of each part."""
    said = []
    for line in lines:
        said.append(f"{line['part']:<10} {line['status']} ({line['seconds']:.0f} s)")
        said += [
            "    " + ", ".join(f"{key} {value}" for key, value in row.items() if value) for row in line["rows"][:_SHOWN]
        ]
    return "\n".join(said)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="gather wheels (needs a network)")
    add = commands.add_parser("run", help="measure").add_argument
    add("-o", "--output", type=Path, default=Path("output/gpu"), metavar="FOLDER")
    add("--preset", default="7b-5b", help="of random weights (default: %(default)s)")
    add("--parts", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    add("--seconds", type=float, default=_WHOLE, help="for all of it (default: %(default)s)")
    chosen = parser.parse_args(argv)
    if chosen.command == "prepare":
        return gather()
    lines = run(chosen.output, chosen.preset, chosen.parts, chosen.seconds)
    print(table(lines))
    return 0 if all(line["status"] == "ok" for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
