"""Many requests: rows of work, and a class that draws them, here or in actors of Ray Data.

    rows = make_rows(prompts, folder)
    for done in render(rows, workers=4, model=path): ...

Every picture is drawn by itself with a seed of its own, so it equals that single run wherever and whenever it is
drawn. Its file gets its name when it is whole: what is there is done, and a run that ended early goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CapabilityError, InputError, LightFusionError
from .texts import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

    from .understanding.vision import Reference

Row = dict[str, Any]
"""What is to be drawn, in values that JSON has:

index, prompt: its number, and the prompt or instruction.
seed, file, or seeds, files: of its picture, or of several pictures of one prompt.
pictures: files of the references, in order; left out where there are none.
thought: a file for a thought that comes before drawing (rule B29); left out where there is none.

What else a row has comes back with it.
"""


def read_prompts(file: str | Path) -> list[str]:
    """The prompts of a UTF-8 text file, one a line; empty lines are passed over.

    A line ends with \\n or \\r\\n alone: a prompt may hold what Unicode calls a line's end, too.

    Raises:
        InputError: a file that is not there, may not be read, or is no UTF-8 text.
    """
    try:
        text = Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: expected a file of prompts, found: {error.strerror}; check the path.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: expected UTF-8 text, found other bytes ({error}); save it as UTF-8.") from None
    return [prompt for line in text.split("\n") if (prompt := line.removesuffix("\r").strip(" \t"))]


def make_rows(prompts: Sequence[str], folder: str | Path, seed: int = 0, **settings: Any) -> list[Row]:
    """One row of work a prompt: index, prompt, seed (`seed` plus the index) and file.

    A file's name depends on all that makes its picture, so another prompt, seed or setting is drawn anew.

    Args:
        settings: what `Renderer` gets, as far as it is to tell files apart.

    Raises:
        InputError: no prompts.
    """
    if not prompts:
        raise InputError("There is nothing to draw: expected at least one prompt, found none.")
    rows = []
    for index, prompt in enumerate(prompts):
        said = json.dumps([prompt, seed + index, settings], sort_keys=True, default=str)
        name = f"{index:05d}-{hashlib.blake2b(said.encode(), digest_size=6).hexdigest()}.png"
        rows.append({"index": index, "prompt": prompt, "seed": seed + index, "file": str(Path(folder) / name)})
    return rows


def files_of(row: Row) -> list[str]:
    """The files of a row's pictures."""
    return row["files"] if "files" in row else [row["file"]]


def seeds_of(row: Row) -> list[int]:
    """The seeds of a row's pictures."""
    return row["seeds"] if "seeds" in row else [row["seed"]]


def is_done(row: Row) -> bool:
    """Whether all files of a row are there."""
    return all(Path(file).exists() for file in files_of(row))


def left_over(rows: Sequence[Row]) -> list[Row]:
    """The rows whose pictures are not there yet."""
    return [row for row in rows if not is_done(row)]


