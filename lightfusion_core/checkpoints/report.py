"""What a model file is, and all that keeps it from loading: the report of `lightfusion inspect`.

Headers are read, the first numbers of each matrix, and the fusion's `o_und_proj`, whose values tell a frozen model
from a coupled one; of a model of up to a gigabyte everything. The checks are those of loading. A damaged file is
reported as far as its header goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..config import ModelConfig
from ..errors import CheckpointError, ConfigError
from ..texts import printable
from ..understanding.tokenizer import Tokenizer
from .advice import notes
from .checks import Difference, compare, require_finite, require_fit
from .foreign import WANTED, foreign
from .fp8 import scale_of
from .header import Entry
from .keys import PARTS, UNUSED_IN_FROZEN, layout, prefix
from .loader import build_generation, build_understanding, build_vae, is_coupled
from .model import config_source, find_tokenizer, has_config, read_config, require_vocabulary
from .reader import Checkpoint
from .shapes import count

_FUSION = ("mm_attn_layers.", "vgen_model_cross_att_context")
_PARTS_ALONE = {
    "understanding": "a Qwen2.5-VL",
    "generation": "LightFusion's generation tower",
    "vae": "a Wan2.2 VAE",
}
_FEW = 5
_READ_WHOLE = 1 << 30
"""Bytes of a model up to which every number is looked at: half a second."""
_NEEDED = {"understanding": "a Qwen2.5-VL (--understanding PATH)", "vae": "a Wan2.2 VAE (--vae PATH)"}


@dataclass(slots=True)
class Part:
    """One part's tensors. difference: from what the configuration's module takes; None where there is no
    configuration to compare with."""

    name: str
    layout: str
    prefix: str
    tensors: int
    parameters: int
    bytes: int
    dtypes: dict[str, int]
    difference: Difference | None = None


@dataclass(slots=True)
class Report:
    """What `inspect` found. `as_dict` is its JSON form, `str()` its text.

    wanted: what LightFusion takes in place of another model's file.
    notes: what is worth to be known of a model in which nothing is wrong.
    values_read: whether every number was looked at, or the first of each matrix alone.
    """

    path: Path
    files: list[Path]
    kind: str = "unknown"
    wanted: str | None = None
    configuration: str | None = None
    coupled: bool | None = None
    fusion_layers: int = 0
    fusion_kind: str | None = None
    needs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    values_read: bool = False
    parts: list[Part] = field(default_factory=list)
    unknown: list[Entry] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether it is something that is known, and nothing is wrong with it."""
        wrong = self.faults or self.doubles or self.unknown or any(part.difference for part in self.parts)
        return self.kind != "unknown" and not self.wanted and not wrong

    def as_dict(self) -> dict[str, Any]:
        """The report in JSON's types."""
        plain = asdict(self) | {"path": str(self.path), "files": [str(file) for file in self.files]}
        plain["unknown"] = [{"name": e.name, "dtype": e.dtype, "shape": list(e.shape)} for e in self.unknown]
        for part in plain["parts"]:
            if part["difference"]:
                part["difference"]["misshapen"] = [
                    {"name": name, "found": list(found), "wanted": list(wanted)}
                    for name, found, wanted in part["difference"]["misshapen"]
                ]
        return plain | {"sound": self.is_sound}

    def __str__(self) -> str:
        lines = [*self._summary(), "", *_table(self.parts), *self._lists()]
        return "\n".join(map(printable, lines))  # names come out of files

    def _summary(self) -> list[str]:
        size = readable_bytes(sum(part.bytes for part in self.parts) + sum(entry.size for entry in self.unknown))
        lines = [f"{self.path}: {self.kind} ({size} in {len(self.files)} file{'s' * (len(self.files) != 1)})"]
        if self.coupled is not None:
            lines.append(
                "  coupled: fusion also changes the understanding stream" if self.coupled else
                "  frozen: fusion leaves the understanding stream alone"
            )  # fmt: skip
        if self.fusion_layers:
            kind = f', "{self.fusion_kind}"' if self.fusion_kind else ""
            lines.append(f"  fusion: {self.fusion_layers} layers{kind}")
        if self.configuration:
            lines.append(f"  configuration: {self.configuration}")
        if self.wanted:
            lines.append(f"  not a part of LightFusion: {self.wanted}")
        lines += [f"  {note}" for note in self.notes]
        if self.needs:
            lines.append(f"  to be loaded with {' and '.join(self.needs)}")
        return lines

    def _lists(self) -> list[str]:
        compared = [(part.name, part.difference) for part in self.parts if part.difference is not None]
        lines = _group("missing", [f"{of}: {name}" for of, d in compared for name in d.missing])
        lines += _group("unexpected", [f"{of}: {name}" for of, d in compared for name in d.unexpected])
        lines += _group(
            "of another shape",
            [f"{of}: {name} is {list(f)}, wanted {list(w)}" for of, d in compared for name, f, w in d.misshapen],
        )
        # of a model that is another all names are unknown, and a few will do
        shown = self.unknown[:_FEW] if self.wanted else self.unknown
        lines += _group("of unknown names", [f"{e.name} {e.dtype} {list(e.shape)}" for e in shown], len(self.unknown))
        lines += _group("there twice", self.doubles)
        lines += ["", *(f"problem: {fault}" for fault in self.faults)] if self.faults else []
        if compared and len(lines) == 0:
            lines = ["", "Every tensor is there in its shape, and nothing else is."]
            lines += [] if self.values_read else ["Of a large model the numbers are looked through when it is loaded."]
        return lines


