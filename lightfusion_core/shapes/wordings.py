"""How things are said: every wording, apart for training and held out for evaluation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .world import Background

NUMBERS = ("zero", "one", "two", "three", "four", "five")

PLACES: dict[str, tuple[int, int]] = {
    "on the left side": (-1, 0),
    "on the right side": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
    "in the center": (0, 0),
}
"""Where in the picture, with the third of it that is meant (x, y; -1 the first, 1 the last)."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Templates for one thing to say: some to train on, others to evaluate with."""

    train: tuple[str, ...]
    held: tuple[str, ...]

    def say(self, rng: random.Random, held_out: bool, **words: str) -> str:
        return rng.choice(self.held if held_out else self.train).format(**words)


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

RELATION = {
    "left of": Wording(
        ("left of", "to the left of", "on the left of", "at the left of", "to the left side of", "further left than"),
        ("on the left side of", "to the left of"),
    ),
    "right of": Wording(
        (
            "right of",
            "to the right of",
            "on the right of",
            "at the right of",
            "to the right side of",
            "further right than",
        ),
        ("on the right side of", "to the right of"),
    ),
    "above": Wording(("above", "above", "over", "higher than", "further up than"), ("above",)),
    "below": Wording(("below", "below", "under", "lower than", "further down than"), ("below",)),
}

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

RECOLOR = Wording(
    train=(
        "make {x} {color}",
        "change {x} to {color}",
        "turn {x} {color}",
        "color {x} {color}",
        "paint {x} {color}",
        "recolor {x} to {color}",
        "change the color of {x} to {color}",
        "{x} should be {color} now",
        "give {x} the color {color}",
        "let {x} be {color}",
        "i would like {x} in {color}",
        "set the color of {x} to {color}",
        "{x} becomes {color}",
        "could you make {x} {color}?",
        "have {x} in {color}",
        "switch {x} to {color}",
        "tint {x} {color}",
        "{x} in {color} now",
        "i'd like {x} {color}",
        "{color} for {x}",
        "use {color} for {x}",
        "what if {x} were {color}?",
        "can {x} be {color}?",
        "show {x} in {color}",
        "it would be better with {x} {color}",
    ),
    held=(
        "{x} should be {color}",
        "make the color of {x} {color}",
        "i want {x} to be {color}",
        "please paint {x} in {color}",
    ),
)

REPLACE = Wording(
    train=(
        "replace {x} with {y}",
        "replace {x} by {y}",
        "turn {x} into {y}",
        "change {x} into {y}",
        "change {x} to {y}",
        "swap {x} for {y}",
        "put {y} in place of {x}",
        "draw {y} instead of {x}",
        "make {x} {y}",
        "exchange {x} for {y}",
        "{y} in place of {x}",
        "let {x} become {y}",
        "where {x} is, draw {y}",
        "use {y} instead of {x}",
        "{x} should turn into {y}",
        "could you replace {x} with {y}?",
        "instead of {x}, {y}",
        "instead of {x} i would like {y}",
        "in place of {x} put {y}",
        "rather than {x}, draw {y}",
        "{y} rather than {x}",
        "not {x} but {y}",
        "put {y} where {x} is",
        "{x} should become {y}",
        "take {x} out and put {y} there",
        "swap {x} with {y}",
        "switch {x} for {y}",
        "substitute {y} for {x}",
        "make {y} out of {x}",
        "{x} turns into {y}",
        "i'd rather have {y} than {x}",
        "trade {x} for {y}",
        "{y}, not {x}",
        "can {x} be {y}?",
    ),
    held=(
        "instead of {x} draw {y}",
        "{x} should be replaced with {y}",
        "please turn {x} into {y}",
        "i want {y} in place of {x}",
    ),
)

