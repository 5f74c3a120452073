"""What only newer ComfyUIs know of a node's definition, in a way that older ones take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from comfy_api.latest import io

_KNOWN = {field.name for field in fields(io.Schema)}


def schema(*, search_aliases: list[str], **definition: Any) -> io.Schema:
    """A node's definition. `search_aliases` are what people call it who search for it, where the host can search
    by them."""
    if "search_aliases" in _KNOWN:
        definition["search_aliases"] = search_aliases
    return io.Schema(**definition)


def growing_images(name: str, names: Sequence[str], *, tooltip: str) -> list[io.Input]:
    """Sockets for pictures that come one by one as they are wired, where the host has lists that grow; else none. The
    node is given them as one dictionary, by their names."""
    if not hasattr(io, "Autogrow"):
        return []
    template = io.Autogrow.TemplateNames(io.Image.Input("image", optional=True), names=list(names), min=0)
    return [io.Autogrow.Input(name, template=template, optional=True, tooltip=tooltip)]


def prompt_input(name: str, default: str = "", *, tooltip: str | None = None, optional: bool = False) -> io.Input:
    """A text of several lines, in which the editor takes one of `{several|choices}` by chance at each run."""
    return io.String.Input(
        name, multiline=True, dynamic_prompts=True, default=default, tooltip=tooltip, optional=optional
    )


def advanced(given: io.Input) -> io.Input:
    """An input that few need: folded away until it is asked for, at the same place in the order."""
    given.extra_dict["advanced"] = True  # the constructors of older hosts do not take it
    return given
