"""What the pack's own objects have, read from its sources."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import Signature
from pathlib import Path

import torch

from .demands import means
from .kinds import KINDS, Kind
from .sources import PACKAGES, Class, Library, Source, chain, functions, read_library, set_on, signature_of

PACK = Path(__file__).resolve().parents[3]
_TORCH = {"nn.Module": torch.nn.Module, "torch.nn.Module": torch.nn.Module}


def read_pack() -> Library:
    """The pack's own sources."""
    return read_library([PACK / "nodes", PACK / "lightfusion_core"])


class Ours:
    """The pack beside a host's sources."""

    def __init__(self, pack: Library, host: Library) -> None:
        self.pack, self.host = pack, host

    def overridden(self) -> dict[str, set[str]]:
        """By kind, the methods that our class defines itself."""
        return {kind.name: {name for each in self._line(kind)[0] for name in each.methods} for kind in KINDS}

    def names(self, kind: Kind) -> set[str]:
        """Every attribute that our object has once it is built."""
        if kind.filled:
            return set().union(*(set_on(each.tree, lambda of: means(of, kind.filled)) for each in self.pack.sources))
        own, parents, builtin = self._line(kind)
        found = set(dir(object))
        for each in [*own, *parents]:
            found |= {*each.methods, *each.fields}
        for each in own:
            found |= each.sets
        for kind_of_torch in builtin:
            found |= set(dir(kind_of_torch()))
        if not own:
            return found | self._filled_in(kind.ours)
        if all(each.calls_parent for each in own):
            found = found.union(*(each.given for each in parents))
        return found

    def signature(self, kind: Kind, name: str) -> Signature | None:
        """What a method of ours takes; None where that cannot be read."""
        name = "forward" if name == "__call__" else name
        own, parents, builtin = self._line(kind)
        for each in [*own, *parents]:
            if name in each.methods:
                return signature_of(each.methods[name])
        for each in builtin:
            if hasattr(each, name):
                return Signature([*inspect.signature(getattr(each, name)).parameters.values()][1:])
        return None

    def _line(self, kind: Kind) -> tuple[list[Class], list[Class], list[type]]:
        """Our class and those of ours that it descends from, the host's, and torch's."""
        own: list[Class] = []
        parents: list[Class] = []
        builtin: list[type] = []
        waiting: list[tuple[str, Class | None]] = [(kind.ours, None)]
        while waiting:
            name, beside = waiting.pop(0)
            if name in _TORCH:
                builtin.append(_TORCH[name])
            elif mine := self.pack.named(name):
                own.append(mine)
                waiting += [(base, mine) for base in mine.bases]
            elif theirs := self.host.find(name, beside):
                parents.append(theirs)
                waiting += [(base, theirs) for base in theirs.bases if base != name]
        return own, parents, builtin

    def _filled_in(self, name: str) -> set[str]:
        """Attributes that our sources set on what they make by calling this class of the host."""
        return set().union(*(_set_on(source, name) for source in self.pack.sources))


def _set_on(source: Source, made_by: str) -> set[str]:
    """The attributes that a file's functions set on variables which they make by calling this class."""
    found: set[str] = set()
    for function, _ in functions(source.tree) if f"{made_by}(" in source.text else ():
        names = {
            target.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and chain(node.value.func) == made_by
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        found |= set_on(function, names.__contains__)
    return found


@dataclass(frozen=True)
class Use:
    """One name of the host's that the pack uses, and the call where it is called."""

    module: str
    name: str
    where: str
    call: ast.Call | None


def uses_of_host(pack: Library) -> Iterator[Use]:
    """Everything that the pack names of the host's modules."""
    for source in pack.sources:
        called = {id(each.func): each for each in ast.walk(source.tree) if isinstance(each, ast.Call)}
        modules, names = _imports(source)
        for local, (module, name) in names.items():
            used = [each for each in called.values() if chain(each.func) == local] or [None]
            yield from (Use(module, name, f"{source.name}:{local}", call) for call in used)
        for node in ast.walk(source.tree):
            of, _, name = ((isinstance(node, ast.Attribute) and chain(node)) or "").rpartition(".")
            if of in modules and f"{of}.{name}" not in modules:
                yield Use(of, name, f"{source.name}:{node.lineno}", called.get(id(node)))


def _imports(source: Source) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """The host's modules that a file imports, and single names by their local name."""
    modules, names = set(), {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            modules |= {each.name for each in node.names if _is_host(each.name)}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module and _is_host(node.module):
            names.update({each.asname or each.name: (node.module, each.name) for each in node.names})
    return modules, names


def _is_host(module: str) -> bool:
    return module.partition(".")[0] in (*PACKAGES, "folder_paths", "latent_preview")
