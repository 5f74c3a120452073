"""Python sources as facts: which classes they define, with which methods and attributes.

Nothing is imported or run, so that a ComfyUI that cannot be started here can be read too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from inspect import Parameter, Signature
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGES = ("comfy", "comfy_extras", "comfy_execution", "comfy_api")
_OF_COMFY = ("conds", "hooks", "latent_formats", "lora", "model_base", "model_management", "model_patcher", "ops",
    "patcher_extension", "sample", "samplers", "sd", "sd1_clip", "supported_models_base")  # fmt: skip
_SINGLE = ("nodes", "execution", "latent_preview", "folder_paths")
"""Modules that lie at the top of a checkout; nothing else there makes or reads our objects."""


@dataclass(frozen=True)
class Source:
    """One file, by the dotted name that its place in the checkout gives it; parsed when it is first asked for."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @cached_property
    def classes(self) -> dict[str, Class]:
        """By the name within the file, such as "manual_cast.Linear"."""
        return {path: _read_class(node, path, self.name) for node, path in _classes(self.tree)}


@dataclass
class Class:
    """One class: what its body defines and what its methods set on `self`."""

    name: str
    module: str
    bases: list[str]
    methods: dict[str, Function] = field(default_factory=dict)
    fields: set[str] = field(default_factory=set)
    """Class attributes."""
    sets: set[str] = field(default_factory=set)
    """Attributes that any method sets on self."""
    always: set[str] = field(default_factory=set)
    """Attributes that `__init__` sets on self under no condition."""
    given: set[str] = field(default_factory=set)
    """Those of `always` that come before anything that may return early."""
    calls_parent: bool = False
    """Whether its `__init__` calls its parent's, or it has none."""

    @property
    def init(self) -> Function | None:
        return self.methods.get("__init__")

    @property
    def later(self) -> set[str]:
        """Attributes that only other methods than `__init__` set, while the object works."""
        others = (set_on_self(method) for name, method in self.methods.items() if name != "__init__")
        return set().union(*others) - self.always


class Library:
    """Many sources, by their modules' names."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = list(sources)
        self._modules = {source.name.removesuffix(".__init__"): source for source in self.sources}

    def module(self, name: str) -> Source | None:
        """The file of a module."""
        return self._modules.get(name)

    def find(self, name: str, beside: Class | None = None) -> Class | None:
        """A class by its dotted name, or by the name that another class's file has for it."""
        if beside is not None and (found := self.find(f"{beside.module}.{name}")) is not None:
            return found
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            source = self.module(".".join(parts[:end]))
            if source is not None:
                return source.classes.get(".".join(parts[end:]))
        return None

    def named(self, name: str) -> Class | None:
        """The first class of a name, wherever it stands; for few sources, since it reads them all."""
        return next((source.classes[name] for source in self.sources if name in source.classes), None)


def read_library(paths: Iterable[Path]) -> Library:
    """Every Python file of checkouts, folders and loose files.

    Raises:
        OSError: a file that cannot be read.
    """
    return Library(Source(name, file.read_text(encoding="utf-8-sig")) for name, file in _files(paths))


def signature_of(function: Function, bound: bool = True) -> Signature:
    """What a function takes; without its first argument where it is bound."""
    given, kind = function.args, Parameter
    names = [*given.posonlyargs, *given.args]
    defaults = [Parameter.empty] * (len(names) - len(given.defaults)) + [None] * len(given.defaults)
    parameters = [
        Parameter(
            each.arg,
            kind.POSITIONAL_ONLY if each in given.posonlyargs else kind.POSITIONAL_OR_KEYWORD,
            default=default,
        )
        for each, default in zip(names, defaults, strict=True)
    ]
    if bound and not _is_static(function):
        parameters = parameters[1:]
    if given.vararg:
        parameters.append(Parameter(given.vararg.arg, kind.VAR_POSITIONAL))
    for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        default = Parameter.empty if value is None else None
        parameters.append(Parameter(each.arg, kind.KEYWORD_ONLY, default=default))
    if given.kwarg:
        parameters.append(Parameter(given.kwarg.arg, kind.VAR_KEYWORD))
    return Signature(parameters)