ADD = Wording(
    train=(
        "add {y}",
        "add {y} to the picture",
        "put {y} in the picture",
        "draw {y} too",
        "also draw {y}",
        "place {y} in the picture",
        "there should be {y} too",
        "insert {y}",
        "include {y}",
        "i would like {y} too",
        "one more object: {y}",
        "could you add {y}?",
        "the same picture with {y} added",
        "let there be {y} as well",
        "there should be {y} as well",
        "there has to be {y} too",
        "the picture should also have {y}",
        "{y} should be there too",
        "in the picture there is also {y}",
        "also {y}",
        "{y} as well",
        "i also need {y}",
        "throw in {y}",
        "give it {y} too",
        "add another object: {y}",
        "i miss {y} in it",
        "{y} belongs in there too",
        "let's add {y}",
        "could there be {y} too?",
        "put in {y}",
        "add {y} somewhere",
        "we also need {y}",
    ),
    held=("please also add {y}", "i want {y} in the picture too", "there should also be {y}"),
)

ADD_BESIDE = Wording(
    train=(
        "add {y} {rel} {x}",
        "put {y} {rel} {x}",
        "draw {y} {rel} {x}",
        "add {y} to the picture, {rel} {x}",
        "{rel} {x} add {y}",
        "insert {y} {rel} {x}",
        "{y} goes {rel} {x}",
        "i would like {y} {rel} {x}",
        "{rel} {x} there should be {y}",
        "could you put {y} {rel} {x}?",
        "{y} should be {rel} {x}",
        "there is also {y} {rel} {x}",
        "i want {y} {rel} {x}",
        "also draw {y} {rel} {x}",
    ),
    held=("place {y} {rel} {x}", "please add {y} {rel} {x}", "there should be {y} {rel} {x}"),
)

REMOVE = Wording(
    train=(
        "remove {x}",
        "delete {x}",
        "erase {x}",
        "take {x} away",
        "take out {x}",
        "get rid of {x}",
        "remove {x} from the picture",
        "i do not want {x}",
        "the picture without {x}",
        "leave out {x}",
        "{x} must go",
        "make {x} disappear",
        "could you remove {x}?",
        "{x} should not be there",
        "the same picture but without {x}",
        "drop {x}",
        "lose {x}",
        "clear {x}",
        "no {x}, please",
        "wipe {x} out",
        "hide {x}",
        "cut {x}",
        "{x} has to go away",
        "could {x} go away?",
        "throw {x} out",
        "i can do without {x}",
    ),
    held=(
        "please take {x} out of the picture",
        "{x} should be removed",
        "please delete {x}",
        "i want the picture without {x}",
    ),
)

MOVE = Wording(
    train=(
        "move {x} {way}",
        "shift {x} {way}",
        "push {x} {way}",
        "move {x} further {way}",
        "put {x} further {way}",
        "{x} should be further {way}",
        "slide {x} {way}",
        "{x} goes {way}",
        "move {x} a bit {way}",
        "let {x} move {way}",
        "could you move {x} {way}?",
        "i would like {x} more {way}",
        "bring {x} further {way}",
        "nudge {x} {way}",
        "drag {x} {way}",
        "place {x} further {way}",
        "send {x} {way}",
        "{x} more {way}",
        "let's have {x} further {way}",
    ),
    held=("please move {x} {way}", "can you shift {x} {way}?", "i want {x} further {way}"),
)

WAY = {"left of": "to the left", "right of": "to the right", "above": "up", "below": "down"}

SET_BACKGROUND = Wording(
    train=(
        "change the background to {bg}",
        "set the background to {bg}",
        "make the background {bg}",
        "turn the background into {bg}",
        "use {bg} as the background",
        "the background should be {bg} now",
        "replace the background with {bg}",
        "paint the background {bg}",
        "a new background: {bg}",
        "could you make the background {bg}?",
        "let the background be {bg}",
        "i would like {bg} as the background",
        "put {bg} behind everything",
        "{bg} as the background",
        "give it {bg} as the background",
        "swap the background for {bg}",
        "background: {bg}",
        "fill the background with {bg}",
        "could the background be {bg}?",
        "i'd like the background {bg}",
        "the background in {bg}",
        "switch the background to {bg}",
    ),
    held=("the background should be {bg}", "i want the background to be {bg}", "please change the background to {bg}"),
)

ONE = Wording(
    train=("the {side} {noun}", "the {side} {noun}", "the {noun} {at}", "the {noun} which stands {at}"),
    held=("the {side} {noun}", "the {noun} that is {at}"),
)

