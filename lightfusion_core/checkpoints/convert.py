"""From a checkpoint of any layout to the parts that inference needs, in bf16 or scaled fp8.

What is written: the generation tower without what a frozen checkpoint never uses, the understanding tower (a file
of its own, in the same file, or not at all), the VAE, config.json and tokenizer.json. Names are those of the files
that people share (`keys.published`), scaled fp8 is the older of ComfyUI's two forms, which both generations read.
Tensors pass through in pieces, a few side by side: the memory needed does not grow with the checkpoint.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from .. import __version__
from ..config_json import config_to_json
from ..documents import read_document
from ..errors import CheckpointError, InputError
from ..generation.tower import keeps_float32
from ..texts import reason
from ..understanding.tokenizer import Tokenizer
from .checks import not_finite, require_fit
from .files import DTYPES
from .keys import CONFIG, PARTS, TOKENIZER, UNUSED_IN_FROZEN, published
from .loader import build_generation, build_understanding, build_vae, is_coupled
from .model import find_tokenizer, open_model, read_config, require_vocabulary
from .places import ENDING, weights_in
from .quantise import Error, quantise, scale_for, takes_fp8
from .report import readable_bytes
from .staging import Staging
from .values import largest, workers
from .writer import Planned, Writer

FORMS = ("bf16", "fp8")
UNDERSTANDING = ("keep", "separate", "drop")
MEASURES = ("sample", "all")
WHOLE, GENERATION, UNDERSTANDING_FILE, VAE = (
    f"{name}.safetensors" for name in ("model", "generation", "understanding", "vae")
)
_OURS = (WHOLE, GENERATION, UNDERSTANDING_FILE, VAE, CONFIG, TOKENIZER)
"""Names that a conversion gives, of which an earlier one's are replaced."""
_MARKER = "scaled_fp8"
_PIECE = 1 << 20
"""Numbers that pass through at a time: each is looked at several times, and stays in the processor's cache."""

OnTensor = Callable[[str], None]
"""Told the name of each tensor that is written; an exception from it ends the run, and nothing is left."""


@dataclass(frozen=True, slots=True)
class LayerError:
    """What a tensor lost: norm of the difference over the norm of the float32 original."""

    part: str
    name: str
    dtype: str
    numbers: int
    error: float


@dataclass(slots=True)
class Conversion:
    """What was written, and what it cost. `as_dict` is its JSON form, `str()` its text.

    files: bytes by name. left_out: how many tensors of each part were not written, with the reason as key.
    measured: see `Converter`.
    """

    source: Path
    target: Path
    dtype: str
    coupled: bool
    left_out: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    errors: list[LayerError] = field(default_factory=list)
    measured: str = "sample"

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return asdict(self) | {"source": str(self.source), "target": str(self.target)}

    def __str__(self) -> str:
        said = [f"{self.target}: {'coupled' if self.coupled else 'frozen'}, {self.dtype}"]
        said += [f"  {name}  {readable_bytes(size)}" for name, size in self.files.items()]
        said += [f"  left out: {number} tensors, {reason}" for reason, number in self.left_out.items()]
        sampled = "" if self.measured == "all" else " (of a sample; all with --measure all)"
        return "\n".join([*said, "", f"Error against float32, relative, by layer{sampled}:", *self._table()])

    def _table(self) -> list[str]:
        groups: dict[tuple[str, str, str], list[LayerError]] = {}
        for error in self.errors:
            kind = _kind(error.name) if takes_fp8(error.part, error.name) else "everything else"
            groups.setdefault((error.part, kind, error.dtype), []).append(error)
        rows = [("part", "layers", "dtype", "tensors", "median", "worst", "")]
        for (part, kind, dtype), errors in groups.items():
            worst = max(errors, key=lambda error: error.error)
            where = f"({worst.name})" if worst.error else ""
            middle = median(error.error for error in errors)
            rows.append((part, kind, dtype, str(len(errors)), f"{middle:.1e}", f"{worst.error:.1e}", where))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
        return ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in rows]


