"""Samples of every task: text to image here, the others from their own files under one roof.

Every sampler takes a `random.Random` and touches no other state; `held_out=True` uses wordings that training never
sees.
"""

from __future__ import annotations

import random
from dataclasses import replace

from .edits import sample_chain, sample_edit, sample_reference
from .prompt_wordings import BACKGROUND, COLORED, COUNTED, FRAME, ITS, PAIR, PLACE, POSITION, RELATED, SEVERAL, SIZE
from .questions import sample_caption, sample_question
from .samples import (
    CATEGORIES,
    COMPOSITION,
    EDITS,
    GENEVAL,
    QUESTIONS,
    REFERENCES,
    ChainSample,
    EditSample,
    PromptSample,
    QuestionSample,
    ReferenceSample,
    Relation,
    Wanted,
)
from .scenes import (
    RELATIONS,
    compose,
    compose_around,
    compose_related,
    compose_sizes,
    random_background,
    random_things,
    reach,
    usual_thing,
)
from .wordings import PLACES, RELATION, Wording, article, background_phrase, listing, noun, polish
from .world import COLORS, SHAPES, Background, Scene, Thing

__all__ = [
    "CATEGORIES",
    "COMPOSITION",
    "EDITS",
    "GENEVAL",
    "QUESTIONS",
    "REFERENCES",
    "ChainSample",
    "EditSample",
    "PromptSample",
    "QuestionSample",
    "ReferenceSample",
    "Relation",
    "Wanted",
    "acceptance_prompts",
    "sample_caption",
    "sample_chain",
    "sample_edit",
    "sample_prompt",
    "sample_question",
    "sample_reference",
]

_Draft = tuple[str, tuple[Thing, ...], tuple[Wanted, ...], tuple[Relation, ...]]


def sample_prompt(
    rng: random.Random,
    category: str,
    held_out: bool = False,
    background: bool | None = None,
    frame: Wording = FRAME,
) -> PromptSample:
    """A text-to-image prompt, one scene that it describes, and the truth.

    Args:
        rng: where the chance comes from.
        category: one of `CATEGORIES`.
        held_out: use the evaluation's wordings.
        background: whether the prompt names a background. None: by chance when training or for `free`, else not,
            as GenEval's prompts name none. One that is not named is white in the scene.
        frame: what is said around what is to be seen.
    """
    if background is None:
        background = rng.random() < (0.6 if category == "free" else 0.0 if held_out else 0.35)
    text, things, wanted, relations = _DRAFTS[category](rng, held_out)
    chosen = random_background(rng) if background else None
    if chosen is not None:
        text = BACKGROUND.say(rng, held_out, x=text, bg=background_phrase(chosen))
    prompt = polish(rng, frame.say(rng, held_out, x=text))
    return PromptSample(category, prompt, Scene(things, chosen or Background()), wanted, relations, chosen)


def acceptance_prompts() -> list[PromptSample]:
    """The simple set: six colours by five shapes, in two wordings; the scenes show the thing in the middle."""
    return [
        PromptSample(
            "colors",
            template.format(noun(shape, color)),
            Scene((Thing(shape, color, "large", 0.5, 0.5),)),
            (Wanted(1, shape, color),),
        )
        for color in tuple(COLORS)[:6]
        for shape in SHAPES[:5]
        for template in ("{}", "a picture of {}")
    ]


# What a prompt leaves open has a usual answer (colour, size, place), with some play: a small model would otherwise
# spend itself on a lottery of pictures, and draw mixtures of them.


def _sized(
    rng: random.Random, thing: Thing, held_out: bool, sizes: tuple[str, ...] = ("small", "large")
) -> tuple[Thing, str | None]:
    """The thing, now and then of another size than the usual, and then the size to say."""
    if held_out or rng.random() < 0.7:
        return thing, None
    size = rng.choice(sizes)
    return replace(thing, size=size), size


