"""A LoRA file merged into a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import make_model, write_model

from lightfusion_core.checkpoints.lora_merge import merge_lora
from lightfusion_core.cli import main
from lightfusion_core.errors import CheckpointError
from lightfusion_core.picture_files import load_image, read_parameters

NAME = "blocks.1.ffn.0"


def test_pairs_and_differences_are_added(tmp_path: Path) -> None:
    """Times alpha over the rank, times the strength; what is not in the file stays, and so does the model's file."""
    model, again = (make_model(tmp_path / name) for name in ("a", "b"))
    draw = torch.Generator().manual_seed(0)
    down, up = torch.randn(3, 96, generator=draw), torch.randn(192, 3, generator=draw)
    tensors = {f"diffusion_model.{NAME}.lora_A.weight": down, f"diffusion_model.{NAME}.lora_B.weight": up,
               f"diffusion_model.{NAME}.alpha": torch.tensor(6.0),
               "diffusion_model.blocks.0.norm3.diff": torch.ones(96)}  # fmt: skip
    save_file(tensors, tmp_path / "lora.safetensors")
    before = dict(again.generation.named_parameters())
    merge_lora(model.generation, tmp_path / "lora.safetensors", 0.5)
    for name, weight in model.generation.named_parameters():
        wanted = before[name] + {f"{NAME}.weight": up @ down, "blocks.0.norm3.weight": torch.tensor(0.5)}.get(name, 0)
        assert torch.allclose(weight, wanted, atol=1e-6), name
    assert all(torch.equal(before[name], one) for name, one in make_model(tmp_path / "c").generation.named_parameters())


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"double_blocks.0.diff": torch.ones(2)}, "found double_blocks"),
        ({f"diffusion_model.{NAME}.lora_A.weight": torch.ones(3, 96)}, "lora_up.weight is missing"),
        ({f"diffusion_model.{NAME}.diff": torch.ones(3, 96)}, "does not fit this model"),
        ({"diffusion_model.blocks.99.ffn.0.diff": torch.ones(3, 96)}, "does not fit this model"),
        ({f"diffusion_model.{NAME}.lokr_w1": torch.ones(1, 1)}, "expected low-rank pairs"),
        (None, "expected a LoRA file"),
    ],
)
def test_what_does_not_fit_is_refused(tensors: dict[str, torch.Tensor] | None, said: str, tmp_path: Path) -> None:
    """And nothing of it is added."""
    model = make_model(tmp_path / "model")
    before = {name: weight.clone() for name, weight in model.generation.named_parameters()}
    if tensors is not None:
        save_file({"diffusion_model.blocks.0.norm3.diff": torch.ones(96), **tensors}, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match=said):
        merge_lora(model.generation, tmp_path / "lora.safetensors")
    assert all(torch.equal(before[name], weight) for name, weight in model.generation.named_parameters())


def test_the_command_draws_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At its strength, which stands in the picture's metadata; a strength without a file is refused."""
    folder = write_model(tmp_path / "model")
    draw = torch.Generator().manual_seed(0)
    save_file({"diffusion_model.head.head.diff": torch.randn(192, 96, generator=draw)}, tmp_path / "lora.safetensors")
    pictures = []
    for name, more in (("plain", []), ("off", ["--lora-strength", "0"]), ("on", [])):
        lora = [] if name == "plain" else ["--lora", str(tmp_path / "lora.safetensors"), *more]
        file = tmp_path / f"{name}.png"
        assert (
            main(["generate", "a", "--model", str(folder), "--device", "cpu", "--steps", "1", "-o", str(file), *lora])
            == 0
        )
        pictures.append(load_image(file).tobytes())
    assert pictures[0] == pictures[1] != pictures[2]
    told = read_parameters(tmp_path / "on.png")
    assert told is not None and told["loras"] == [[str(tmp_path / "lora.safetensors"), 1.0]]
    capsys.readouterr()
    assert main(["generate", "a", "--model", str(folder), "--lora-strength", "1"]) == 1
    assert "Expected a --lora for each" in capsys.readouterr().err
