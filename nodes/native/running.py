"""The graph that the host executes, and the node of it that runs."""

from __future__ import annotations

from typing import Any

from comfy_execution.utils import get_executing_context


def running_graph() -> tuple[dict[str, Any], list[str]]:
    """The graph that is executed, and the node of it that runs (for a node made by another one, that one)."""
    from server import PromptServer  # only a host that runs nodes can import it

    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is None or server is None:
        return {}, []
    running = [item[2] for item in server.prompt_queue.currently_running.values() if item[1] == context.prompt_id]
    return (running[0] if running else {}), [context.node_id.split(".")[0]]


def running_kind() -> str:
    """The class of the node that runs; empty where none does."""
    graph, running = running_graph()
    return graph[running[0]]["class_type"] if running and running[0] in graph else ""