def inspect(path: str | Path) -> Report:
    """Report on a file, an index of shards, or a folder.

    Raises:
        CheckpointError: nothing is there.
    """
    checkpoint = Checkpoint.open(path, tolerant=True)
    report = Report(checkpoint.path, checkpoint.used_files())
    report.notes = notes(checkpoint)
    report.unknown, report.doubles, report.faults = checkpoint.strangers, checkpoint.doubles, checkpoint.faults
    report.parts = [_part(checkpoint, name, report.faults) for name in PARTS if checkpoint.part(name)]
    _recognise(report, checkpoint)
    if report.kind == "unknown" or report.wanted:
        return report
    try:
        config = read_config(checkpoint)
        report.configuration = config_source(checkpoint)
    except (CheckpointError, ConfigError) as error:
        report.faults.append(str(error))
        return report
    _describe_fusion(report, checkpoint, config)
    try:
        modules = {part.name: _module(part.name, checkpoint, config, report) for part in report.parts}
    except ConfigError as error:
        report.faults.append(str(error))
        return report
    for part in report.parts:
        part.difference = _difference(checkpoint, part.name, modules[part.name], report)
    if not (report.faults or report.doubles or any(part.difference for part in report.parts)):
        _look_closer(checkpoint, config, modules, report)
    return report


def _look_closer(checkpoint: Checkpoint, config: ModelConfig, modules: Mapping[str, nn.Module], report: Report) -> None:
    """What loading would refuse beyond headers: the tokenizer, and numbers."""
    is_tower = bool(report.fusion_layers)
    report.values_read = sum(part.bytes for part in report.parts) <= _READ_WHOLE
    try:
        for part, module in modules.items():
            if part != "generation" or is_tower:  # of a plain Wan, parts of the module are not there
                require_fit(checkpoint, part, module, _ignored(part, report))
                if report.values_read:
                    require_finite(checkpoint, part, module)
        if "understanding" in modules:
            found = find_tokenizer(checkpoint, None)
            require_vocabulary(Tokenizer(found, config.special_tokens) if found else None, config)
    except CheckpointError as error:
        report.faults.append(str(error))


def _part(checkpoint: Checkpoint, name: str, faults: list[str]) -> Part:
    entries = checkpoint.part(name)
    names = [entry.name for entry in entries]
    return Part(
        name=name,
        layout=layout(name, names) if _SIGNS[name](checkpoint.names(name)) else "not recognised",
        prefix=_common_prefix(names),
        tensors=len(entries),
        parameters=sum(entry.numbers for entry in entries),
        bytes=sum(entry.size for entry in entries),
        dtypes=_storage(checkpoint, entries, faults),
    )


def _storage(checkpoint: Checkpoint, entries: list[Entry], faults: list[str]) -> dict[str, int]:
    """How many tensors are stored in which form; one fault for all that cannot be read."""
    forms: Counter[str] = Counter()
    unread: list[str] = []
    for entry in entries:
        try:
            checkpoint.scale(entry)
            scale = scale_of(checkpoint.files[entry.file], entry)
            forms[entry.dtype if scale is None else f"{entry.dtype} scaled ({scale.rpartition('.')[2]})"] += 1
        except CheckpointError as error:
            forms[f"{entry.dtype} (not readable)"] += 1
            unread.append(str(error))
    if unread:
        faults.append(unread[0] + (f" And {len(unread) - 1} more like it." if len(unread) > 1 else ""))
    return dict(forms)


