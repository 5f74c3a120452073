"""`chat`: a conversation in the terminal, or through a pipe."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, LightFusionError
from .console import complain, progress, visible
from .draw import steps_of, watcher
from .inline import Inline
from .prompt_line import lines
from .request import Drawing, load, picture
from .result import say

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..conversation import Conversation, Turn
    from ..pipeline import LightFusion
    from ..sampling.solvers import OnStep

_HELP = """\
Write what to draw, to change or to ask: a model that was trained to tell finds out which. Or say it:
  /draw TEXT, /edit TEXT, /ask TEXT
  /image FILE    take a picture along with what is said next
  /undo          go back before the last turn; nothing is lost
  /go N          go on from turn N
  /redo [SEED]   make the last turn again with another seed
  /seed N        the seed of what is said next
  /save FOLDER   write the conversation there, and every turn from then on
  /open FOLDER   go on with one that was saved
  /help, /quit
A line that ends in \\ goes on in the next one; so does one at Alt and Enter."""

COMMANDS = {
    **dict.fromkeys(("/draw", "/edit", "/ask", "/undo", "/go", "/redo", "/seed", "/help", "/quit"), False),
    **dict.fromkeys(("/image", "/save", "/open"), True),
}
"""What a line may begin with, and whether the name of a file follows."""

_KINDS = {"/draw": "draw", "/edit": "edit", "/ask": "answer"}


@dataclass
class _Session:
    """A conversation, the folder that it is kept in, the terminal, and pictures for the next turn."""

    arguments: Namespace
    talk: Conversation
    folder: Path
    terminal: Inline
    given: list[Image] = field(default_factory=list)


def chat(arguments: Namespace) -> int:
    """`lightfusion chat [FOLDER]`. Through a pipe the exit code is 1 where a line could not be done."""
    from ..conversation_files import LIST

    drawing = Drawing(arguments)
    model, _ = load(arguments)
    folder = _new_folder() if arguments.folder is None else Path(arguments.folder)
    session = _Session(arguments, _begun(arguments, drawing, model), folder, Inline())
    if (folder / LIST).exists():
        _open(session, folder)
    asks, failed = sys.stdin.isatty(), False
    if asks and not arguments.json:
        say(f"This is {model.config.name}. /help says what can be said; the conversation is kept in {folder}.")
    for line in lines(folder.parent / ".lightfusion_chat", COMMANDS):
        if line == "/quit":
            break
        try:
            _do(session, line)
        except LightFusionError as error:
            failed = True
            complain(f"error: {error}")
        except KeyboardInterrupt:
            if not asks:
                raise
            complain("cancelled")
    return int(failed and not asks)


def _begun(arguments: Namespace, drawing: Drawing, model: LightFusion) -> Conversation:
    from ..conversation import Conversation, Settings
    from ..understanding.answer import Decoding

    settings = Settings(
        drawing.sampling(model.config), drawing.guidance(model.config), arguments.width, arguments.height,
        arguments.keep, Decoding(),
    )  # fmt: skip
    return Conversation(model, settings, arguments.seed)


def _new_folder() -> Path:
    return next(folder for number in count(1) if not (folder := Path("output", f"chat-{number}")).exists())


def _do(session: _Session, line: str) -> None:
    """What one line asks for.

    Raises:
        InputError: a command that is not known, or what it is given.
    """
    talk = session.talk
    command, _, text = line.partition(" ") if line.startswith("/") else ("", "", line)
    text = text.strip()
    match command:
        case "" | "/draw" | "/edit" | "/ask":
            _say(session, text, _KINDS.get(command))
        case "/image":
            session.given.append(picture(text))
        case "/undo":
            undone = talk.undo()
            _tell(session, "Nothing is left to undo." if undone is None else f"Back before turn {undone.number}.")
            _save(session)
        case "/go":
            talk.go_to(_number(text))
            _save(session)
        case "/redo":
            with _drawing(session, talk.path[-1].kind if talk.path else "") as on_step:
                turn = talk.redo(_number(text) if text else None, on_step=on_step)
            _show(session, turn)
        case "/seed":
            talk.seed = _number(text)
        case "/save":
            talk.save(text or session.folder)
            session.folder = Path(text or session.folder)
            _tell(session, f"Kept in {session.folder}.")
        case "/open":
            _open(session, Path(text))
        case "/help":
            _tell(session, _HELP)
        case _:
            raise InputError(f"There is no command {command}: /help says which there are.")


def _say(session: _Session, text: str, kind: str | None) -> None:
    if kind is None:
        found = session.talk.kinds_of(text, session.given)
        kind = max(found, key=lambda one: found[one])
        _tell(session, f"({kind})")
    with _drawing(session, kind) as on_step:
        turn = session.talk.say(text, session.given, kind=kind, on_step=on_step)
    session.given.clear()
    _show(session, turn)


@contextmanager
def _drawing(session: _Session, kind: str) -> Iterator[OnStep]:
    """A bar for what is drawn; gives what moves it."""
    sampling = session.talk.settings.sampling
    assert sampling is not None  # a chat always says
    with progress("Reading", steps_of(sampling), quiet=session.arguments.quiet or kind == "answer") as bar:
        yield watcher(bar, sampling)


def _show(session: _Session, turn: Turn) -> None:
    """Save the turn, and say what came of it."""
    from ..conversation_files import picture_name

    _save(session)
    file = None if turn.picture is None else str(session.folder / picture_name(turn))
    if session.arguments.json:
        told = {"turn": turn.number, "kind": turn.kind, "text": turn.text, "picture": file, "answer": turn.answer}
        say(json.dumps({**told, "settings": dict(turn.settings)}))
    else:
        if file is not None:
            session.terminal.show(Path(file))
        say(file or turn.answer or "", exact=True)


def _save(session: _Session) -> None:
    if session.talk.turns:
        session.talk.save(session.folder)


def _open(session: _Session, folder: Path) -> None:
    from ..conversation import Conversation

    opened = Conversation.load(folder, session.talk.model, other_model=session.arguments.other_model)
    opened.settings = session.talk.settings
    session.talk, session.folder = opened, folder
    _tell(session, f"{len(opened.turns)} turns; at turn {opened.head}.")


def _tell(session: _Session, text: str) -> None:
    if not session.arguments.json:
        print(visible(text), file=sys.stderr)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"A number is needed, found {text!r}.")
    return int(text)