def _kind(name: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", name.removesuffix(".weight"))


@dataclass(frozen=True, slots=True)
class _Item:
    """One tensor on its way: its part and name here, its name and dtype there."""

    part: str
    name: str
    to: str
    dtype: str


class Converter:
    """A conversion that was checked as far as headers go, and can be run.

    Args:
        source: as for `open_model`; it need not have an understanding tower nor a VAE.
        target: the folder to write.
        dtype: "bf16" or "fp8".
        understanding: "separate" (a file of its own), "keep" (in the generation tower's), "drop"; None is
            "separate" where the source has one.
        others: parts to take from elsewhere, as for `open_model`.
        tokenizer: as for `LightFusion.load`.
        force: replace an earlier conversion in `target`.
        measure: "all" numbers for the errors, or a "sample" of them (a sixteenth of a large tensor).

    Raises:
        InputError: settings or a target that cannot be used.
        CheckpointError: a source that cannot be read or does not fit its configuration.
    """

    def __init__(
        self,
        source: str | Path,
        target: str | Path,
        *,
        dtype: str = "bf16",
        understanding: str | None = None,
        others: Mapping[str, str | Path | None] | None = None,
        tokenizer: str | Path | None = None,
        force: bool = False,
        measure: str = "sample",
    ) -> None:
        if dtype not in FORMS:
            raise InputError(f"Weights are converted to {' or '.join(FORMS)}, found {dtype!r}.")
        if understanding not in (None, *UNDERSTANDING):
            raise InputError(f"understanding must be one of {', '.join(UNDERSTANDING)}, found {understanding!r}.")
        if measure not in MEASURES:
            raise InputError(f"measure must be one of {', '.join(MEASURES)}, found {measure!r}.")
        self.measure = measure
        self.dtype, self.target, self._force = dtype, Path(target).expanduser(), force
        self.checkpoint = open_model(source, complete=False, mapped=True, **(others or {}))
        self._check_target()
        self.config = read_config(self.checkpoint)
        self.coupled = is_coupled(self.checkpoint)
        self.tokenizer = self._tokenizer_json(tokenizer)
        if understanding in ("keep", "separate") and not self.checkpoint.names("understanding"):
            raise CheckpointError(
                f"{self.checkpoint.path} has no understanding tower to {understanding}: leave that out, or name a "
                "Qwen2.5-VL."
            )
        self.understanding = understanding or "separate"
        self._check_parts()
        self._files = self._plan()

    @property
    def tensors(self) -> int:
        """How many tensors there are to write."""
        return sum(map(len, self._files.values()))

    def run(self, on_tensor: OnTensor | None = None) -> Conversion:
        """Write everything, or nothing: the target is then the new folder, or what it was before.

        Raises:
            InputError: the disk is full, or the target may not be written, or another conversion writes it.
            CheckpointError: a tensor that cannot be read, or holds NaN or infinity; a source that is not the same any
                more.
        """
        done = Conversion(
            self.checkpoint.path, self.target, self.dtype, self.coupled, self._left_out(), measured=self.measure
        )
        metadata = {"format": "pt", "made_by": f"lightfusion convert {__version__}"}
        plans = {file: list(self._planned(items)) for file, items in self._files.items()}
        with Staging(self.target) as staging:
            self._check_target()  # once more: another conversion may have ended meanwhile
            staging.check_space(sum(planned.size for plan in plans.values() for planned in plan))
            for file, items in self._files.items():
                with staging.open(file, plans[file], metadata) as writer, workers() as pool:
                    written = pool.map(partial(self._write, staging, writer), items)
                    for item, error in zip(items, written, strict=True):
                        done.errors.append(error)
                        if on_tensor is not None:
                            on_tensor(item.to)
                done.files[file] = writer.size
            staging.write(CONFIG, config_to_json(self.config).encode())
            if self.tokenizer is not None:
                staging.write(TOKENIZER, self.tokenizer)
            self.checkpoint.require_unchanged()
            staging.commit(_OURS)
        return done

    def _tokenizer_json(self, named: str | Path | None) -> bytes | None:
        """The content of a tokenizer.json that this model takes."""
        found = find_tokenizer(self.checkpoint, named)
        if found is None:
            return None
        made = Tokenizer(found, self.config.special_tokens)
        require_vocabulary(made, self.config)
        if isinstance(found, Path):
            return read_document(found) if found.is_file() else made.json()
        return found

    def _check_parts(self) -> None:
        """Every part that is written must be whole: what is missing would be missed much later."""
        for part in self._parts():
            module: nn.Module
            if part == "understanding":
                module = build_understanding(self.config, with_lm_head="lm_head.weight" in self._names(part))
            elif part == "vae":
                module = build_vae(self.config).model
            else:
                module = build_generation(self.config, coupled=self.coupled, dtype=torch.float32)
            unused = UNUSED_IN_FROZEN if part == "generation" and not self.coupled else ()
            require_fit(self.checkpoint, part, module, unused)

    def _parts(self) -> list[str]:
        dropped = "understanding" if self.understanding == "drop" else None
        return [part for part in PARTS if part != dropped and self._names(part)]

    def _names(self, part: str) -> dict[str, tuple[int, ...]]:
        return self.checkpoint.names(part)

    def _is_unused(self, part: str, name: str) -> bool:
        return part == "generation" and not self.coupled and name.endswith(UNUSED_IN_FROZEN)

    def _left_out(self) -> dict[str, int]:
        unused = sum(self._is_unused("generation", name) for name in self._names("generation"))
        found = Counter({"the understanding side's fusion projections, which a frozen model never uses": unused})
        if self.understanding == "drop":
            found["the understanding tower"] = len(self._names("understanding"))
        return {reason: number for reason, number in found.items() if number}

    def _plan(self) -> dict[str, list[_Item]]:
        """The tensors of each file."""
        whole = self.understanding == "keep"
        homes = {
            "generation": WHOLE if whole else GENERATION,
            "understanding": WHOLE if whole else UNDERSTANDING_FILE,
            "vae": VAE,
        }
        files: dict[str, list[_Item]] = {}
        for part in self._parts():
            for name in self._names(part):
                if not self._is_unused(part, name):
                    to = published(part, name, self.config.vae.num_res_blocks)
                    files.setdefault(homes[part], []).append(_Item(part, name, to, self._dtype_of(part, name)))
        return files

    def _dtype_of(self, part: str, name: str) -> str:
        if self.dtype == "fp8" and takes_fp8(part, name):
            return "F8_E4M3"
        stored = self.checkpoint.storage(part, name)[0]
        # Rule B27: these act on the float32 stream itself, and are small
        return "F32" if part == "generation" and keeps_float32(name) and stored in ("F32", "F64") else "BF16"

    def _planned(self, items: Sequence[_Item]) -> Iterator[Planned]:
        for item in items:
            yield Planned(item.to, item.dtype, self._names(item.part)[item.name])
            if item.dtype == "F8_E4M3":
                yield Planned(_scale_name(item), "F32", ())
        if any(item.dtype == "F8_E4M3" for item in items):
            yield Planned(_MARKER, "F8_E4M3", (0,))

    def _check_target(self) -> None:
        _check_target(self.target, self.checkpoint.path, self.checkpoint.used_files(), self._force)

    def _write(self, staging: Staging, writer: Writer, item: _Item) -> LayerError:
        stored, scale = self.checkpoint.storage(item.part, item.name)
        # What is in its form already passes as it is: quantising again would only lose
        kept = stored == item.dtype
        factor = None
        if item.dtype == "F8_E4M3":
            factor = float(scale) if kept and scale is not None else scale_for(self._largest(item))
            self._require_finite(item, factor)
            writer.write(_scale_name(item), torch.tensor(factor))
        error, start = Error(whole=self.measure == "all"), 0
        for piece in self.checkpoint.pieces(item.part, item.name, _PIECE, scaled=not kept):
            staging.check_stop()
            self._require_finite(item, largest(piece))
            made = piece
            if not kept:
                made = piece.to(DTYPES[item.dtype]) if factor is None else quantise(piece, factor)
                error.add(piece, made, factor or 1.0)
            writer.write(item.to, made, start)
            start += len(made)
        return LayerError(item.part, item.name, item.dtype, start, error.relative)

    def _largest(self, item: _Item) -> float:
        found = max(map(largest, self.checkpoint.pieces(item.part, item.name, _PIECE)), default=0.0)
        self._require_finite(item, found)
        return found

    def _require_finite(self, item: _Item, number: float) -> None:
        if not math.isfinite(number):
            raise not_finite(self.checkpoint.entries[item.part, item.name])


def _scale_name(item: _Item) -> str:
    return f"{item.to.removesuffix('.weight')}.scale_weight"


def _check_target(target: Path, source: Path, files: Sequence[Path], force: bool) -> None:
    """Refuse a place where something would be lost or mixed up. Raises InputError."""
    try:
        if target.suffix.lower() == ENDING or (target.exists() and not target.is_dir()):
            raise InputError(f"{target}: expected a folder to write the parts to; name a folder.")
        place = target.resolve()
        roots = {file.resolve().parent for file in files}
        roots |= {source.resolve()} if source.is_dir() else set()
        held = sorted(file.name for file in target.iterdir()) if target.is_dir() else []
        foreign = [
            str(file.relative_to(target)) for file in (weights_in(target) if held else [])
            if file.parent != target or file.name not in _OURS
        ]  # fmt: skip
        folders = [name for name in held if name in _OURS and not (target / name).is_file()]
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name with a zero byte
        raise InputError(f"{target} cannot be used ({reason(error)}): choose another folder.") from None
    if any(place == root or root in place.parents or place in root.parents for root in roots):
        raise InputError(f"{target} is where the source lies: name a folder outside of {source}.")
    if held and not force:
        raise InputError(f"{target} exists and is not empty (first: {held[0]}): choose another, or add --force.")
    if folders:
        raise InputError(f"{target / folders[0]} is no file and would be lost: remove it, or choose another folder.")
    if foreign:
        raise InputError(
            f"{target} holds {foreign[0]}, which no conversion wrote and which would be taken for a part of the "
            "model: choose another folder."
        )
