"""How people talk in a conversation about pictures: what goes around a request, what leans on the turn before, and what
is not of this world. Apart for training and held out for evaluation, as in `wordings.py`."""

from __future__ import annotations

from .wordings import Wording

ASK_TO_DRAW = Wording(
    train=(
        "now draw {x}",
        "next, {x}",
        "a new picture: {x}",
        "a new image of {x}",
        "a new picture with {x}",
        "now a picture of {x}",
        "let us start over: {x}",
        "start again with {x}",
        "i would rather see {x}",
        "draw me {x}",
        "can i get {x}?",
        "how about {x}?",
        "could we have a picture of {x}?",
        "let's see {x}",
        "sketch {x}",
        "imagine {x}",
        "produce a picture of {x}",
        "render {x}",
        "design a picture with {x}",
        "depict {x}",
        "illustrate {x}",
        "another picture, this time with {x}",
        "something else: {x}",
        "i need {x}",
        "i need an image of {x}",
        "would you draw {x}?",
        "try {x}",
        "new image: {x}",
        "begin with {x}",
        "create {x}",
        "give me a drawing of {x}",
        "show {x} to me",
        "and now {x}",
        "now {x}",
        "ok, now show {x}",
        "can you make {x}?",
        "i'd like to see {x}",
        "could you create an image with {x}?",
        "will you paint {x} for me?",
        "hello, draw {x}",
        "forget that. draw {x}",
        "leave this. i want to see {x}",
        "a fresh picture of {x} please",
        "what would {x} look like?",
        "do you know how to draw {x}? do it",
        "i am thinking of {x}",
        "my wish is {x}",
        "put {x} on an empty page",
        "{x}. draw that",
        "{x}, drawn by you",
        "picture {x}",
        "an empty page with {x}",
    ),
    held=(
        "now i want to see {x}",
        "please create {x}",
        "let's start with {x}",
        "could you sketch {x}?",
        "make me a picture of {x}",
        "can you generate {x}?",
        "next, draw {x}",
        "i would love a picture of {x}",
        "another one: {x}",
        "would you please make an image of {x}?",
    ),
)
"""Wishes for a new picture, after other turns too."""

ASK_TO_EDIT = Wording(
    train=(
        "now {e}",
        "then {e}",
        "{e}, please",
        "can you {e}?",
        "i would like you to {e}",
        "next, {e}",
        "ok, {e}",
        "and {e}",
        "but {e}",
        "wait, {e}",
        "now please {e}",
        "well, {e}",
        "could you {e} for me?",
        "would you {e}?",
        "you should {e}",
        "it would be nice to {e}",
        "change one thing: {e}",
        "edit the picture: {e}",
        "in this picture, {e}",
        "let us {e}",
        "i want you to {e}",
        "one change: {e}",
        "the next step: {e}",
        "hello, {e}",
        "thanks. now {e}",
        "good. {e}",
        "is it possible to {e}? do it",
        "my wish: {e}",
    ),
    held=(
        "please {e} now",
        "great, now {e}",
        "could you please {e}?",
        "i need you to {e}",
        "in the picture, {e}",
        "after that, {e}",
    ),
)
"""Around an edit that begins with its verb."""

ELLIPTIC_EDIT = Wording(
    train=(
        "{x} in {color} instead",
        "{x} in {color} please",
        "{color} instead of {old} for {x}",
        "not {old}, {color}",
        "i meant {color}, not {old}",
        "rather {color}",
        "better in {color}",
        "with {bg} instead",
        "the same with {bg}",
        "same picture but on {bg}",
        "put it on {bg}",
        "the background in {bgc} please",
        "without {x}",
        "without {x} please",
        "no {x} any more",
        "with {y} too",
        "with {y} added",
        "{y} too please",
        "another object: {y}",
        "one more: {y}",
        "plus {y}",
        "{x} bigger",
        "make {x} bigger",
        "make {x} smaller",
        "{x} is too small, make it larger",
        "a bit further {way}",
        "more {way}",
        "{x} belongs further {way}",
        "the other way round: {x} should be {color}",
        "why is {x} {old}? make it {color}",
        "{x} has to go",
        "i don't like {x}",
        "i don't like the color of {x}",
        "i would prefer {x} in {color}",
        "it needs {y}",
        "something is missing: {y}",
        "that background is ugly, take {bg}",
    ),
    held=(
        "i'd prefer {x} to be {color}",
        "{x}, but {color}",
        "now without {x}",
        "and {y} as well",
        "the same picture on {bg}",
        "{x} needs to be further {way}",
        "actually, {color} would be better for {x}",
    ),
)
"""Edits in few words, as they are said of a picture that was just drawn."""