SIDES = {
    "left of": ("left", "on the left"),
    "right of": ("right", "on the right"),
    "above": ("top", "at the top"),
    "below": ("bottom", "at the bottom"),
}
"""A relation to the other of two things as an adjective and as a place."""

REFERENCE = {
    "object_on_background": Wording(
        train=(
            "put the object of the first picture on the background of the second",
            "put the object of the first picture on the background of the second picture",
            "place the object from the first picture on the background from the second picture",
            "draw the object of the first picture on the background of the second picture",
            "the object of the first image on the background of the second image",
            "take the object from the first image and put it on the background of the second image",
            "combine the object of the first picture with the background of the second picture",
            "show the object from the first picture in front of the background from the second",
            "keep the background of the second picture and put the object of the first picture on it",
            "take the object from the first picture and the background from the second",
            "use the object of the first image and the background of the second image",
        ),
        held=(
            "place the object of the first image on the background of the second",
            "use the background of the second picture for the object of the first picture",
            "i want the object from the first picture on the background from the second",
        ),
    ),
    "background_of_first": Wording(
        train=(
            "put the object of the second picture on the background of the first",
            "put the object of the second picture on the background of the first picture",
            "place the object from the second picture on the background from the first picture",
            "draw the object of the second picture on the background of the first picture",
            "the object of the second image on the background of the first image",
            "take the object from the second image and put it on the background of the first image",
            "combine the object of the second picture with the background of the first picture",
            "show the object from the second picture in front of the background from the first",
            "keep the background of the first picture and put the object of the second picture on it",
            "take the object from the second picture and the background from the first",
            "use the object of the second image and the background of the first image",
        ),
        held=(
            "place the object of the second image on the background of the first",
            "use the background of the first picture for the object of the second picture",
            "i want the object from the second picture on the background from the first",
        ),
    ),
    "both_objects": Wording(
        train=(
            "put the objects of both pictures in one picture",
            "draw the objects of both pictures together",
            "the object of the first picture and the object of the second picture together",
            "place the objects from both images in one image",
            "one picture with the object of the first image and the object of the second image",
            "combine the objects of the two pictures",
            "the first object and the second object in one image",
            "put the object from the second picture beside the object from the first picture",
            "show all objects of both images",
            "one image that has both objects",
        ),
        held=(
            "draw both objects in one picture",
            "i want the objects of both images together in one image",
            "show the object of the first picture together with the object of the second picture",
        ),
    ),
}

