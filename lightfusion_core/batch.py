"""Many prompts: rows of work, and a class that draws them, alone or as actors of Ray Data's `map_batches`.

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
from typing import Any

from .errors import CapabilityError, InputError, LightFusionError

Row = dict[str, Any]


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


def left_over(rows: Sequence[Row]) -> list[Row]:
    """The rows whose pictures are not there yet."""
    return [row for row in rows if not Path(row["file"]).exists()]


class Renderer:
    """Draws rows with a model that is loaded once: for `map_batches`, or to be called with columns of rows.

    Args:
        model, load: `LightFusion.load`'s first argument, and its others by name.
        sampling, guidance: fields of `Sampling` and `Guidance` that are not to be the model's own.
        settings: `LightFusion.generate`'s other arguments by name (width, height, negative_prompt ...).
    """

    def __init__(
        self,
        model: str | Path = "nano",
        *,
        load: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        guidance: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        from .pipeline import LightFusion
        from .sampling.guidance import Guidance
        from .sampling.loop import Sampling

        self.name, self.settings = str(model), dict(settings or {})
        self.model = LightFusion.load(model, **(load or {}))
        own = self.model.config.defaults
        self.sampling = replace(Sampling(own.steps, own.shift), **(sampling or {}))
        self.guidance = replace(Guidance(own.text_guidance, own.image_guidance), **(guidance or {}))

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Draw what is not there yet: columns index, prompt, seed and file to the same and seconds and error.

        A request that the engine refuses has its reason in `error` ("" otherwise) and does not end the others.
        """
        columns = {name: list(rows[name]) for name in ("index", "prompt", "seed", "file")}
        drawn = [self._draw(str(p), int(s), Path(str(f))) for p, s, f in zip(*list(columns.values())[1:], strict=True)]
        columns["seconds"] = [seconds for seconds, _ in drawn]
        columns["error"] = [error for _, error in drawn]
        return columns

    def _draw(self, prompt: str, seed: int, file: Path) -> tuple[float, str]:
        start = time.perf_counter()
        if not file.exists():
            try:
                self._save(prompt, seed, file)
            except LightFusionError as error:
                return time.perf_counter() - start, str(error)
        return time.perf_counter() - start, ""

    def _save(self, prompt: str, seed: int, file: Path) -> None:
        from .images import to_pil
        from .picture_files import save_png

        picture = self.model.generate(
            prompt, seed=seed, sampling=self.sampling, guidance=self.guidance, **self.settings
        )[0]
        named = {"prompt": prompt, "seed": seed, "model": self.name, **self.settings}
        guidance = {f"guidance_{name}": value for name, value in asdict(self.guidance).items()}
        save_png(to_pil(picture), file, named | asdict(self.sampling) | guidance)


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
    """
    if not rows:
        return
    if not workers:
        renderer = kind(**arguments)
        for row in rows:
            yield {name: column[0] for name, column in renderer({name: [row[name]] for name in row}).items()}
        return
    try:
        import ray.data
    except ImportError:
        raise CapabilityError(
            "Drawing on several workers needs Ray: pip install 'comfyui-lightfusion[ray]', or draw without workers."
        ) from None
    # A row a block, up to a bound: what a lost worker takes with it is drawn again by another, and no more
    dataset = ray.data.from_items(list(rows), override_num_blocks=min(len(rows), 1000))
    drawn = dataset.map_batches(
        kind,
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(size=workers),
        batch_size=1,
        num_cpus=1,
        num_gpus=gpus or None,
    )
    yield from drawn.iter_rows()
