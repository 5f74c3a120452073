"""What a model must be to be loaded: one set of checks for loading, converting and the report."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from torch import nn

from ..errors import CheckpointError
from .header import Entry
from .known import known, remember
from .model import config_source
from .reader import Checkpoint
from .values import first_not_finite

_MAY_BE_ZERO = re.compile(r"\.(o_(und|gen)_proj|time_conv)\.weight$")


@dataclass(slots=True)
class Difference:
    """What separates a part's tensors from what its module takes."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        said = []
        if self.missing:
            said.append(f"{_count(self.missing)} missing (first: {self.missing[0]})")
        if self.unexpected:
            said.append(f"{_count(self.unexpected)} unexpected (first: {self.unexpected[0]})")
        if self.misshapen:
            name, found, wanted = self.misshapen[0]
            said.append(f"{_count(self.misshapen)} of another shape (first: {name} is {found}, wanted {wanted})")
        return "; ".join(said)


def _count(names: list) -> str:
    return f"{len(names)} tensor{'s are' if len(names) > 1 else ' is'}"


def compare(checkpoint: Checkpoint, part: str, module: nn.Module, ignored: tuple[str, ...] = ()) -> Difference:
    """A part's tensors against a module's; names that end in `ignored` are passed over."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: shape for name, shape in checkpoint.names(part).items() if not name.endswith(ignored)}
    return Difference(
        missing=[name for name in wanted if name not in found],
        unexpected=[name for name in found if name not in wanted],
        misshapen=[(n, found[n], wanted[n]) for n in wanted if n in found and found[n] != wanted[n]],
    )


def require_fit(checkpoint: Checkpoint, part: str, module: nn.Module, ignored: tuple[str, ...] = ()) -> None:
    """Refuse a part that a module does not take as it is, from headers and the first numbers of each matrix.

    Raises:
        CheckpointError: tensors missing, unexpected, of another shape, stored in a form that is not known, or zero
            where no model's are.
    """
    checkpoint.check_storage(part)
    if difference := compare(checkpoint, part, module, ignored):
        raise CheckpointError(
            f"{checkpoint.source(part)} does not fit the {part} part of its configuration "
            f"({config_source(checkpoint)}): {difference}. See `lightfusion inspect`."
        )
    require_filled(checkpoint, part, module)


def require_filled(checkpoint: Checkpoint, part: str, module: nn.Module) -> None:
    """Refuse matrices of a module that are zero throughout: a download that was cut off, in a file that its downloader
    had made as large as it should become.

    What training may leave at zero, as it began, is taken: the fusion's output projections, the VAE's convolutions
    over time, a context of nothing; and biases, norms and other vectors. Files of holes, as tests make them, are taken
    where the environment variable LIGHTFUSION_ALLOW_ZEROS is 1.

    Raises:
        CheckpointError: there is one.
    """
    if os.environ.get("LIGHTFUSION_ALLOW_ZEROS") == "1":
        return
    entries = {name: checkpoint.entries[part, name] for name in module.state_dict()}
    files, fact = {entry.file for entry in entries.values()}, f"{part} filled"
    if known(files, fact):
        return
    for name, entry in entries.items():
        is_matrix = name.endswith(".weight") and entry.numbers > max(entry.shape, default=1)
        if is_matrix and not _MAY_BE_ZERO.search(name) and checkpoint.is_zero(part, name):
            raise CheckpointError(
                f"{entry.file}: {entry.name} is zero throughout, as no trained model has it: the file's download was "
                "cut off; get it again."
            )
    remember(files, fact, True)


def require_finite(checkpoint: Checkpoint, part: str, module: nn.Module) -> None:
    """Refuse NaN and infinity in what a module takes, as it is stored. Reads all of it.

    Raises:
        CheckpointError: there is one.
    """
    files, fact = {entry.file for entry in checkpoint.part(part)}, f"{part} finite as stored"
    if known(files, fact):
        return
    found = first_not_finite({name: checkpoint.stored(part, name)[0] for name in module.state_dict()})
    if found is not None:
        raise not_finite(checkpoint.entries[part, found])
    remember(files, fact, True)


def not_finite(entry: Entry) -> CheckpointError:
    """What to say of a tensor with NaN or infinity in it."""
    return CheckpointError(f"{entry.file}: {entry.name} holds NaN or infinity: the file is damaged; get it again.")