ASK = {
    "what": Wording(
        train=(
            "what is in the picture?",
            "what is this?",
            "what can you see?",
            "what does the picture show?",
            "which object is in the picture?",
            "say what you see",
            "name what is in the picture",
            "what is it?",
            "which thing do you see?",
            "tell me what this is",
            "what object is shown?",
            "name the object",
            "can you say what is here?",
            "what's in the picture?",
            "what is there?",
            "what's this?",
            "tell me what you see",
            "what have you drawn?",
        ),
        held=("what do you see?", "what can you see in the picture?", "what is shown in the picture?"),
    ),
    "shape": Wording(
        train=(
            "what is {color}?",
            "which object is {color}?",
            "which shape is {color}?",
            "what shape is the {color} object?",
            "what shape is {color}?",
            "name the shape of the {color} object",
            "what is the shape of the {color} object?",
            "say which object is {color}",
            "what kind of shape is {color}?",
            "the {color} object is what shape?",
            "tell me the shape of the {color} object",
            "which shape has the color {color}?",
            "what is the {color} thing?",
        ),
        held=(
            "which shape does the {color} object have?",
            "what is the {color} object?",
            "tell me which shape is {color}",
        ),
    ),
    "beside": Wording(
        train=(
            "what is {rel} {x}?",
            "which object is {rel} {x}?",
            "what can you see {rel} {x}?",
            "name the object {rel} {x}",
            "say what is {rel} {x}",
            "which thing do you see {rel} {x}?",
            "which shape is {rel} {x}?",
            "what stands {rel} {x}?",
            "what do you find {rel} {x}?",
            "tell me which object is {rel} {x}",
            "{rel} {x}, what do you see?",
            "what is shown {rel} {x}?",
            "what is it that you see {rel} {x}?",
            "which object do you find {rel} {x}?",
            "say which object stands {rel} {x}",
            "what do we have {rel} {x}?",
            "{rel} {x}, what is there?",
        ),
        held=("what is there {rel} {x}?", "tell me what is {rel} {x}"),
    ),
    "color": Wording(
        train=(
            "what color is {x}?",
            "which color is {x}?",
            "what is the color of {x}?",
            "which color does {x} have?",
            "tell me what color {x} is",
            "name the color of {x}",
            "say which color {x} has",
            "what color do you see on {x}?",
            "{x} has which color?",
            "can you tell the color of {x}?",
            "in which color is {x}?",
            "how is {x} colored?",
            "{x}: what color?",
            "what's the color of {x}?",
            "color of {x}?",
            "which color did you give {x}?",
            "what color did you use for {x}?",
            "tell me which color {x} has",
            "what is the color that you see on {x}?",
        ),
        held=("tell me the color of {x}", "what color does {x} have?", "which is the color of {x}?"),
    ),
    "count": Wording(
        train=(
            "how many {noun} are there?",
            "how many {noun} are in the picture?",
            "how many {noun} can you see?",
            "count the {noun}",
            "what is the number of {noun}?",
            "how many {noun}?",
            "name the number of {noun}",
            "say how many {noun} you can count",
            "the number of {noun}?",
            "can you count the {noun}?",
            "give the number of {noun}",
            "tell me the number of {noun}",
            "there are how many {noun}?",
            "how many {noun} do you count?",
            "how many {noun} have you drawn?",
            "number of {noun}?",
            "what is the count of {noun}?",
            "how many {noun} exist here?",
        ),
        held=(
            "how many {noun} do you see?",
            "tell me how many {noun} there are",
            "how many {noun} does the picture show?",
        ),
    ),
    "where": Wording(
        train=(
            "where is {x}?",
            "where in the picture is {x}?",
            "where can you see {x}?",
            "in which part of the picture is {x}?",
            "name the place of {x}",
            "say where {x} stands",
            "which part of the picture has {x}?",
            "what is the place of {x}?",
            "where does {x} stand?",
            "at which place do you find {x}?",
            "can you tell where {x} is?",
            "tell me the place of {x}",
            "where should i look for {x}?",
            "where's {x}?",
            "{x}: where?",
            "where did you put {x}?",
            "where did you draw {x}?",
        ),
        held=("tell me where {x} is", "where do you see {x}?"),
    ),
    "where_from": Wording(
        train=(
            "where is {x} seen from {y}?",
            "where is {x} compared to {y}?",
            "seen from {y}, where is {x}?",
            "on which side of {y} is {x}?",
            "say where {x} is, seen from {y}",
            "from {y}, where do you see {x}?",
            "{x} is on which side of {y}?",
            "in which direction from {y} is {x}?",
            "tell me on which side of {y} you see {x}",
            "relative to {y}, where is {x}?",
            "where does {x} stand, compared to {y}?",
            "can you tell where {x} is from {y}?",
            "looking from {y}, where is {x}?",
            "in relation to {y}, where is {x}?",
            "with respect to {y}, where do you see {x}?",
            "measured from {y}, where is {x}?",
            "next to {y}, where does {x} stand?",
            "as seen from {y}, where is {x}?",
            "starting at {y}, where do you find {x}?",
            "where is {x} in relation to {y}?",
            "where do you see {x}, relative to {y}?",
            "say where {x} is, starting from {y}",
            "tell me where {x} is, next to {y}",
        ),
        held=("compared to {y}, where is {x}?", "tell me where {x} is seen from {y}"),
    ),
    "is_there": Wording(
        train=(
            "is there {y}?",
            "is there {y} in the picture?",
            "can you see {y}?",
            "does the picture show {y}?",
            "does the picture have {y}?",
            "do you find {y}?",
            "{y}, yes or no?",
            "is {y} there?",
            "can you find {y}?",
            "tell me if there is {y}",
            "does it show {y}?",
            "is there {y} to see?",
            "do we have {y} here?",
            "do you notice {y}?",
            "is {y} here?",
            "is {y} shown?",
            "can one see {y} in it?",
        ),
        held=("do you see {y}?", "is {y} in the picture?"),
    ),
    "is_color": Wording(
        train=(
            "is {x} {color}?",
            "is the color of {x} {color}?",
            "does {x} have the color {color}?",
            "does {x} look {color}?",
            "do you find that {x} is {color}?",
            "{x} is {color}, yes or no?",
            "has {x} the color {color}?",
            "is {x} really {color}?",
            "tell me if {x} is {color}",
            "would you say that {x} is {color}?",
            "is {color} what you see on {x}?",
            "does one call {x} {color}?",
            "is it right to call {x} {color}?",
            "is {color} what {x} looks like?",
        ),
        held=("is it true that {x} is {color}?", "is {color} the color of {x}?"),
    ),
    "is_beside": Wording(
        train=(
            "is {x} {rel} {y}?",
            "is it true that {x} is {rel} {y}?",
            "can you see {x} {rel} {y}?",
            "does {x} stand {rel} {y}?",
            "do you find {x} {rel} {y}?",
            "{x} is {rel} {y}, yes or no?",
            "is {x} standing {rel} {y}?",
            "tell me if {x} is {rel} {y}",
            "do you find that {x} is {rel} {y}?",
            "is {x} drawn {rel} {y}?",
            "would you say that {x} is {rel} {y}?",
            "do you notice {x} {rel} {y}?",
            "is there {x} {rel} {y}?",
            "is {x} located {rel} {y}?",
            "is {x} put {rel} {y}?",
            "does the picture show {x} {rel} {y}?",
            "is {x} shown {rel} {y}?",
        ),
        held=("do you see {x} {rel} {y}?", "is {x} placed {rel} {y}?"),
    ),
    "is_number": Wording(
        train=(
            "are there {number} {noun}?",
            "can you see {number} {noun}?",
            "does the picture show {number} {noun}?",
            "does the picture have {number} {noun}?",
            "do you find {number} {noun}?",
            "{number} {noun}, yes or no?",
            "is the number of {noun} {number}?",
            "do you count {number} {noun}?",
            "tell me if there are {number} {noun}",
            "are there exactly {number} {noun}?",
            "would you say that there are {number} {noun}?",
            "do you notice {number} {noun}?",
            "are {number} {noun} shown?",
            "are {number} {noun} to be seen?",
        ),
        held=("do you see {number} {noun}?", "are {number} {noun} in the picture?"),
    ),
    "caption": Wording(
        train=(
            "describe the picture",
            "describe this image",
            "what does the whole picture look like?",
            "write a caption",
            "tell me all that is in the picture",
            "describe everything",
            "a caption please",
            "say all that you can see here",
            "what is there to see?",
            "say what is in the picture",
            "what does it look like?",
            "sum up the picture",
        ),
        held=("please describe the picture", "write a caption for this picture", "describe all that you see"),
    ),
}