def chain(node: ast.expr) -> str | None:
    """`self.model.config` for such an expression, None for any other."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def functions(tree: ast.AST, owner: str = "") -> Iterator[tuple[Function, str]]:
    """Every function with the name of the class that it is a method of, "" for none. Functions inside of functions
    belong to the outer one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _FUNCTIONS):
            yield node, owner
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, node.name)
        else:
            yield from functions(node, owner)


def set_on_self(node: ast.AST) -> set[str]:
    """The attributes of self that it sets."""
    return set_on(node, lambda of: of == "self")


def set_on(node: ast.AST, means: Callable[[str], bool]) -> set[str]:
    """The attributes that it sets on such expressions."""
    stored = ((each.attr, chain(each.value)) for each in _stored(node) if isinstance(each, ast.Attribute))
    return {name for name, of in stored if of is not None and means(of)}


def top_level(tree: ast.Module) -> dict[str, ast.AST]:
    """What a module defines, by name; names that it imports too."""
    found: dict[str, ast.AST] = {}
    for node in _statements(tree.body):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update({(each.asname or each.name).partition(".")[0]: node for each in node.names})
        else:
            found.update({name.id: node for name in _stored(node) if isinstance(name, ast.Name)})
    return found


def _read_class(node: ast.ClassDef, path: str, module: str) -> Class:
    made = Class(path, module, [found for base in node.bases if (found := chain(base))])
    for statement in node.body:
        if isinstance(statement, _FUNCTIONS):
            made.methods[statement.name] = statement
            made.sets |= set_on_self(statement)
        else:
            made.fields |= {each.id for each in _stored(statement) if isinstance(each, ast.Name)}
    if made.init is None:
        made.calls_parent = True
        return made
    returned = False
    for statement in made.init.body:
        returned = returned or any(isinstance(each, ast.Return) for each in ast.walk(statement))
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.With)):
            names = set_on_self(statement)
            made.always |= names
            made.given |= set() if returned else names
    made.calls_parent = any(_calls_parent(each, made.bases) for each in ast.walk(made.init))
    return made


def _calls_parent(node: ast.AST, bases: list[str]) -> bool:
    """`super().__init__(...)`, or `Base.__init__(self, ...)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "__init__":
        return False
    of = node.func.value
    return chain(of) in bases or (isinstance(of, ast.Call) and chain(of.func) == "super")


def _classes(tree: ast.AST, prefix: str = "") -> Iterator[tuple[ast.ClassDef, str]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield node, prefix + node.name
            yield from _classes(node, f"{prefix}{node.name}.")
        else:
            yield from _classes(node, prefix)


def _stored(node: ast.AST) -> Iterator[ast.Name | ast.Attribute]:
    for each in ast.walk(node):
        if isinstance(each, (ast.Name, ast.Attribute)) and isinstance(each.ctx, ast.Store):
            yield each


def _is_static(function: Function) -> bool:
    return any(chain(each) == "staticmethod" for each in function.decorator_list)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those behind an `if` or a `try` too."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from _statements(handler.body)


def _files(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Every file with the dotted name of its module."""
    for path in paths:
        if path.is_file():
            yield _loose(path), path
        elif (path / "main.py").is_file():
            yield from ((name, path / f"{name}.py") for name in _SINGLE)
            yield from (found for name in PACKAGES for found in _folder(path / name, path))
        else:
            is_package = path.name in PACKAGES or (path / "__init__.py").is_file()
            yield from _folder(path, path.parent if is_package else path)


def _folder(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*.py")):
        yield ".".join(file.relative_to(root).with_suffix("").parts), file


def _loose(file: Path) -> str:
    """`.../comfy/ldm/attention.py` is comfy.ldm.attention, and a bare `sd.py` is comfy.sd."""
    parts = [file.stem]
    for folder in file.resolve().parents:
        if not (folder.name.isidentifier() and folder.name.islower()):
            break
        parts.insert(0, folder.name)
        if folder.name in PACKAGES:
            return ".".join(parts)
    return f"comfy.{file.stem}" if file.stem in _OF_COMFY else file.stem
