"""Nodes that leave a MODEL as it was where they find no U-Net in it: only the graph knows that they are there."""

from __future__ import annotations

from typing import Any

from comfy_execution.graph_utils import is_link
from comfy_execution.utils import get_executing_context

_IDLE = ("UNetSelfAttentionMultiply", "UNetCrossAttentionMultiply", "UNetTemporalAttentionMultiply")


def idle_nodes() -> list[str]:
    """The kinds of such nodes on the MODEL's way to the node that runs."""
    found, seen = [], set()
    graph, waiting = _running_graph()
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


def _running_graph() -> tuple[dict[str, Any], list[str]]:
    """The graph that is executed, and the node of it that runs (for a node made by another one, that one)."""
    from server import PromptServer  # only a host that runs nodes can import it

    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is None or server is None:
        return {}, []
    running = [item[2] for item in server.prompt_queue.currently_running.values() if item[1] == context.prompt_id]
    return (running[0] if running else {}), [context.node_id.split(".")[0]]
