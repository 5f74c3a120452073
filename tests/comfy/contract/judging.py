"""Demands of a host against what the pack has."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .demands import Demand, call_of, demands
from .kinds import EXCUSED, KINDS
from .ours import Ours, uses_of_host
from .sources import Library, Source, signature_of, top_level


@dataclass(frozen=True)
class Breach:
    """One thing that the host asks for and does not get."""

    key: str
    """`kind.name`, or the host's dotted name that is gone."""
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


def breaches(
    pack: Library, host: Library, rest: Library | None = None, excused: Iterable[str] = tuple(EXCUSED)
) -> list[Breach]:
    """What these sources of a host ask for and the pack has not, without what is excused.

    Args:
        host: the sources to judge.
        rest: a whole host, for the parents that are not among them.
        excused: keys of breaches that are none.
    """
    whole = host if rest is None else Library([*host.sources, *_absent(rest, host)])
    ours = Ours(pack, whole)
    found = [*_unmet(demands(host, ours.overridden()), ours), *_gone(pack, host)]
    return [each for each in found if each.key not in excused]


def _absent(rest: Library, host: Library) -> list[Source]:
    return [source for source in rest.sources if host.module(source.name) is None]


def _unmet(asked: list[Demand], ours: Ours) -> Iterator[Breach]:
    kinds = {kind.name: kind for kind in KINDS}
    names = {name: ours.names(kind) for name, kind in kinds.items()}
    for demand in asked:
        kind = kinds[demand.kind]
        if demand.name not in names[demand.kind]:
            yield Breach(demand.key, f"{kind.ours} has no such attribute ({demand.where})")
            continue
        signature = ours.signature(kind, demand.name)
        for call in demand.calls if signature is not None else ():
            if reason := call.fits(signature):
                yield Breach(f"{demand.key}{call}", f"{kind.ours} does not take this: {reason} ({demand.where})")


def _gone(pack: Library, host: Library) -> Iterator[Breach]:
    """Names of the host that the pack uses and that are gone, or take other arguments now."""
    for use in uses_of_host(pack):
        source, dotted = host.module(use.module), f"{use.module}.{use.name}"
        if source is None or host.module(dotted) is not None:
            continue
        defined = top_level(source.tree).get(use.name)
        if defined is None:
            yield Breach(dotted, f"the host has it no longer ({use.where})")
            continue
        made = source.classes.get(use.name)
        function = made.init if made else defined
        if use.call is not None and isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            call = call_of(use.call)
            if reason := call.fits(signature_of(function, bound=made is not None)):
                yield Breach(f"{dotted}{call}", f"the host does not take this: {reason} ({use.where})")