BEYOND = Wording(
    train=(
        "continue the picture", "extend the picture", "make the picture wider", "go on with the background",
        "continue the background", "more of the same background", "extend the background", "nothing else",
        "more room beside it", "a wider picture", "fill the edge with the background", "leave the rest empty",
        "the same picture with more room",
    ),
    held=("please extend the picture", "widen the picture", "just continue the background"),
)  # fmt: skip
"""To draw beyond a picture's edges with nothing new there."""

ASK_TO_ANSWER = Wording(
    train=(
        "{q}",
        "{q}",
        "{q}",
        "and {q}",
        "now tell me: {q}",
        "one question: {q}",
        "i want to know: {q}",
        "so, {q}",
        "ok, {q}",
        "but {q}",
        "a question: {q}",
        "{q} i wonder",
        "look at the picture: {q}",
        "in this picture, {q}",
        "hello, {q}",
        "thanks. {q}",
        "good. {q}",
        "answer this: {q}",
        "let me ask: {q}",
    ),
    held=("{q}", "{q}", "and now, {q}", "can you answer this: {q}", "well then, {q}"),
)
"""Around a question."""

AND_THAT = Wording(
    train=(
        "and {y}?",
        "what about {y}?",
        "and what about {y}?",
        "{y} too?",
        "the same for {y}?",
        "and of {y}?",
        "and {y}, then?",
        "now {y}?",
        "say the same of {y}",
        "then what about {y}?",
    ),
    held=("how about {y}?", "and how about {y}?", "and what of {y}?"),
)
"""The question before, asked of another thing."""