def _common_prefix(names: list[str]) -> str:
    """What wrappers put in front of most names."""
    return Counter(prefix(name) for name in names).most_common(1)[0][0]


def _recognise(report: Report, checkpoint: Checkpoint) -> None:
    """Say what it is, by tensors that nothing else has."""
    other = foreign(checkpoint, by_size=not has_config(checkpoint))
    if other is not None:
        place = max(PARTS, key=lambda part: len(checkpoint.part(part)))
        report.kind, report.wanted = other, WANTED[place if checkpoint.part(place) else "generation"]
        return
    names = {part: checkpoint.names(part) for part in PARTS}
    found = [part for part in PARTS if _SIGNS[part](names[part])]
    has_fusion = count(names["generation"], "mm_attn_layers.") > 0
    if "generation" in found and has_fusion and "understanding" in found:
        report.kind = "a complete LightFusion"
        if "vae" not in found:
            report.kind += " without a VAE"
    elif found:
        said = _PARTS_ALONE if has_fusion else _PARTS_ALONE | {"generation": "a plain Wan DiT without fusion"}
        report.kind = " and ".join(said[part] for part in found)
    if "generation" in found and has_fusion:
        report.needs = [need for part, need in _NEEDED.items() if part not in found]


_SIGNS = {
    "understanding": lambda names: (
        any(name.startswith("model.visual.blocks.") for name in names)
        and any(name.endswith(".self_attn.q_proj.weight") for name in names)
    ),
    "generation": lambda names: any(name.endswith(".cross_attn.norm_q.weight") for name in names),
    "vae": lambda names: any(".resnets." in name and len(shape) == 5 for name, shape in names.items()),
}


def _describe_fusion(report: Report, checkpoint: Checkpoint, config: ModelConfig) -> None:
    report.fusion_layers = count(checkpoint.names("generation"), "mm_attn_layers.")
    if not report.fusion_layers:
        return
    depths = (config.text.num_hidden_layers, config.dit.num_layers)
    kinds = {max(depths) - 1: "max", min(depths) - 1: "min"}
    report.fusion_kind = kinds.get(report.fusion_layers)
    try:
        report.coupled = is_coupled(checkpoint)
    except CheckpointError as error:
        if not report.faults:  # else it is said already
            report.faults.append(str(error))


def _module(part: str, checkpoint: Checkpoint, config: ModelConfig, report: Report) -> nn.Module:
    """What loading would fill with a part."""
    if part == "vae":
        return build_vae(config).model
    if part == "understanding":
        return build_understanding(config, with_lm_head="lm_head.weight" in checkpoint.names(part))
    return build_generation(config, coupled=bool(report.coupled), dtype=torch.float32)


def _ignored(part: str, report: Report) -> tuple[str, ...]:
    return UNUSED_IN_FROZEN if part == "generation" and not report.coupled else ()


def _difference(checkpoint: Checkpoint, part: str, module: nn.Module, report: Report) -> Difference:
    difference = compare(checkpoint, part, module, _ignored(part, report))
    if part == "generation" and not report.fusion_layers:  # a plain Wan: what it never had is not missing
        difference.missing = [name for name in difference.missing if not name.startswith(_FUSION)]
    return difference


def _table(parts: list[Part]) -> list[str]:
    rows = [("part", "tensors", "parameters", "size", "dtypes", "names")]
    for part in parts:
        names = part.layout + (f", behind {part.prefix}" if part.prefix else "")
        numbers = (str(part.tensors), _parameters(part.parameters), readable_bytes(part.bytes), _dtypes(part.dtypes))
        rows.append((part.name, *numbers, names))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]


def _group(what: str, lines: list[str], number: int | None = None) -> list[str]:
    """A heading with the number of tensors, and all of them, or the first of this `number`."""
    number = number or len(lines)
    heading = f"{number} tensor{'s' * (number != 1)} {what}:"
    more = [f"  and {number - len(lines)} more"] if number > len(lines) else []
    return ["", heading, *(f"  {line}" for line in lines), *more] if lines else []


def _dtypes(dtypes: Mapping[str, int]) -> str:
    if len(dtypes) == 1:
        return next(iter(dtypes))
    return ", ".join(f"{dtype} x {number}" for dtype, number in sorted(dtypes.items(), key=lambda item: -item[1]))


def _parameters(number: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= unit:
            return f"{number / unit:.2f} {name}"
    return str(number)


def readable_bytes(number: int) -> str:
    """A number of bytes with its unit."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number} bytes"
