"""Texts out of files: fit to be shown on a terminal, and read however they are made."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import write_model

from lightfusion_core import CheckpointError, LightFusion
from lightfusion_core.checkpoints.report import inspect
from lightfusion_core.cli import main
from lightfusion_core.texts import parse_json, printable, shortened

CLEAR = "\x1b[2J\x1b]0;owned\x07\r\n\u202egnp.\u2028"
"""What clears a terminal, renames its window, ends a line, and turns a name around."""


def acts(text: str) -> bool:
    """Whether anything in a text but line ends acts on a terminal."""
    return any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text.replace("\n", "")
    )


def test_what_acts_is_shown_as_an_escape_and_all_else_stays() -> None:
    assert printable("ein Stern, \u4e00\u9897\u661f, \u2603") == "ein Stern, \u4e00\u9897\u661f, \u2603"
    assert printable("\x1b[2J\udce9\u202e") == r"\x1b[2J\udce9\u202e"
    assert not acts(printable(CLEAR))
    assert str(CheckpointError(f"a{CLEAR}b")) == f"a{printable(CLEAR)}b"


def test_values_are_shortened_however_deep_and_long() -> None:
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, list(range(10**5)), "x" * 10**6, 10**4000, {"a": deep}):
        assert len(shortened(value)) < 200


@pytest.mark.parametrize("text", ["", "[" * 100_000, "{", b"\xff\xfe", b"\xef\xbb\xbf[", "1" * 10_000])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("whole"))


def test_names_in_files_do_not_act_on_a_terminal(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Of tensors, tokens, sections, shards and layers, by every command that says them."""
    spoilt = {}
    for what in ("tensor", "misshapen", "dtype", "token", "config", "index"):
        spoilt[what] = Path(shutil.copytree(whole, tmp_path / what))
    tensors = load_file(whole / "model.safetensors")
    name = f"vgen_model.blocks.0.{CLEAR}"
    save_file({**tensors, CLEAR: torch.ones(2)}, spoilt["tensor"] / "model.safetensors")
    save_file({**tensors, name: torch.ones(2)}, spoilt["misshapen"] / "model.safetensors")
    save_file({**tensors, name: torch.ones(2).to(torch.int8)}, spoilt["dtype"] / "model.safetensors")
    said = json.loads((whole / "config.json").read_text())
    said["special_token_ids"]["bos"] = CLEAR
    (spoilt["token"] / "config.json").write_text(json.dumps(said))
    said["text_config"]["hidden_size"] = CLEAR
    (spoilt["config"] / "config.json").write_text(json.dumps(said))
    index = {"weight_map": {"x": "model.safetensors", "y": f"{CLEAR}.safetensors"}}
    (spoilt["index"] / "model.safetensors.index.json").write_text(json.dumps(index))
    for folder in spoilt.values():
        assert main(["inspect", str(folder)]) == 1
        assert main(["convert", str(folder), str(tmp_path / "out")]) == 1
        with pytest.raises((CheckpointError, Exception)) as caught:
            LightFusion.load(folder, device="cpu")
        shown = capsys.readouterr()
        for text in (shown.out, shown.err, str(caught.value), caplog.text, str(inspect(folder))):
            assert not acts(text), repr(text)
        assert "owned" in shown.out + shown.err, folder
