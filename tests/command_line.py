"""The command line inside of the tests' own process."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lightfusion_core.cli import main


def outcome(line: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """What a command line leaves behind: exit code, stdout and stderr, which holds no traceback."""
    try:
        code = main(list(line))
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err
