"""One layout, measured in a process of its own: what opening, loading and running it take.

    python -m tests.full_size.measure MODEL [UNDERSTANDING [VAE]] [--run] [--convert FORM]

Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lightfusion_core import Guidance, LightFusion, Reference, Sampling
from lightfusion_core.bench.memory import PeakMemory
from lightfusion_core.checkpoints.convert import FORMS, Converter
from lightfusion_core.checkpoints.keys import PARTS
from lightfusion_core.checkpoints.memory import fitting, own_bytes
from lightfusion_core.checkpoints.model import open_model
from lightfusion_core.checkpoints.report import inspect
from lightfusion_core.config import ModelConfig

CPU, DTYPE = torch.device("cpu"), torch.bfloat16
PROMPT = [151644, *range(1000, 1040), 151645]
SLACK = 600e6
"""Bytes that torch, transformers and diffusers take by themselves once they run."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("understanding", nargs="?", type=Path)
    parser.add_argument("vae", nargs="?", type=Path)
    parser.add_argument("--run", action="store_true", help="encode, draw, decode and edit as well")
    parser.add_argument("--convert", choices=FORMS, help="write it anew beside the model; takes that much disk")
    options = parser.parse_args()
    parts = {"understanding": options.understanding, "vae": options.vae}
    rows = [_measured("inspect", lambda: inspect(options.model), 0)[0]]
    checkpoint = open_model(options.model, **parts)
    row, model = _measured(
        "load", lambda: LightFusion.load(options.model, **parts, device=CPU, dtype=DTYPE),
        own_bytes(checkpoint, PARTS, DTYPE, as_stored=fitting(checkpoint, PARTS, DTYPE)[1]),
    )  # fmt: skip
    rows.append(row)
    if options.run:
        rows += _phases(model)
    if options.convert:
        del model
        rows.append(_converted(options.model, options.vae, options.convert))
    print(json.dumps(rows))


def _measured(name: str, work: Callable[[], Any], bound: float) -> tuple[dict[str, Any], Any]:
    """A row of the table: seconds, processor seconds, bytes of its own and their bound from the architecture."""
    start, spent = time.monotonic(), time.process_time()
    with PeakMemory(CPU) as memory:
        made = work()
    row = {
        "phase": name, "seconds": time.monotonic() - start, "processor": time.process_time() - spent,
        "own": memory.rise, "bound": bound + SLACK,
    }  # fmt: skip
    gc.collect()
    return row, made


def _converted(model: Path, vae: Path | None, form: str) -> dict[str, Any]:
    """The row of a conversion: pieces pass through, so that the architecture asks for nothing."""
    target = model.parent.with_name("converted")
    try:
        return _measured(
            f"convert to {form}", lambda: Converter(model, target, dtype=form, others={"vae": vae}).run(), 0
        )[0]
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _phases(model: LightFusion) -> list[dict[str, Any]]:
    """A guided picture of 256 in two steps, and an edit of 512 with one reference in one."""
    config, rows = model.config, []
    sampling, guidance = Sampling(2), Guidance(3.0)
    row, conditioning = _measured(
        "encode", lambda: model.encode(PROMPT, negative_prompt=PROMPT[:20]), _states(config, len(PROMPT) + 20)
    )
    rows.append(row)
    row, latent = _measured(
        "two steps at 256", lambda: model.sample(conditioning, 256, 256, 1, sampling, guidance),
        _context(config, [len(PROMPT), 20], 8 * 8),
    )  # fmt: skip
    rows.append(row)
    rows.append(_measured("decode 256", lambda: model.decode(latent), _decoding(config, 256))[0])
    side = 512 // config.vae.stride
    picture = Reference(torch.zeros(3, 532, 532), torch.zeros(1, config.vae.z_dim, 1, side, side))
    tokens = (side // 2) ** 2 + (532 // 28) ** 2 + 4
    row, conditioning = _measured(
        "encode an edit", lambda: model.encode(PROMPT, [picture], negative_prompt=PROMPT[:20]),
        _states(config, tokens + len(PROMPT) + 20),
    )  # fmt: skip
    rows.append(row)
    rows.append(
        _measured(
            "one step of an edit at 512", lambda: model.sample(conditioning, 512, 512, 1, Sampling(1), guidance),
            _context(config, [tokens + len(PROMPT), tokens + 20], 16 * 16),
        )[0]
    )  # fmt: skip
    return rows


def _states(config: ModelConfig, tokens: int) -> float:
    """What encoding holds: every layer's states of the tokens and of the markers, the VLM's keys and values, and
    what its widest layer makes."""
    text = config.text
    width = DTYPE.itemsize
    states = (text.num_hidden_layers + 1) * (tokens + 4 * config.max_extent) * text.hidden_size * width
    keys = 4 * text.num_hidden_layers * tokens * text.num_key_value_heads * text.head_dim * width
    return 2 * states + keys + 8 * tokens * text.intermediate_size * width


def _context(config: ModelConfig, branches: list[int], tokens: int) -> float:
    """What sampling holds: keys and values of every branch in every fusion layer, the cross-attention's, and what a
    step's widest layer makes. (Twice while it is joined.)"""
    dit, rows = config.dit, len(branches)
    layer = 2 * dit.dim * DTYPE.itemsize
    kept = config.fusion.num_layers * layer * sum(branch + tokens + 2 for branch in branches)
    shared = dit.num_layers * layer * dit.text_len
    return 2 * kept + shared + rows * tokens * (dit.ffn_dim * 4 + 16 * dit.dim * 4)


def _decoding(config: ModelConfig, side: int) -> float:
    """ComfyUI's own estimate for this VAE, 8,000 bytes a pixel in two bytes a number."""
    return 8000 * side * side * DTYPE.itemsize / 2


if __name__ == "__main__":
    main()