class Renderer:
    """Draws rows, one at a time, with a model that is loaded once.

    Args:
        model, load: `LightFusion.load`'s first argument, and its others by name.
        sampling, guidance: fields of `Sampling` and `Guidance` that are not to be the model's own.
        settings: width, height, negative_prompt and literal, as `LightFusion.generate` takes them.
        thinking: fields of `Decoding` for thoughts that are not to be the published ones (`THOUGHT`).
        loras: files of LoRA for the generation side, each with its strength.
    """

    def __init__(
        self,
        model: str | Path = "nano",
        *,
        load: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        guidance: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        thinking: Mapping[str, Any] | None = None,
        loras: Sequence[tuple[str, float]] = (),
    ) -> None:
        from .checkpoints.lora_merge import merge_lora
        from .pipeline import LightFusion
        from .sampling.guidance import Guidance
        from .sampling.loop import Sampling
        from .understanding.answer import THOUGHT

        self.name, self.settings = str(model), dict(settings or {})
        self.model = LightFusion.load(model, **(load or {}))
        for file, strength in loras:
            merge_lora(self.model.generation, file, strength)
        own = self.model.config.defaults
        self.sampling = replace(Sampling(own.steps, own.shift), **(sampling or {}))
        self.guidance = replace(Guidance(own.text_guidance, own.image_guidance), **(guidance or {}))
        self.decoding = replace(THOUGHT, **(thinking or {}))

    def done(self, row: Row) -> Row:
        """The row with seconds and error, drawn and saved unless it is there.

        A request that the engine refuses has its reason in `error` ("" otherwise) and does not end the others.

        Raises:
            InputError: a picture that cannot be saved.
        """
        start, error = time.perf_counter(), ""
        if not is_done(row):
            try:
                pictures, thought = self.draw(row)
            except LightFusionError as refused:
                error = str(refused)
            else:
                self.save(row, pictures, thought)
        return row | {"seconds": time.perf_counter() - start, "error": error}

    def draw(self, row: Row) -> tuple[list[Image], str | None]:
        """The row's pictures, as the model draws them, and the thought before them.

        They have the size that the settings say, else that of the row's last reference as the model sees it (rule B24),
        else the model's own.
        """
        from .images import to_pil
        from .picture_files import load_image
        from .understanding.answer import THINK_SYSTEM

        references = [self.model.prepare(load_image(file)) for file in row.get("pictures", ())]
        self.model.check_task("edit" if references else "generate")
        thought, system = None, None
        if "thought" in row:
            system = THINK_SYSTEM
            thought = "".join(self.model.think(row["prompt"], references, decoding=self.decoding))
        conditioning = self.model.encode(
            row["prompt"], references, system=system, thought=thought, literal=self.settings.get("literal", False),
            negative_prompt=None if system else self.settings.get("negative_prompt"),
        )  # fmt: skip
        size, pictures = self.size(references), []
        for seed in seeds_of(row):
            latent = self.model.sample(conditioning, *size, seed, self.sampling, self.guidance)
            pictures.append(to_pil(self.model.decode(latent)[0]))
        return pictures, thought

    def size(self, references: Sequence[Reference]) -> tuple[int, int]:
        """Width and height of what is drawn, in pixels."""
        side, stride = self.model.config.defaults.size, self.model.config.vae.stride
        width = height = side
        if references and references[-1].latent is not None:
            height, width = (length * stride for length in references[-1].latent.shape[-2:])
        return self.settings.get("width") or width, self.settings.get("height") or height

    def save(self, row: Row, pictures: Sequence[Image], thought: str | None) -> None:
        """Write the thought, then the pictures with their settings. Raises InputError where that cannot be done."""
        from .picture_files import save_png, write_whole

        if thought is not None:
            write_whole(Path(row["thought"]), thought.encode("utf-8", "replace"), what="a thought")
        guidance = {f"guidance_{name}": value for name, value in asdict(self.guidance).items()}
        for picture, seed, file in zip(pictures, seeds_of(row), files_of(row), strict=True):
            named = {"prompt": row["prompt"], "seed": seed, "model": self.name, **self.settings}
            save_png(picture, file, named | asdict(self.sampling) | guidance)


class _Actor:
    """A renderer for `map_batches`, from a column `row` of rows as JSON to the same, drawn. An error that ends the run
    stands as `failed` in a row's place: an exception would lose its words on the way."""

    def __init__(self, kind: type[Renderer], arguments: Mapping[str, Any]) -> None:
        self.renderer, self.failed = None, ""
        try:
            self.renderer = kind(**arguments)
        except LightFusionError as error:
            self.failed = str(error)

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return {"row": [json.dumps(self._done(json.loads(row))) for row in batch["row"]]}

    def _done(self, row: Row) -> Row:
        if self.renderer is None:
            return {"failed": self.failed}
        try:
            return self.renderer.done(row)
        except LightFusionError as error:
            return {"failed": str(error)}


def render(
    rows: Sequence[Row], *, workers: int = 0, gpus: float = 0.0, kind: type[Renderer] = Renderer, **arguments: Any
) -> Iterator[Row]:
    """Draw rows and yield each with its seconds and error, in the order in which they are done.

    Args:
        workers: actors of Ray Data, each with a model of its own; 0 draws in this process.
        gpus: what each of them takes of a GPU.
        kind, arguments: what draws, and what it is made with.

    Raises:
        CapabilityError: workers without Ray.
        LightFusionError: a model that cannot be loaded, a picture that cannot be saved, or workers that Ray gave up.
    """
    if not rows:
        return
    if not workers:
        renderer = kind(**arguments)
        for row in rows:
            yield renderer.done(row)
        return
    try:
        import ray.data
        import ray.exceptions
    except ImportError:
        raise CapabilityError(
            "Drawing on several workers needs Ray: pip install 'comfyui-lightfusion[ray]', or draw without workers."
        ) from None
    # Rows travel as JSON: Arrow has no form for lists that are empty here and full there, nor for half characters
    items = [{"row": json.dumps(row)} for row in rows]
    # A row a block, up to a bound: what a lost worker takes with it is drawn again by another, and no more
    dataset = ray.data.from_items(items, override_num_blocks=min(len(rows), 1000))
    drawn = dataset.map_batches(
        _Actor,
        fn_constructor_args=(kind, arguments),
        compute=ray.data.ActorPoolStrategy(size=workers),
        batch_size=1,
        num_cpus=1,
        num_gpus=gpus or None,
    )
    try:
        for item in drawn.iter_rows():
            row = json.loads(item["row"])
            if "failed" in row:
                raise LightFusionError(row["failed"])
            yield row
    except ray.exceptions.RayError as error:
        raise LightFusionError(f"Ray gave its workers up: {first_line(error)}; run it again to go on.") from None
