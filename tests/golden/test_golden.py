"""Every golden case, replayed through the public path."""

from __future__ import annotations

from pathlib import Path

import pytest
import replay

HERE = Path(__file__).parent
DATA = HERE / "data"
CASES = sorted(path for path in DATA.glob("*.safetensors") if path.stem not in ("model", "vae"))


@pytest.fixture(scope="module")
def engine() -> replay.Replay:
    return replay.Replay(DATA)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_is_reproduced(path: Path, engine: replay.Replay, capsys: pytest.CaptureFixture[str]) -> None:
    """Every output of the case, within the tolerances of replay.py; none is left out."""
    passed, failed = replay.compare(replay.Case.read(path), engine)
    assert passed > 0, capsys.readouterr().out
    assert failed == 0, capsys.readouterr().out


def test_a_wrong_number_is_found(engine: replay.Replay, capsys: pytest.CaptureFixture[str]) -> None:
    """The comparison itself: one tensor moved by a thousandth fails, and the rest still passes."""
    case = replay.Case.read(DATA / "a1_t2i_8x8.safetensors")
    case.tensors["out.velocity.t600"] = case.tensors["out.velocity.t600"] * 1.001
    passed, failed = replay.compare(case, engine)
    assert (passed, failed) == (26, 1)