FOLLOW: dict[str, Wording] = {
    "color": Wording(
        train=(
            "and what color is it?",
            "what color is it?",
            "and its color?",
            "which color is it?",
            "and in which color?",
            "what about its color?",
            "and which color does it have?",
            "what is its color?",
            "and how is it colored?",
            "its color?",
            "name its color",
            "which color is that one?",
            "can you say which color it has?",
            "what color is that?",
        ),
        held=("and what color does it have?", "tell me its color", "and the color of it?"),
    ),
    "colors": Wording(
        train=(
            "and which color?",
            "and what color are they?",
            "which color are they?",
            "what color do they have?",
            "and their color?",
            "in which color?",
            "what is their color?",
            "and how are they colored?",
            "name their color",
        ),
        held=("and what color do they have?", "tell me their color", "and of which color?"),
    ),
    "shape": Wording(
        train=(
            "and what is it?",
            "and which shape is it?",
            "what shape is it?",
            "and its shape?",
            "which shape does it have?",
            "what kind of shape is it?",
            "what is its shape?",
            "name its shape", "say which shape it is", "and of which shape is it?", "the shape?",
            "what shape is that?", "and what does it look like?", "can you say which shape it has?"),
        held=("and what shape does it have?", "tell me its shape", "and the shape of it?"),
    ),
    "where": Wording(
        train=(
            "and where is it?",
            "where is it?",
            "where does it stand?",
            "and where in the picture?",
            "in which part of the picture is it?",
            "where can i find it?",
            "and its place?",
            "where should i look for it?",
            "what is its place?",
            "say where it is",
            "and where?", "say where that is", "in what place is it?", "and on which side is it?", "and its position?"),
        held=("tell me where it is", "and where do you see it?", "and whereabouts is it?"),
    ),
    "where_from": Wording(
        train=(
            "and where is it seen from {y}?",
            "where is it compared to {y}?",
            "on which side of {y} is it?",
            "and where is it from {y}?",
            "seen from {y}, where is it?",
            "where does it stand relative to {y}?",
            "in which direction from {y} is it?",
        ),
        held=("compared to {y}, where is it?", "tell me where it is seen from {y}"),
    ),
    "beside": Wording(
        train=(
            "and what is {rel} it?",
            "what is {rel} it?",
            "which object is {rel} it?",
            "and which object do you see {rel} it?",
            "name the object {rel} it",
            "what do you find {rel} it?",
            "{rel} it, what do you see?",
            "and what stands {rel} it?", "say what is {rel} it", "what else is {rel} it?",
            "what can be seen {rel} it?", "and {rel} it?", "which one is {rel} it?"),
        held=("what is there {rel} it?", "tell me what is {rel} it"),
    ),
    "is_color": Wording(
        train=("is it {color}?", "and is it {color}?", "does it have the color {color}?", "{color}, is it?",
               "would you call it {color}?", "has it the color {color}?"),
        held=("is {color} its color?", "is it true that it is {color}?"),
    ),
    "is_beside": Wording(
        train=("is it {rel} {y}?", "and is it {rel} {y}?", "does it stand {rel} {y}?", "do you find it {rel} {y}?",
               "{rel} {y}, is it?", "is it drawn {rel} {y}?"),
        held=("do you see it {rel} {y}?", "is it true that it is {rel} {y}?"),
    ),
    "color_now": Wording(
        train=("what color is {x} now?", "and now, what color is {x}?", "which color does {x} have now?",
               "what color did {x} get?", "what color is {x} after that?", "and {x} now is of what color?",
               "say which color {x} has now", "of what color is {x} now?", "{x}: what color is it now?",
               "remind me what color {x} is now", "and which color is {x} by now?"),
        held=("so what color is {x} now?", "tell me the color that {x} has now"),
    ),
    "color_before": Wording(
        train=("what color was {x} before?", "which color did {x} have before?", "and before, what color was {x}?",
               "what color did {x} have at first?", "what was the color of {x} before that?",
               "what color had {x} before the change?", "say which color {x} had before",
               "{x}: of what color was it before?", "of what color was {x} at first?", "remind me what color {x} was",
               "what color did {x} have until then?", "which color was {x}, before you changed it?",
               "name the color of {x} before that"),
        held=("what color used {x} to be?", "tell me the color that {x} had before"),
    ),
    "added": Wording(
        train=("what did you add?", "which object did you add?", "what is new?", "what was added?",
               "name what was added", "which object is new?", "what came to the picture?", "say what you added",
               "what did you put in?", "what has been added?", "remind me what you put in", "which one came new?",
               "which object has been put in?"),
        held=("what is it that you added?", "tell me what was added", "which thing did you add?"),
    ),
    "removed": Wording(
        train=("what did you remove?", "which object did you remove?", "what is gone?", "what was removed?",
               "name what was removed", "which object is gone?", "what was there before?", "say what you removed",
               "what did you take away?", "what has been removed?", "remind me what you took out",
               "which one did you take away?", "what is missing now?", "what is not there any more?",
               "which object has been taken out?"),
        held=("what is it that you removed?", "tell me what was removed", "which thing did you remove?"),
    ),
    "still_there": Wording(
        train=("is {y} still there?", "is there still {y}?", "do you still see {y}?", "can you still find {y}?",
               "is {y} there now?", "do we still have {y}?", "is {y} in it now?", "can {y} still be seen?",
               "is {y} still to be seen?", "{y}: is it still there?", "does the picture still have {y}?",
               "do you see {y} even now?", "has it still got {y}?"),
        held=("does it still show {y}?", "is {y} still in the picture?"),
    ),
    "count_now": Wording(
        train=("how many objects are there now?", "and how many objects now?", "how many objects do you count now?",
               "how many things are there now?", "what is the number of objects now?",
               "say how many objects there are now", "by now, how many objects?", "what is the count now?",
               "how many of them are there by now?"),
        held=("so how many objects are there now?", "tell me how many objects are left"),
    ),
    "count": Wording(
        train=("how many are there?", "and how many?", "how many of them?", "how many are they?",
               "how many can you see?", "and how many are there?", "how many is that?", "how many things are there?",
               "what is their number?", "count them"),
        held=("how many do you see?", "and how many of them are there?", "tell me how many there are"),
    ),
    "first_picture": Wording(
        train=("what was in the first picture?", "what did the first picture show?", "what was there at first?",
               "describe the first picture", "name what the first picture showed",
               "say what the first picture showed", "what did you draw first?",
               "what did the first picture have in it?", "remind me of the first picture",
               "which objects were in the first picture?", "what had we in the first picture?",
               "the first picture: what was in it?", "what did we see in the first picture?"),
        held=("what could be seen in the first picture?", "tell me what was in the first picture"),
    ),
}  # fmt: skip
"""Questions that lean on what was said or drawn before: "it" is the thing that the turn before spoke of."""

