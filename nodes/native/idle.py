"""Nodes that leave a MODEL as it was where they find no U-Net in it: only the graph knows that they are there."""

from __future__ import annotations

from comfy_execution.graph_utils import is_link

from .running import running_graph

_IDLE = ("UNetSelfAttentionMultiply", "UNetCrossAttentionMultiply", "UNetTemporalAttentionMultiply")


def idle_nodes() -> list[str]:
    """The kinds of such nodes on the MODEL's way to the node that runs."""
    found, seen = [], set()
    graph, waiting = running_graph()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in graph:
            continue
        seen.add(name)
        if graph[name]["class_type"] in _IDLE:
            found.append(graph[name]["class_type"])
        waiting += [
            value[0]
            for key, value in graph[name]["inputs"].items()
            if key.startswith(("model", "guider")) and is_link(value)
        ]
    return found
