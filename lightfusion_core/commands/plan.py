"""`generate --plan` and `edit --plan`: how much memory a request will take, from headers alone."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .request import Drawing, named_device, opened, tokenizer_of
from .result import say

if TYPE_CHECKING:
    from ..config import ModelConfig
    from ..generation.plan import BranchTokens
    from ..understanding.tokenizer import Tokenizer


_BESIDE = {None: "the weights", "phases": "the generation side's weights", "groups": "one layer's weights"}
"""What of the weights is on the device while it draws, by what is offloaded."""


def plan(arguments: Namespace, drawing: Drawing, pictures: Sequence[tuple[int, int]] = ()) -> int:
    """Say what a request takes; `pictures` are its references' sizes in pixels.

    Raises:
        CheckpointError, ConfigError, InputError: as the request would.
        CapabilityError: no tokenizer, without which the prompt has no length.
    """
    import torch

    from ..checkpoints.keys import PARTS
    from ..checkpoints.memory import held, own_bytes
    from ..checkpoints.report import readable_bytes
    from ..generation.plan import drawing_memory
    from ..images import resized_size
    from ..offload import HOME
    from ..pipeline import default_device

    checkpoint, config = opened(arguments)
    tokenizer = tokenizer_of(arguments, checkpoint, config)
    device = named_device(arguments.device or default_device())
    home = HOME if arguments.offload else device
    how = held(checkpoint, device, home, None if arguments.dtype is None else getattr(torch, arguments.dtype))
    side = config.defaults.size
    size = drawing.size(config, resized_size(*pictures[0], config.vae_image) if pictures else (side, side))
    room = _branches(arguments, drawing, config, tokenizer, pictures)
    branches = [shared + own for shared, own in zip((room.shared, room.shared, 0), room.own, strict=False)]
    tokens = (size[0] // config.token_size) * (size[1] // config.token_size)
    drawn = drawing_memory(config, how.dtype, [room], tokens, arguments.batch * len(branches))
    weights = {part: sum(entry.size for entry in checkpoint.part(part)) for part in PARTS}
    on_cpu = home.type == "cpu"
    own = own_bytes(checkpoint, PARTS, how.dtype, how.keeps_fp8, how.as_stored) if on_cpu else None
    said = {
        "weights": weights,
        "dtype": str(how.dtype).removeprefix("torch."),
        "own": own,
        "branches": branches,
        "context": drawn.context + drawn.room,
        "building": drawn.segments,
        "step": drawn.step,
        "drawing": drawn.peak,
    }
    if arguments.json:
        say(json.dumps(said))
        return 0
    kinds = ", ".join(f"{part} {readable_bytes(number)}" for part, number in weights.items() if number)
    lines = [f"Weights in the files: {kinds}"]
    if own is not None:
        lines.append(f"  of them in memory of its own, as {said['dtype']}: {readable_bytes(own)}")
    count = f"{len(branches)} branch{'es' * (len(branches) > 1)} ({', '.join(map(str, branches))} tokens)"
    lines.append(f"Drawing {size[0]}x{size[1]}, beside {_BESIDE[arguments.offload]}: {readable_bytes(drawn.peak)}")
    lines.append(f"  context of {count}: {readable_bytes(drawn.context + drawn.room)}")
    lines.append(f"  while it is built: {readable_bytes(drawn.segments)} more")
    lines.append(f"  a step: {readable_bytes(drawn.step)} more")
    say("\n".join(lines))
    return 0


def _branches(
    arguments: Namespace,
    drawing: Drawing,
    config: ModelConfig,
    tokenizer: Tokenizer,
    pictures: Sequence[tuple[int, int]],
) -> BranchTokens:
    """Context tokens of every branch that guidance needs: the prompt's, the negative one's, and the one's without the
    references that those share."""
    from ..generation.plan import BranchTokens
    from ..images import resized_size
    from ..understanding.answer import THINK_SYSTEM, THOUGHT

    shared = 0
    for picture in pictures:
        for rule, token in ((config.vae_image, config.token_size), (config.vit_image, config.vision.token_size)):
            width, height = resized_size(*picture, rule)
            shared += (width // token) * (height // token) + 2
    text = len(tokenizer.segment(arguments.prompt, arguments.literal))
    negative = config.defaults.negative_prompt if arguments.negative is None else arguments.negative
    other = len(tokenizer.segment(negative, arguments.literal))
    if arguments.think:
        text, other = text + len(tokenizer.segment(THINK_SYSTEM)) + THOUGHT.max_tokens + 2, 0
    count = drawing.guidance(config).branches(bool(pictures))
    return BranchTokens(shared, [text, other, text][:count])