def article(word: str) -> str:
    """`a` or `an`, as the word that follows needs."""
    return "an" if word[0] in "aeiou" else "a"


def plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")


def noun(shape: str, color: str | None = None, size: str | None = None, count: int = 1) -> str:
    """`a large red circle`, `three red circles`."""
    words = [word for word in (size, color) if word] + [shape if count == 1 else plural(shape)]
    return " ".join([article(words[0]) if count == 1 else NUMBERS[count], *words])


def listing(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def describe_background(background: Background) -> str:
    """What the background is, without an article where it is plain: `light blue`, `vertical light blue stripes`."""
    if background.kind == "plain":
        return background.first
    if background.kind == "stripes":
        return f"{background.axis} {background.first} stripes"
    if background.axis == "vertical":
        return f"a gradient from {background.first} at the top to {background.second} at the bottom"
    return f"a gradient from {background.first} on the left to {background.second} on the right"


def background_phrase(background: Background) -> str:
    """The background as a noun: `a light blue background`, `vertical light blue stripes`."""
    words = describe_background(background)
    return f"a {words} background" if background.kind == "plain" else words


def polish(rng: random.Random, text: str) -> str:
    """Now and then a capital and a full stop, as people write."""
    if rng.random() < 0.2:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.15 and text[-1] not in ".?":
        text += "."
    return text
