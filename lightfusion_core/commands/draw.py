"""`generate` and `edit`: pictures into files."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .console import Bar, progress, visible
from .plan import plan
from .request import Drawing, describe_drawing, load, mask, original, picture
from .result import check_output, deliver, tell

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..pipeline import LightFusion
    from ..sampling.loop import Sampling
    from ..sampling.skipping import Passes
    from ..sampling.solvers import OnStep, Step
    from ..stored import Stored


def generate(arguments: Namespace) -> int:
    """`lightfusion generate PROMPT`."""
    from ..images import to_pil
    from ..sampling.skipping import Passes

    drawing = Drawing(arguments)
    if arguments.plan:
        return plan(arguments, drawing)
    check_output(arguments.output, arguments.batch)
    model, load_seconds = load(arguments)
    side = model.config.defaults.size
    size, sampling, guidance = (
        drawing.size(model.config, (side, side)),
        drawing.sampling(model.config),
        drawing.guidance(model.config),
    )
    settings = {"command": "generate", **describe_drawing(arguments, model, size, sampling, guidance)}
    passes, start = Passes(), time.perf_counter()
    thought = _think(arguments, model, ())
    with progress("Reading the prompt", steps_of(sampling), quiet=arguments.quiet) as bar:
        pictures = model.generate(
            arguments.prompt, width=size[0], height=size[1], seed=arguments.seed, batch=arguments.batch,
            negative_prompt=arguments.negative, literal=arguments.literal, sampling=sampling, guidance=guidance,
            on_step=watcher(bar, sampling), passes=passes, **thought,
        )  # fmt: skip
        bar.phase("Drawn")
    drawn = [to_pil(one) for one in pictures]
    return _deliver(arguments, drawn, settings | thought, passes, time.perf_counter() - start, load_seconds)


def edit(arguments: Namespace) -> int:
    """`lightfusion edit IMAGE INSTRUCTION`."""
    from ..framing import Part, check_edges
    from ..images import resized_size, to_pil
    from ..keeping import is_whole, mask_image
    from ..sampling.skipping import Passes
    from ..stored import put_back

    drawing, stored = Drawing(arguments), original(arguments.image)
    image, references = stored.image(), [picture(path) for path in arguments.reference]
    area = None if arguments.mask is None else mask(arguments.mask, image.size)
    check_edges(arguments.outpaint, image.size)
    if arguments.plan:
        return plan(arguments, drawing, [one.size for one in (image, *references)])
    for output in (arguments.output, arguments.changed):
        check_output(output, arguments.batch)
    model, load_seconds = load(arguments)
    rule = model.config.vae_image
    part = Part.of(image.size, area, arguments.outpaint, arguments.context, rule)
    size = drawing.size(model.config, resized_size(*part.drawn_size, rule))
    sampling, guidance = drawing.sampling(model.config), drawing.guidance(model.config)
    given = {"image": arguments.image, "references": arguments.reference, "mask": arguments.mask}
    given |= {"outpaint": arguments.outpaint, "context": arguments.context, "keep": arguments.keep}
    settings = {"command": "edit", **given, **describe_drawing(arguments, model, size, sampling, guidance)}
    passes, start = Passes(), time.perf_counter()
    changed: list[Tensor] = []  # for each picture, where it shows the edit
    thought = _think(arguments, model, (image, *references))
    with progress("Reading the pictures and the prompt", steps_of(sampling), quiet=arguments.quiet) as bar:
        pictures = model.edit(
            image, arguments.prompt, references=references, mask=area, width=size[0], height=size[1],
            seed=arguments.seed, batch=arguments.batch, negative_prompt=arguments.negative, literal=arguments.literal,
            sampling=sampling, guidance=guidance, outpaint=arguments.outpaint, context=arguments.context,
            keep=arguments.keep, on_changed=changed.extend, on_step=watcher(bar, sampling), passes=passes, **thought,
        )  # fmt: skip
        bar.phase("Drawn")
    edited = [
        to_pil(one) if is_whole(where) and area is None else put_back(one, stored.padded(part.edges), where)
        for one, where in zip(pictures, changed, strict=True)
    ]
    if arguments.changed is not None:
        deliver(arguments.changed, arguments.prompt, [mask_image(one) for one in changed], [settings] * len(changed))
    return _deliver(arguments, edited, settings | thought, passes, time.perf_counter() - start, load_seconds)


def steps_of(sampling: Sampling) -> int:
    """How many steps a run takes: of a partial one, those that are left."""
    from ..sampling.schedule import make_schedule

    return make_schedule(sampling.steps, sampling.shift).last(sampling.denoise).steps


def watcher(bar: Bar, sampling: Sampling) -> OnStep:
    """The callback that moves a bar."""
    last = steps_of(sampling) - 1

    def on_step(step: Step) -> None:
        bar.advance()
        bar.phase("Drawing" if step.index < last else "Decoding")

    return on_step


def _think(arguments: Namespace, model: LightFusion, images: Sequence[Image]) -> dict[str, Any]:
    """The system text and the thought of `--think` (rule B29), shown on stderr; nothing without it."""
    if not arguments.think:
        return {}
    from ..understanding.answer import THINK_SYSTEM, THOUGHT

    decoding = replace(THOUGHT, seed=arguments.seed)
    with progress("Thinking", decoding.max_tokens, quiet=arguments.quiet) as bar:
        pieces = []
        for piece in model.think(arguments.prompt, images, decoding=decoding):
            pieces.append(piece)
            bar.advance()
    thought = "".join(pieces)
    if not arguments.quiet:
        print(visible(thought), file=sys.stderr)
    return {"system": THINK_SYSTEM, "thought": thought}


def _deliver(
    arguments: Namespace,
    pictures: Sequence[Image | Stored],
    settings: dict[str, Any],
    passes: Passes,
    seconds: float,
    load_seconds: float,
) -> int:
    parameters = [{**settings, "seed": arguments.seed + index} for index in range(len(pictures))]
    files = deliver(arguments.output, arguments.prompt, pictures, parameters)
    times = {"seconds": round(seconds, 3), "load_seconds": round(load_seconds, 3)}
    counts = {"passes": passes.as_dict()}
    tell(arguments.json, files, {"seed": arguments.seed, **times, **counts, "settings": settings})
    if passes.run < passes.plain and not arguments.quiet:
        print(passes, file=sys.stderr)
    return 0
