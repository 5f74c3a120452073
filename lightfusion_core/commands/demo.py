"""`demo`: one contact sheet of what a model can do."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .console import progress
from .request import Drawing, describe_model, load
from .result import check_output, png_name, tell

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..pipeline import LightFusion
    from ..sampling.loop import Sampling

Tile = tuple["Image", str]


@dataclass(frozen=True, slots=True)
class Examples:
    """Prompts to draw; edits of drawn pictures and questions about them, each with the picture's place among them."""

    prompts: tuple[str, ...]
    edits: tuple[tuple[int, str], ...]
    questions: tuple[tuple[int, str], ...]


_NANO = Examples(
    (
        "a red circle", "a blue star", "three green triangles", "a yellow heart and a purple square",
        "a cyan cross left of an orange circle", "a pink star above a blue square", "four red hearts",
        "a green circle on a light blue background", "two orange squares on vertical light pink stripes",
        "a purple star, a yellow circle and a red square",
    ),
    (
        (0, "make the circle blue"), (3, "remove the heart"), (4, "replace the cross with a green heart"),
        (7, "change the background to light yellow"),
    ),
    ((5, "what is above the square?"), (9, "describe the picture")),
)  # fmt: skip
_LARGE = Examples(
    (
        "a lighthouse on a cliff at dusk, waves below", "a bowl of ripe cherries on a wooden table, window light",
        "a red fox in fresh snow, telephoto", "an old tram in a rainy street at night, reflections",
    ),
    ((0, "make it a sunny day"),),
    ((0, "What is in this picture?"),),
)  # fmt: skip


def demo(arguments: Namespace) -> int:
    """`lightfusion demo`: text to image, and an edit and a question where the model was trained for them."""
    from ..picture_files import save_png
    from .sheet import contact_sheet

    drawing, file = Drawing(arguments), png_name(arguments.output)
    check_output(arguments.output)
    model, load_seconds = load(arguments)
    sampling = drawing.sampling(model.config)
    examples = _NANO if model.config.name == "nano" else _LARGE
    start = time.perf_counter()
    tiles = list(_drawn(arguments, model, examples, sampling))
    drawn = tiles[:]
    if "edit" in model.config.tasks:
        tiles += [_edited(arguments, model, edit, sampling, *drawn[index]) for index, edit in examples.edits]
    if "answer" in model.config.tasks:
        tiles += [_answered(arguments, model, question, drawn[index][0]) for index, question in examples.questions]
    settings = {"command": "demo", "captions": [caption for _, caption in tiles], **asdict(sampling)}
    settings |= describe_model(arguments, model)
    save_png(contact_sheet(tiles), file, {**settings, "seed": arguments.seed})
    times = {"seconds": round(time.perf_counter() - start, 3), "load_seconds": round(load_seconds, 3)}
    tell(arguments.json, [file], {"seed": arguments.seed, **times, "settings": settings})
    return 0


def _drawn(arguments: Namespace, model: LightFusion, examples: Examples, sampling: Sampling) -> Iterator[Tile]:
    from ..images import to_pil

    with progress("Drawing", len(examples.prompts) * sampling.steps, quiet=arguments.quiet) as bar:
        for number, prompt in enumerate(examples.prompts):
            bar.phase(f"Drawing {prompt}")
            seed = arguments.seed + number
            drawn = model.generate(prompt, seed=seed, sampling=sampling, on_step=lambda step: bar.advance())
            yield to_pil(drawn[0]), prompt
        bar.phase("Drawn")


def _edited(
    arguments: Namespace, model: LightFusion, edit: str, sampling: Sampling, picture: Image, prompt: str
) -> Tile:
    from ..images import to_pil

    with progress(f"Editing: {edit}", sampling.steps, quiet=arguments.quiet) as bar:
        edited = model.edit(picture, edit, seed=arguments.seed, sampling=sampling, on_step=lambda step: bar.advance())
    return to_pil(edited[0]), f"{prompt}: {edit}"


def _answered(arguments: Namespace, model: LightFusion, question: str, picture: Image) -> Tile:
    from ..understanding.answer import Decoding

    with progress(f"Asking: {question}", quiet=arguments.quiet):
        answer = "".join(model.answer(question, [picture], decoding=Decoding(max_tokens=24)))
    return picture, f"{question} {answer.strip()}"
