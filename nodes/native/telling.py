"""Words for the person that stop nothing."""

from __future__ import annotations

import logging

from comfy_execution.utils import get_executing_context

_told: set[str] = set()
"""The nodes that show a text of ours."""


def tell(text: str) -> None:
    """Warn in the log, and on the node that runs."""
    logging.warning("LightFusion: %s", text)
    _show(text)


def inform(text: str) -> None:
    """Say what went as it was asked for: in the log, and on the node that runs unless a warning stands there."""
    logging.info("LightFusion: %s", text)
    context = get_executing_context()
    if context is not None and context.node_id not in _told:
        _show(text)


def take_back() -> None:
    """Clear what an earlier run of the node that runs has told; the editor would keep it for ever."""
    context = get_executing_context()
    if context is not None and context.node_id in _told:
        _show("")


def _show(text: str) -> None:
    context = get_executing_context()
    if context is None:
        return
    from server import PromptServer  # only a host that runs nodes can import it

    server = PromptServer.instance
    server.send_progress_text(text, context.node_id, server.client_id)
    (_told.add if text else _told.discard)(context.node_id)
