"""A workflow or a blueprint as it is described: nodes with values and links, in titled groups, with one note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..comfyui import numbers
from .schema import Kind, recording

OUTSIDE = -10
"""The id under which the nodes of a subgraph know what is wired into it."""

BLUE, GREEN, PURPLE, BROWN, GREY = "#3f789e", "#8A8", "#a1309b", "#b06634", "#888"


@dataclass(eq=False, slots=True)
class Node:
    """One node. `values` holds what its widgets show, `links` what is wired into it."""

    id: int
    kind: Kind
    title: str
    values: dict[str, Any]
    links: dict[str, Output]
    control: str

    def __getitem__(self, output: str) -> Output:
        """The output of this name. Raises KeyError where there is none."""
        names = [name for name, _ in self.kind.outputs]
        if output not in names:
            raise KeyError(f"{self.kind.name} has no output {output!r}, only {', '.join(names)}")
        return Output(self, names.index(output))

    @property
    def links_inside(self) -> dict[str, Output]:
        """The links without what comes from outside of a blueprint."""
        return {name: output for name, output in self.links.items() if output.node.id != OUTSIDE}

    @property
    def shows_advanced(self) -> bool:
        """Whether the rows that few need are open, as the editor opens them: something is wired in or set there."""
        return any(
            given.name in self.links or self.values[given.name] != given.default
            for given in self.kind.widgets
            if given.advanced
        )


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a node."""

    node: Node
    slot: int

    @property
    def name(self) -> str:
        return self.node.kind.outputs[self.slot][0]

    @property
    def type(self) -> str:
        return self.node.kind.outputs[self.slot][1]


@dataclass(frozen=True, slots=True)
class Group:
    """A coloured frame with columns of nodes, from the left."""

    title: str
    color: str
    columns: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class App:
    """What of a graph the editor's app mode shows: rows by node and name, and nodes by what comes out of them."""

    inputs: tuple[tuple[Node, str], ...]
    outputs: tuple[Node, ...]


@dataclass(slots=True)
class Graph:
    """A workflow under construction. `app` is its form, if it has one; `opens_as_app` where that is seen first."""

    name: str
    title: str
    note: str
    app: App | None = None
    opens_as_app: bool = False
    nodes: list[Node] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    @property
    def comfyui(self) -> str:
        """The version of ComfyUI that it needs."""
        return max((node.kind.comfyui for node in self.nodes), key=numbers)

    def add(self, kind: str, title: str = "", control: str = "randomize", **given: Any) -> Node:
        """Add a node.

        Args:
            kind: its class.
            title: what stands on it; the class's own when empty.
            control: what becomes of its seed after a run.
            given: values of widgets, or outputs of other nodes to wire in. A widget that is not named shows its
                default.

        Raises:
            KeyError: an input that the class does not have.
            TypeError: a socket that is given no output, or one of another type.
        """
        known = recording()[kind]
        node = Node(len(self.nodes) + 1, known, title or known.title, {}, {}, control)
        for name, value in given.items():
            wanted = known.input(name)
            if not isinstance(value, Output):
                if not wanted.widget:
                    raise TypeError(f"{kind}.{name} takes an output of type {wanted.type}, not {value!r}")
                node.values[name] = value
            elif wanted.type in ("*", value.type):
                node.links[name] = value
                if wanted.widget and value.node.id == OUTSIDE:
                    node.values[name] = value.node.values[value.name]
            else:
                raise TypeError(f"{kind}.{name} takes {wanted.type}, and the output given is {value.type}")
        missing = [given.name for given in known.sockets if not given.optional and given.name not in node.links]
        if missing:
            raise TypeError(f"{kind} lacks {', '.join(missing)}")
        node.values = {given.name: node.values.get(given.name, given.default) for given in known.widgets}
        self.nodes.append(node)
        return node

    def group(self, title: str, color: str, *columns: Sequence[Node]) -> None:
        """Put columns of nodes into a frame, to the right of the earlier ones."""
        self.groups.append(Group(title, color, tuple(tuple(column) for column in columns)))


@dataclass(slots=True)
class Blueprint(Graph):
    """A subgraph under construction that the editor offers as one node.

    `name` and `title` are the same: that of the file, and so of the node. `note` is its description. `inputs` stands
    for what is wired into it and shown on it, `outputs` is what comes out, by name.
    """

    category: str = ""
    aliases: tuple[str, ...] = ()
    outputs: dict[str, Output] = field(default_factory=dict)
    inputs: Node = field(init=False)

    def takes(self, **inputs: str | tuple[str, Any]) -> Node:
        """What the node takes: each input's type, or its type and what its widget shows at first."""
        kinds = {name: given if isinstance(given, tuple) else (given, None) for name, given in inputs.items()}
        outside = Kind("", "", "", False, False, (), tuple((name, kind) for name, (kind, _) in kinds.items()))
        shown = {name: value for name, (_, value) in kinds.items() if value is not None}
        self.inputs = Node(OUTSIDE, outside, "", shown, {}, "")
        return self.inputs
