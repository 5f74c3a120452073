"""The compatibility matrix: one row for each of ComfyUI's nodes that a LightFusion model can be wired to.

`compatibility.yaml` holds the rows. Which ComfyUI has which node is not written there: it is found on a server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("compatibility.yaml")

ACTS, REFUSED, TOLD, FOREIGN = "acts", "refused", "told", "foreign"
VERDICTS = (ACTS, REFUSED, TOLD, FOREIGN)


@dataclass(frozen=True)
class Row:
    """One node.

    Attributes:
        verdict: `acts` as its description says; `refused` with an error of ours that names what to use instead;
            `told`: no effect, and a warning says so; `foreign`: for other kinds of model, and refused.
        text: for artists: what it does here, or what to use instead.
        wired: its inputs, where the kit's are not meant.
        after: graphs that run before, each as {class: inputs}.
        first: what the first slider is set to, whatever its name.
        stands: parts of the kit that stand for what the node would load; it does not run itself.
        wrap: parts of the kit that are made of its first output, "@made".
        into: the consumers behind it; by its outputs' types where empty.
        beside: the plain run's consumer, where it is another.
        shows: the property that holds.
        given: what the property is told.
        says: what the error or the warning says.
        sampling: widgets of the consumers.
        against: what the plain run has in place of parts of the kit.
        replaces: which output stands for which part of the kit, where the types do not say.
        then: parts of the kit for a second graph, which reads what the first has saved.
        out: the output that is measured where there is no consumer.
    """

    node: str
    group: str
    verdict: str
    text: str
    wired: dict[str, Any] = field(default_factory=dict)
    after: tuple[dict[str, Any], ...] = ()
    first: float | None = None
    stands: dict[str, Any] = field(default_factory=dict)
    wrap: dict[str, Any] = field(default_factory=dict)
    into: tuple[str, ...] = ()
    beside: str = ""
    shows: str = "changes"
    given: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    against: dict[str, Any] = field(default_factory=dict)
    replaces: dict[str, int] = field(default_factory=dict)
    then: dict[str, Any] = field(default_factory=dict)
    out: int = 0

    @classmethod
    def unsorted(cls, node: str) -> Row:
        """A row for a look at a node that has none."""
        return cls(node, "", ACTS, "", given={"least": 0, "most": 1e9})


def read(file: Path = FILE) -> dict[str, Row]:
    """The rows by node."""
    rows = {}
    for group, nodes in yaml.safe_load(file.read_text(encoding="utf-8")).items():
        for name, said in nodes.items():
            rows[name] = _row(name, group, said)
    return rows


def _row(name: str, group: str, said: dict[str, Any]) -> Row:
    ((verdict, text),) = [(key, value) for key, value in said.items() if key in VERDICTS]
    rest = {("wired" if key == "with" else key): value for key, value in said.items() if key != verdict}
    into = rest.pop("into", ())
    return Row(name, group, verdict, text, into=(into,) if isinstance(into, str) else tuple(into), **rest)