def _colored(rng: random.Random, count: int) -> Thing:
    """A thing of a shape and a colour that the prompt will say."""
    return replace(usual_thing(rng.choice(SHAPES), count), color=rng.choice(tuple(COLORS)))


def _single(rng: random.Random, held_out: bool) -> _Draft:
    thing, size = _sized(rng, usual_thing(rng.choice(SHAPES), 1), held_out)
    return noun(thing.shape, None, size), compose(rng, [thing]), (Wanted(1, thing.shape, None, size),), ()


def _color(rng: random.Random, held_out: bool) -> _Draft:
    thing, size = _sized(rng, _colored(rng, 1), held_out)
    if size:
        text = noun(thing.shape, thing.color, size)
    else:
        text = COLORED.say(
            rng, held_out, a=article(thing.color), a_shape=article(thing.shape), color=thing.color, shape=thing.shape
        )
    return text, compose(rng, [thing]), (Wanted(1, thing.shape, thing.color, size),), ()


def _two_shapes(rng: random.Random) -> list[Thing]:
    return [usual_thing(shape, 2) for shape in rng.sample(SHAPES, 2)]


def _two(rng: random.Random, held_out: bool) -> _Draft:
    things = compose(rng, _two_shapes(rng))
    text = PAIR.say(rng, held_out, a=noun(things[0].shape), b=noun(things[1].shape))
    return text, things, tuple(Wanted(1, thing.shape) for thing in things), ()


def _counting(rng: random.Random, held_out: bool) -> _Draft:
    count = rng.choice((2, 3, 4))
    thing = usual_thing(rng.choice(SHAPES), count)
    color = rng.choice(tuple(COLORS)) if rng.random() < 0.5 else None
    things = compose(rng, [replace(thing, color=color or thing.color)] * count)
    text = COUNTED.say(rng, held_out, x=noun(thing.shape, color, None, count))
    return text, things, (Wanted(count, thing.shape, color),), ()


def _position(rng: random.Random, held_out: bool) -> _Draft:
    name = rng.choice(tuple(RELATIONS))
    first, second = _two_shapes(rng)
    colored = rng.random() < 0.5
    if colored:
        first, second = (replace(thing, color=rng.choice(tuple(COLORS))) for thing in (first, second))
    first, second = compose_related(rng, first, name, second)
    a = noun(first.shape, first.color if colored else None)
    b = noun(second.shape, second.color if colored else None)
    rel = RELATION[name].say(rng, held_out)
    text = POSITION.say(rng, held_out, a=a, b=b, rel=rel, its=ITS[name])
    wanted = tuple(Wanted(1, thing.shape, thing.color if colored else None) for thing in (first, second))
    return text, (first, second), wanted, (Relation(0, name, 1),)


def _attribution(rng: random.Random, held_out: bool) -> _Draft:
    first, second = _two_shapes(rng)
    colors = rng.sample(tuple(COLORS), 2)
    things = compose(rng, [replace(first, color=colors[0]), replace(second, color=colors[1])])
    a, b = (noun(thing.shape, thing.color) for thing in things)
    return PAIR.say(rng, held_out, a=a, b=b), things, tuple(Wanted(1, thing.shape, thing.color) for thing in things), ()


def _several(rng: random.Random, held_out: bool) -> _Draft:
    """Three or four things, each of another shape."""
    shapes = rng.sample(SHAPES, rng.choice((3, 4)))
    colored = rng.random() < 0.7
    usual = [usual_thing(shape, len(shapes)) for shape in shapes]
    colors = rng.sample(tuple(COLORS), len(usual))
    things = compose(
        rng, [replace(thing, color=color) if colored else thing for thing, color in zip(usual, colors, strict=True)]
    )
    nouns = [noun(thing.shape, thing.color if colored else None) for thing in things]
    text = SEVERAL.say(rng, held_out, rest=", ".join(nouns[:-1]), last=nouns[-1])
    return text, things, tuple(Wanted(1, thing.shape, thing.color if colored else None) for thing in things), ()


