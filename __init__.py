"""ComfyUI's entry point: the nodes, the model folder and the frontend files. Nothing else happens here."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
