"""The command for a machine with a GPU, all of it on a CPU with the tiny preset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.gpu import __main__ as tool
from tools.gpu.parts import PARTS, main


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("golden", "nano") else ())
        for name in PARTS
        if name != "compiled"  # a compiler is not everywhere, and takes a minute
    ],
)
def test_a_part_leaves_a_table(name: str, tmp_path: Path) -> None:
    """Guards a few minutes on a GPU, in which nothing may be broken."""
    main(name, "tiny", str(tmp_path / f"{name}.json"))
    told = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert told["table"]["rows"]
    if name == "golden":
        errors = [told[row[0]] for row in told["table"]["rows"]]
        assert all(error["float32"] < 5e-6 < error["bfloat16"] < 0.05 for error in errors)


def test_every_part_has_a_budget_and_all_fit_in_nine_minutes() -> None:
    assert list(tool.BUDGETS) == list(PARTS)
    assert sum(tool.BUDGETS.values()) <= 540


def test_a_part_that_takes_too_long_or_fails_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the end: always a table, whatever becomes of a part."""
    monkeypatch.setattr(tool, "_LEAST", 0)
    monkeypatch.setitem(tool.BUDGETS, "nano", 0.2)
    lines = tool.run(tmp_path, "no such preset", ["profile", "nano"], whole=120)
    lines += tool.run(tmp_path / "late", "tiny", ["golden"], whole=0)
    failed, ended, skipped = (line["status"] for line in lines)
    assert failed.startswith("failed: ") and "no such preset" in failed
    assert (ended, skipped) == ("ended after its 0 s", "skipped: no time was left")
    told = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert [part["part"] for part in told["parts"]] == ["profile", "nano"]
    assert all(line["part"] in tool.table(lines) for line in lines)
