"""`ask`: an answer, streamed to stdout while it is written."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from dataclasses import asdict

from .console import progress
from .request import describe_model, given, load, picture
from .result import say


def ask(arguments: Namespace) -> int:
    """`lightfusion ask QUESTION [IMAGE ...]`."""
    from ..understanding.answer import Decoding

    decoding = Decoding(**given(arguments, {name: name for name in ("max_tokens", "temperature", "seed")}))
    pictures = [picture(path) for path in arguments.image]
    model, load_seconds = load(arguments)
    start, pieces = time.perf_counter(), []
    # The streamed text shows that something happens; a bar would run into it
    with progress("Answering", decoding.max_tokens, quiet=arguments.quiet or not arguments.json) as bar:
        for piece in model.answer(arguments.prompt, pictures, decoding=decoding, manner=arguments.manner):
            pieces.append(piece)
            bar.advance()
            if not arguments.json:
                say(piece, end="", exact=True)
    asked = {"question": arguments.prompt, "images": arguments.image, "manner": arguments.manner}
    result = {
        "answer": "".join(pieces),
        "seconds": round(time.perf_counter() - start, 3),
        "load_seconds": round(load_seconds, 3),
        "settings": {"command": "ask", **asked, **asdict(decoding), **describe_model(arguments, model)},
    }
    say(json.dumps(result) if arguments.json else "")
    return 0
