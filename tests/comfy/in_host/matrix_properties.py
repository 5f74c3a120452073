"""What the rows of the compatibility matrix may assert of a node: found is what the node led to, plain the same
without it.

A property gives numbers; `holds` among them says whether it is true.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Numbers = dict[str, Any]
_PROPERTIES: dict[str, Callable[..., Numbers]] = {}


def measure(name: str, values: dict[str, Any], given: dict[str, Any]) -> Numbers:
    """The numbers of a property. Raises KeyError for a name that is none."""
    return _PROPERTIES[name](**values, **given)


def _property(function: Callable[..., Numbers]) -> Callable[..., Numbers]:
    _PROPERTIES[function.__name__] = function
    return function


def tensor(value: Any) -> Tensor:
    """The numbers of a LATENT, an IMAGE, SIGMAS or a CONDITIONING."""
    if isinstance(value, dict) and "samples" in value:
        value = value["samples"]
    if isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0][0]
    if isinstance(value, (int, float)):
        value = torch.tensor([float(value)])
    if not isinstance(value, Tensor):
        raise TypeError(f"{type(value).__name__} holds no numbers to measure")
    return value.float()


def _difference(found: Any, plain: Any) -> float:
    """How far apart two are, as a share of the plain one's size; 9 where the shapes differ."""
    found, plain = tensor(found), tensor(plain)
    if found.shape != plain.shape:
        return 9.0
    return float((found - plain).norm() / plain.norm().clamp_min(1e-6))


def _finite(value: Any) -> bool:
    return bool(tensor(value).isfinite().all())


@_property
def changes(found: Any, plain: Any, least: float = 1e-3, most: float = 8.0) -> Numbers:
    """The picture is another one, of the same shape, and finite."""
    difference = _difference(found, plain)
    return {"difference": difference, "holds": _finite(found) and least <= difference <= most}


@_property
def same(found: Any, plain: Any, most: float = 1e-5) -> Numbers:
    """The picture is the plain one."""
    difference = _difference(found, plain)
    return {"difference": difference, "holds": _finite(found) and difference <= most}


@_property
def draws(found: Any, plain: Any = None) -> Numbers:
    """Something finite comes out."""
    return {"shape": list(tensor(found).shape), "holds": _finite(found)}


@_property
def says_something(found: Any, plain: Any = None) -> Numbers:
    """A text comes out."""
    return {"text": str(found), "holds": isinstance(found, str) and bool(found.strip())}


# Geometry: latents are (B, C, h, w), pictures (B, H, W, 3); axes and places are those of what is measured


def _moved(found: Any, wanted: Tensor, plain: Any, most: float) -> Numbers:
    """found is what was wanted, and not the plain one as it was."""
    found = tensor(found)
    if found.shape != wanted.shape:
        return {"shape": list(found.shape), "wanted": list(wanted.shape), "holds": False}
    plain = tensor(plain)
    error = float((found - wanted).abs().mean())
    unmoved = float((found - plain).abs().mean()) if found.shape == plain.shape else float("inf")
    return {"error": error, "unmoved": unmoved, "holds": error <= most and error < unmoved / 2}


@_property
def flipped(found: Any, plain: Any, axis: int, most: float = 1e-6) -> Numbers:
    """Mirrored along an axis."""
    return _moved(found, tensor(plain).flip(axis), plain, most)


@_property
def rotated(found: Any, plain: Any, most: float = 1e-6) -> Numbers:
    """A picture turned by a quarter, clockwise."""
    return _moved(found, tensor(plain).rot90(-1, (1, 2)), plain, most)


@_property
def cropped(found: Any, plain: Any, top: int, left: int, height: int, width: int) -> Numbers:
    """A part of a latent."""
    return _moved(found, tensor(plain)[..., top : top + height, left : left + width], plain, 1e-6)


@_property
def pasted(found: Any, plain: Any, other: Any, top: int, left: int) -> Numbers:
    """The other latent in the plain one, from a place on."""
    wanted, part = tensor(plain).clone(), tensor(other)
    part = part[..., : wanted.shape[-2] - top, : wanted.shape[-1] - left]
    wanted[..., top:, left:] = part
    return _moved(found, wanted, plain, 1e-6)


@_property
def joined(found: Any, plain: Any, other: Any, axis: int) -> Numbers:
    """Both latents, one behind the other along an axis."""
    return _moved(found, torch.cat((tensor(plain), tensor(other)), axis), plain, 1e-6)


@_property
def sized(found: Any, plain: Any, height: int, width: int) -> Numbers:
    """A latent of a size, of the plain one's values."""
    shape, plain = list(tensor(found).shape), tensor(plain)
    near = abs(float(tensor(found).mean() - plain.mean())) <= 0.2 * float(plain.std())
    return {"shape": shape, "holds": shape == [*plain.shape[:2], height, width] and near}


@_property
def batched(found: Any, plain: Any, order: list[int]) -> Numbers:
    """Pictures of the plain batch, in an order."""
    found, wanted = tensor(found), tensor(plain)[order]
    return {"shape": list(found.shape), "holds": found.shape == wanted.shape and bool((found == wanted).all())}


@_property
def alike(found: Any, plain: Any) -> Numbers:
    """The pictures of a batch are one and the same, and without the node they are not."""
    (first, second), (one, another) = tensor(found), tensor(plain)
    within, without = _difference(second, first), _difference(another, one)
    return {"within": within, "without": without, "holds": within <= 1e-4 and without > 1e-2}


# Numbers


@_property
def mixed(found: Any, plain: Any, other: Any, weights: list[float]) -> Numbers:
    """A weighted sum of both."""
    wanted = weights[0] * tensor(plain) + weights[1] * tensor(other)
    error = _difference(found, wanted)
    return {"error": error, "holds": error <= 1e-5}


@_property
def keeps_outside(found: Any, plain: Any, other: Any, most: float = 1e-3) -> Numbers:
    """The left half is drawn anew, the right half is the other latent's."""
    found, other = tensor(found), tensor(other)
    half = other.shape[-1] // 2
    outside = float((found - other)[..., half:].abs().max())
    inside = float((found - other)[..., :half].abs().max())
    return {"outside": outside, "inside": inside, "holds": outside <= most and inside > 10 * max(outside, 1e-3)}


@_property
def passes(found: Any, plain: Any = None) -> Numbers:
    """Whatever comes out."""
    return {"holds": True}
