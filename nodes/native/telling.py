"""Words for the person that stop nothing."""

from __future__ import annotations

import logging

from comfy_execution.utils import get_executing_context


def tell(text: str) -> None:
    """Warn in the log, and on the node that runs."""
    logging.warning("LightFusion: %s", text)
    context = get_executing_context()
    if context is not None:
        from server import PromptServer  # only a host that runs nodes can import it

        server = PromptServer.instance
        server.send_progress_text(text, context.node_id, server.client_id)
