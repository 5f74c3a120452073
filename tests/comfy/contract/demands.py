"""What the host's sources ask of each kind of object: names that they read, and calls that they make."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from inspect import Signature

from .kinds import KINDS, PEERS, Kind
from .sources import Class, Function, Library, chain, functions, set_on, signature_of


@dataclass(frozen=True)
class Call:
    """The form of a call: how many positional arguments, and which keywords."""

    positional: int
    keywords: tuple[str, ...]
    open: bool = False
    """Whether more may come out of a `*list` or a `**dict`."""

    def fits(self, signature: Signature) -> str | None:
        """Why a function with this signature cannot be called so; None if it can."""
        bind = signature.bind_partial if self.open else signature.bind
        try:
            bind(*[None] * self.positional, **dict.fromkeys(self.keywords))
        except TypeError as error:
            return str(error)
        return None

    def __str__(self) -> str:
        return "(" + ", ".join(["_"] * self.positional + [f"{name}=" for name in self.keywords]) + ")"


@dataclass(frozen=True)
class Demand:
    """One thing that the host asks of a kind of object. Without calls the name is only read."""

    kind: str
    name: str
    where: str
    calls: tuple[Call, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.kind}.{self.name}"


def demands(host: Library, overridden: dict[str, set[str]]) -> list[Demand]:
    """All demands of a host's sources.

    Args:
        overridden: the methods of each kind's parent that ours replaces; those must take what the parent's take.
    """
    parents = {kind.name: host.find(kind.parent) for kind in KINDS if kind.parent}
    later = {name: set() if parent is None else parent.later for name, parent in parents.items()}
    found: dict[tuple[str, str, tuple[Call, ...]], Demand] = {}
    for demand in _all(host, overridden):
        if demand.name not in later.get(demand.kind, ()):
            found.setdefault((demand.kind, demand.name, demand.calls), demand)
    return list(found.values())


def call_of(node: ast.Call) -> Call:
    """The form of a call in a source."""
    starred = any(isinstance(each, ast.Starred) for each in node.args)
    keywords = tuple(each.arg for each in node.keywords if each.arg is not None)
    positional = sum(not isinstance(each, ast.Starred) for each in node.args)
    return Call(positional, keywords, starred or len(keywords) < len(node.keywords))


def calls_taken(signature: Signature) -> tuple[Call, ...]:
    """Calls that between them use all of a signature: the least, all by position, all by name."""
    named = [each for each in signature.parameters.values() if each.kind == each.POSITIONAL_OR_KEYWORD]
    only = tuple(each.name for each in signature.parameters.values() if each.kind == each.KEYWORD_ONLY)
    needed = tuple(name for name in only if signature.parameters[name].default is Signature.empty)
    least = sum(each.default is Signature.empty for each in named)
    by_name = tuple(each.name for each in named)
    return Call(least, needed), Call(len(named), only), Call(0, (*by_name, *only))


def _all(host: Library, overridden: dict[str, set[str]]) -> Iterator[Demand]:
    for kind in KINDS:
        parent = host.find(kind.parent) if kind.parent else None
        if parent is not None:
            yield from _of_parent(kind, parent, overridden.get(kind.name, set()))
    yield from _everywhere(host)
    for name, (module, prefix, methods) in PEERS.items():
        source = host.module(module)
        for peer in source.classes.values() if source else ():
            if peer.name.startswith(prefix):
                yield from _of_peer(name, peer, methods)


@lru_cache(maxsize=4)
def _everywhere(host: Library) -> list[Demand]:
    """What is asked of objects wherever they go: the costly part, the same for any pack."""
    found: list[Demand] = []
    for source in host.sources:
        kinds = [kind for kind in KINDS if _is_within(source.name, kind.within) and _may_name(source.text, kind)]
        for function, owner in functions(source.tree) if kinds else ():
            found += _uses(source.name, function, [kind for kind in kinds if owner in (kind.classes or (owner,))])
        for kind in KINDS:
            if kind.filled and _is_within(source.name, kind.within):
                for name in sorted(set_on(source.tree, lambda of, kind=kind: means(of, kind.filled))):
                    found.append(Demand(kind.name, name, f"{source.name} sets it"))
    return found


def _is_within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in prefixes)


def _may_name(text: str, kind: Kind) -> bool:
    return any(f"{each.rpartition('.')[2]}" in text for each in kind.called)


def _of_parent(kind: Kind, parent: Class, overridden: Iterable[str]) -> Iterator[Demand]:
    """What a parent sets up and what its methods read, which ours inherit; and what those take that ours replaces."""
    for name in sorted(parent.always):
        yield Demand(kind.name, name, f"{kind.parent}.__init__ sets it")
    for method in parent.methods.values():
        if method.name != "__init__" and method.name not in overridden:
            for read in _reads(method):
                if read.of == "self":
                    yield Demand(kind.name, read.name, f"{kind.parent}.{method.name} reads it")
    for name in sorted(overridden):
        method = parent.methods.get(name)
        if method is not None and name != "__init__" and not _is_empty(method):
            yield Demand(kind.name, name, f"{kind.parent}.{name} takes it", calls_taken(signature_of(method)))


def _of_peer(kind: str, peer: Class, methods: Iterable[str]) -> Iterator[Demand]:
    for name in methods:
        if name in peer.methods:
            yield Demand(
                kind, name, f"{peer.module}.{peer.name}.{name} takes it", calls_taken(signature_of(peer.methods[name]))
            )


def _uses(module: str, function: Function, kinds: list[Kind]) -> Iterator[Demand]:
    arguments = {each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)}
    for read in _reads(function):
        for kind in kinds:
            if means(read.of, kind.called, arguments):
                calls = () if read.call is None else (call_of(read.call),)
                yield Demand(kind.name, read.name, f"{module}:{read.line}", calls)
            elif read.call is not None and means(f"{read.of}.{read.name}", kind.called, ()):
                yield Demand(kind.name, "__call__", f"{module}:{read.line}", (call_of(read.call),))


@dataclass(frozen=True)
class _Read:
    """`of.name` in a source, and the call where it is called."""

    of: str
    name: str
    line: int
    call: ast.Call | None


def _reads(function: Function) -> list[_Read]:
    """The attributes that a function reads; not those that it asks `hasattr` or `getattr` for or sets itself, nor
    those that an `__init__` reads under a condition: there it speaks of one particular model that it has just made."""
    attributes, called, asked, conditions = [], {}, set(), []
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute):
            attributes.append(node)
        elif isinstance(node, ast.Call):
            called[id(node.func)] = node
            asked |= _asked_for(node)
        elif isinstance(node, ast.If) and function.name == "__init__":
            conditions.append(node)
    skipped = {id(each) for condition in conditions for each in ast.walk(condition)}
    chained = [(of, node) for node in attributes if (of := chain(node.value))]
    asked |= {(of, node.attr) for of, node in chained if isinstance(node.ctx, ast.Store)}
    return [
        _Read(of, node.attr, node.lineno, called.get(id(node)))
        for of, node in chained
        if isinstance(node.ctx, ast.Load) and id(node) not in skipped and (of, node.attr) not in asked
    ]


def _asked_for(node: ast.Call) -> set[tuple[str, str]]:
    """(expression, name) of a hasattr or getattr."""
    if chain(node.func) not in ("hasattr", "getattr") or len(node.args) < 2:
        return set()
    of, name = chain(node.args[0]), node.args[1]
    return {(of, str(name.value))} if of and isinstance(name, ast.Constant) else set()


def means(of: str, expressions: tuple[str, ...], names: Iterable[str] | None = None) -> bool:
    """Whether an expression is one of a kind: "x" as a name (one of `names`), "x.y" as it stands, ".y" by its end."""
    for each in expressions:
        if each.startswith("."):
            if of.endswith(each):
                return True
        elif of == each and ("." in each or names is None or each in names):
            return True
    return False


def _is_empty(method: Function) -> bool:
    """Whether it only says that there should be one."""
    return all(isinstance(each, ast.Pass) or _is_constant(each) for each in method.body)


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
