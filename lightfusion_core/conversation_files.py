"""Conversations as folders that a person can read: conversation.json, and a PNG for every picture.

The pictures are written first, each whole or not at all, then the list of turns in one step: what stands in it is
there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from .conversation import KINDS, Conversation, Turn
from .documents import read_document
from .errors import InputError, LightFusionError
from .picture_files import load_image, save_png
from .texts import parse_json, reason, shortened
from .unfinished import unfinished

if TYPE_CHECKING:
    from PIL.Image import Image

    from .pipeline import LightFusion

__all__ = ["LIST", "load", "picture_name", "save"]

LIST = "conversation.json"
_FORMAT, _VERSION = "lightfusion conversation", 1
_FIELDS = {
    "parent": int, "text": str, "given": list, "picture": str | None, "answer": str | None, "settings": dict,
    "kinds": dict | None,
}  # fmt: skip
"""What a turn consists of, beside its number and kind."""


def save(talk: Conversation, folder: str | Path) -> Path:
    """Write a conversation into a folder, which may hold an earlier state of it; gives the list's path.

    Raises:
        InputError: the folder holds another conversation, or cannot be written.
    """
    folder = Path(folder)
    written = [_as_json(turn) for turn in talk.turns]
    there = 0
    if (folder / LIST).exists():
        earlier = _listed(folder)["turns"]
        there = len(earlier)
        if earlier != written[:there]:
            raise InputError(f"{folder}: expected a new folder or this conversation's own, found another conversation; "
                             "save to another folder.")  # fmt: skip
    for turn in talk.turns[there:]:
        for name, picture in _files(turn).items():
            save_png(picture, folder / name, {"prompt": turn.text, "command": turn.kind, **turn.settings})
    listed = {
        "format": _FORMAT, "version": _VERSION, "model": talk.model.config.name, "seed": talk.seed, "head": talk.head,
        "turns": written,
    }  # fmt: skip
    _replace(folder / LIST, json.dumps(listed, indent=1, ensure_ascii=False) + "\n")
    return folder / LIST


def load(folder: str | Path, model: LightFusion, *, other_model: bool = False) -> Conversation:
    """A conversation out of a folder.

    Args:
        other_model: go on with this model though another one had the conversation.

    Raises:
        InputError: no conversation, one that is damaged or incomplete, or one with another model.
    """
    folder = Path(folder)
    listed = _listed(folder)
    if listed["model"] != model.config.name and not other_model:
        raise InputError(
            f"{folder}: expected a conversation with {model.config.name}, found one with {shortened(listed['model'])}; "
            "load that model, or say that another one goes on with it (other_model, --other-model)."
        )
    talk = Conversation(model, seed=listed["seed"])
    talk._turns += [_turn(folder, number, one) for number, one in enumerate(listed["turns"], 1)]
    talk.go_to(listed["head"])
    return talk


def picture_name(turn: Turn) -> str:
    """The file in the folder that holds what a turn drew."""
    return f"turn-{turn.number:03}.png"


def _listed(folder: Path) -> dict[str, Any]:
    """The list of a folder's turns, of the right form."""
    file = folder / LIST
    try:
        listed = parse_json(read_document(file))
    except (OSError, LightFusionError) as error:
        raise InputError(
            f"{folder}: expected a conversation's folder with {LIST}, found: {reason(error)}; give the folder "
            "that it was saved to."
        ) from None
    except ValueError:
        raise _damaged(file, "it is no whole JSON") from None
    if not isinstance(listed, dict) or listed.get("format") != _FORMAT:
        raise InputError(f"{file}: expected a conversation, found other JSON; give the folder that one was saved to.")
    if listed.get("version") != _VERSION:
        raise InputError(
            f"{file}: expected version {_VERSION} of a conversation, found {shortened(listed.get('version'))}; read it "
            "with the version that wrote it."
        )
    turns, head, seed = listed.get("turns"), listed.get("head"), listed.get("seed")
    if not isinstance(turns, list) or not _is_number(seed) or not isinstance(listed.get("model"), str):
        raise _damaged(file, "it lacks its turns, its seed or its model")
    if not _is_number(head) or not 0 <= head <= len(turns):
        raise _damaged(file, f"it stands at turn {shortened(head)} of {len(turns)}")
    return listed


def _turn(folder: Path, number: int, data: Any) -> Turn:
    file = folder / LIST
    if not isinstance(data, dict) or data.get("number") != number or data.get("kind") not in KINDS:
        raise _damaged(file, f"its turn {number} is none")
    right = all(isinstance(data.get(name), kind) for name, kind in _FIELDS.items())
    if not right or not 0 <= data["parent"] < number:
        raise _damaged(file, f"its turn {number} lacks what it was made of")
    given = tuple(_picture(folder, name) for name in data["given"])
    picture = None if data["picture"] is None else _picture(folder, data["picture"])
    return Turn(
        number, data["parent"], data["kind"], data["text"], given, picture, data["answer"], data["settings"],
        data["kinds"],
    )  # fmt: skip


def _picture(folder: Path, name: Any) -> Image:
    """A picture of the folder's own. Raises InputError for one that is missing or damaged."""
    if not isinstance(name, str) or Path(name).name != name:
        raise _damaged(folder / LIST, f"it names a picture {shortened(name)}, which is no file of this folder")
    return load_image(folder / name)


def _damaged(file: Path, what: str) -> InputError:
    return InputError(f"{file}: expected a whole conversation, found it damaged ({what}); copy or save it again.")


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _files(turn: Turn) -> dict[str, Image]:
    """A turn's pictures by their files' names."""
    files = {f"turn-{turn.number:03}-given-{k}.png": picture for k, picture in enumerate(turn.given, 1)}
    return files if turn.picture is None else {**files, picture_name(turn): turn.picture}


def _as_json(turn: Turn) -> dict[str, Any]:
    names = list(_files(turn))
    made = {
        "number": turn.number, "parent": turn.parent, "kind": turn.kind, "text": turn.text,
        "given": names[: len(turn.given)], "picture": None if turn.picture is None else names[-1],
        "answer": turn.answer, "settings": turn.settings, "kinds": turn.kinds,
    }  # fmt: skip
    return parse_json(json.dumps(made, default=_plain))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _replace(file: Path, text: str) -> None:
    try:
        with unfinished(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{file}: expected a place to save to, found: {reason(error)}; choose another folder."
        ) from None
