"""How a picture is asked for."""

from __future__ import annotations

from .wordings import Wording

FRAME = Wording(
    train=(
        "{x}",
        "{x}",
        "{x}",
        "a picture of {x}",
        "an image of {x}",
        "a photo of {x}",
        "a drawing that shows {x}",
        "a picture with {x}",
        "a picture that shows {x}",
        "draw {x}",
        "please draw {x}",
        "paint {x}",
        "show {x}",
        "generate {x}",
        "make an image of {x}",
        "create a picture of {x}",
        "i want to see {x}",
        "can you show me {x}?",
        "{x}, please",
        "give me {x}",
        "a sketch of {x}",
        "an illustration of {x}",
        "a simple picture of {x}",
        "make {x}",
        "could you paint {x}?",
        "i would like {x}",
        "there is {x}",
        "a drawing with {x}",
        "please show {x} in a picture",
        "an image with {x}",
        "a picture where one sees {x}",
        "let me see {x}",
        "picture of {x}",
        "image of {x}",
        "i'd like a picture of {x}",
        "draw a picture of {x}",
        "could you show {x}?",
        "please paint {x}",
        "display {x}",
        "show a picture of {x}",
        "let there be {x}",
        "drawn: {x}",
    ),
    held=(
        "a drawing of {x}",
        "show me {x}",
        "an image that shows {x}",
        "please make a picture of {x}",
        "can you draw {x}?",
        "i want a picture with {x}",
    ),
)

COLORED = Wording(
    train=("{a} {color} {shape}",) * 6
    + (
        "{a_shape} {shape} in {color}",
        "{a_shape} {shape} that is {color}",
        "one {color} {shape}",
        "{a} {color} colored {shape}",
        "{a_shape} {shape} painted {color}",
        "{a_shape} {shape} which is {color}",
    ),
    held=("{a} {color} {shape}", "{a} {color} {shape}", "{a_shape} {shape} colored {color}"),
)

COUNTED = Wording(
    train=(
        "{x}",
        "{x}",
        "{x}",
        "a group of {x}",
        "exactly {x}",
        "just {x}",
        "a set of {x}",
        "only {x}",
        "{x} in all",
        "{x} and nothing else",
    ),
    held=("{x}", "{x} together"),
)

PAIR = Wording(
    train=(
        "{a} and {b}",
        "{a} and {b}",
        "{a} with {b}",
        "{a} next to {b}",
        "{a} together with {b}",
        "both {a} and {b}",
        "{a} plus {b}",
        "{a} as well as {b}",
        "{a} beside {b}",
        "{a} along with {b}",
    ),
    held=("{a} and {b}", "{a} and also {b}"),
)

SEVERAL = Wording(
    train=(
        "{rest} and {last}",
        "{rest} and {last}",
        "{rest}, and {last}",
        "{rest}, {last}",
        "{rest} together with {last}",
        "{rest} as well as {last}",
        "{rest} plus {last}",
    ),
    held=("{rest} and {last}", "{rest} and also {last}"),
)
"""Three things and more: the first of them with commas between, and the last."""

RELATED = Wording(
    train=(
        "{a} {rel} {b} and {c} {rel2} the {b2}",
        "{a} {rel} {b}, {c} {rel2} the {b2}",
        "{b} with {a} {its} and {c} {its2}",
        "{a} is {rel} {b} and {c} is {rel2} the {b2}",
        "{a} {rel} {b}, and {rel2} the {b2} there is {c}",
        "{b}; {rel} it {a}, {rel2} it {c}",
        "{b} and {a} {rel} it and {c} {rel2} it",
        "{b}. {a} is {rel} it, {c} is {rel2} it",
        "{b} that has {a} {rel} it and {c} {rel2} it",
        "{b}, with {a} {rel} the {b2} and {c} {rel2} the {b2}",
    ),
    held=("{a} {rel} {b} and {c} {rel2} the {b2}", "{b}, {a} {rel} it and {c} {rel2} it"),
)
"""Two things in relation to a third."""

SIZE = {
    "small": Wording(("small", "small", "tiny", "little"), ("small", "little")),
    "medium": Wording(("medium", "medium sized"), ("medium",)),
    "large": Wording(("large", "large", "big", "huge"), ("large", "big")),
}

POSITION = Wording(
    train=(
        "{a} {rel} {b}",
        "{a} {rel} {b}",
        "{a} is {rel} {b}",
        "{a} placed {rel} {b}",
        "{a} that is {rel} {b}",
        "{b} with {a} {its}",
        "{a} which stands {rel} {b}",
        "{rel} {b} there is {a}",
        "{a} drawn {rel} {b}",
        "there is {a} {rel} {b}",
    ),
    held=("{a} {rel} {b}", "{a} standing {rel} {b}", "{a}, {rel} {b}"),
)

PLACE = {
    "on the left side": Wording(
        (
            "on the left side",
            "on the left",
            "at the left",
            "on the left of the picture",
            "at the left of the image",
            "in the left half",
            "near the left edge",
        ),
        ("on the left side of the picture",),
    ),
    "on the right side": Wording(
        (
            "on the right side",
            "on the right",
            "at the right",
            "on the right of the picture",
            "at the right of the image",
            "in the right half",
            "near the right edge",
        ),
        ("on the right side of the picture",),
    ),
    "at the top": Wording(
        ("at the top", "at the top of the picture", "in the top half", "near the top edge", "high up"),
        ("at the top of the image",),
    ),
    "at the bottom": Wording(
        ("at the bottom", "at the bottom of the picture", "in the bottom half", "near the bottom edge", "low down"),
        ("at the bottom of the image",),
    ),
    "in the center": Wording(
        ("in the center", "in the middle", "in the center of the picture", "in the middle of the image"),
        ("in the middle of the picture",),
    ),
}
"""Ways to say where in the picture a thing shall be, by the keys of `PLACES`. Some begin as relations do: what they
mean is decided by what follows."""

ITS = {"left of": "to its left", "right of": "to its right", "above": "above it", "below": "below it"}

BACKGROUND = Wording(
    train=(
        "{x} on {bg}",
        "{x} on {bg}",
        "{x} with {bg}",
        "{x} against {bg}",
        "{bg} with {x}",
        "{x} with {bg} behind",
        "{bg} behind {x}",
        "on {bg}: {x}",
        "{x} drawn on {bg}",
    ),
    held=("{x} in front of {bg}", "{x} on {bg}", "{x}, all on {bg}"),
)