def _three_related(rng: random.Random, held_out: bool) -> _Draft:
    name, other = rng.sample(tuple(RELATIONS), 2)
    usual = [usual_thing(shape, 3) for shape in rng.sample(SHAPES, 3)]
    colored = rng.random() < 0.5
    if colored:
        usual = [replace(thing, color=rng.choice(tuple(COLORS))) for thing in usual]
    things = compose_around(rng, usual[0], name, usual[1], usual[2], other)
    a, b, c = (noun(thing.shape, thing.color if colored else None) for thing in things)
    rel, rel2 = (RELATION[key].say(rng, held_out) for key in (name, other))
    text = RELATED.say(
        rng, held_out, a=a, b=b, c=c, rel=rel, rel2=rel2, b2=things[1].shape, its=ITS[name], its2=ITS[other]
    )
    wanted = tuple(Wanted(1, thing.shape, thing.color if colored else None) for thing in things)
    return text, things, wanted, (Relation(0, name, 1), Relation(2, other, 1))


def _sizes(rng: random.Random, held_out: bool) -> _Draft:
    """A large and a small thing."""
    sizes = rng.sample(("small", "large"), 2)
    colored = rng.random() < 0.7
    usual = [replace(thing, size=size) for thing, size in zip(_two_shapes(rng), sizes, strict=True)]
    if colored:
        usual = [replace(thing, color=rng.choice(tuple(COLORS))) for thing in usual]
    things = compose_sizes(rng, *usual)
    a, b = (
        noun(thing.shape, thing.color if colored else None, SIZE[thing.size].say(rng, held_out)) for thing in things
    )
    wanted = tuple(Wanted(1, thing.shape, thing.color if colored else None, thing.size) for thing in things)
    return PAIR.say(rng, held_out, a=a, b=b), things, wanted, ()


def _free(rng: random.Random, held_out: bool) -> _Draft:
    if rng.random() < 0.4:
        return _placed(rng, held_out)
    total = rng.choice((1, 2, 2, 3, 3, 4))
    counts: list[int] = []
    while sum(counts) < total:
        counts.append(rng.randint(1, min(2, total - sum(counts))))
    kinds = random_things(rng, len(counts))
    sizes = ("small", "large") if total == 1 else ("small",)
    named = [_sized(rng, replace(kind, size=usual_thing(kind.shape, total).size), False, sizes) for kind in kinds]
    things = compose(rng, [thing for (thing, _), count in zip(named, counts, strict=True) for _ in range(count)])
    wanted = [Wanted(count, kind.shape, kind.color, size) for (kind, size), count in zip(named, counts, strict=True)]
    text = listing([noun(item.shape, item.color, item.size, item.count) for item in wanted])
    return text, things, tuple(wanted), ()


def _placed(rng: random.Random, held_out: bool) -> _Draft:
    """One thing at a named place in the picture."""
    thing, size = _sized(rng, replace(_colored(rng, 1), size="medium"), False)
    place = rng.choice(tuple(PLACES))
    room = reach(thing.size)
    near, far = room, max(room, 0.33)
    spot = {-1: (near, far), 0: (0.42, 0.58), 1: (1 - far, 1 - near)}
    x, y = (rng.uniform(*spot[third]) for third in PLACES[place])
    thing = replace(thing, x=x, y=y)
    text = f"{noun(thing.shape, thing.color, size)} {PLACE[place].say(rng, held_out)}"
    return text, (thing,), (Wanted(1, thing.shape, thing.color, size, place),), ()


_DRAFTS = {
    "single_object": _single,
    "two_objects": _two,
    "counting": _counting,
    "colors": _color,
    "position": _position,
    "color_attribution": _attribution,
    "several_things": _several,
    "three_related": _three_related,
    "sizes": _sizes,
    "free": _free,
}