GREETING = Wording(
    train=("hello", "hi", "hi there", "good morning", "hey", "good evening", "hello there", "hello nano", "hey you"),
    held=("good day", "hi nano", "hello to you"),
)
THANKS = Wording(
    train=("thanks", "thank you", "thank you very much", "nice", "well done", "great", "that is good", "many thanks",
           "very nice", "good", "i like it", "wonderful", "perfect", "beautiful picture"),
    held=("thanks a lot", "that looks good", "great work"),
)  # fmt: skip
STRANGE = Wording(
    train=(
        "what is the capital of {o}?", "who are you?", "who is {o}?", "how old are you?", "what is your name?",
        "what is a {o}?", "tell me about {o}", "tell me a joke", "write a poem about a {o}", "do you like {o}?",
        "why is the {o} so big?", "when was {o} born?", "how does a {o} work?", "what time is it?",
        "what is two plus two?", "how far is the {o}?", "can you help me?", "what can you do?",
        "which {o} is the best?", "where do you live?", "is the {o} real?", "are you a {o}?", "how much is a {o}?",
        "explain {o} to me", "sing a song", "translate {o}", "what do you think of {o}?", "who made you?",
        "i am tired", "my {o} is ill", "the weather is fine", "where can i buy a {o}?", "do you know {o}?",
        "what does {o} mean?", "why?", "how so?", "who won?", "how do i get to the {o}?", "say something",
        "what is {o}?",
    ),
    held=(
        "what is the meaning of life?", "how is the weather today?", "who invented the {o}?", "do you have a {o}?",
        "tell me a story about a {o}", "what is the largest {o} in the world?", "are you a human?", "how tall is {o}?",
        "when does the {o} open?", "how are you?", "why is a {o} so expensive?",
    ),
)  # fmt: skip
"""What asks for an answer that nano does not have; {o} is something of another world."""

OTHERWORLDLY = Wording(
    train=(
        "cat", "dog", "house", "tree", "car", "horse", "bird", "fish", "boat", "mountain", "flower", "robot", "dragon",
        "castle", "city", "woman", "man", "child", "computer", "chair", "table", "bicycle", "train", "moon", "river",
        "forest", "king", "bridge", "apple", "banana", "pizza", "lamp", "book", "cup", "clock", "guitar", "elephant",
        "spaceship", "wizard", "beach", "france", "music", "love", "football", "money", "school", "doctor",
    ),
    held=("lion", "sun", "teapot", "tiger", "airplane", "queen", "garden", "phone", "berlin", "history", "hat", "bear"),
)  # fmt: skip

HELLO = "hello, what shall i draw?"
WELCOME = "you are welcome"
UNKNOWN = "i know only shapes and their colors"
"""What nano answers to a question that is not of its world."""
NO_PICTURE = "there is no picture yet"
