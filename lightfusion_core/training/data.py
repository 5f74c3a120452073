"""What is learned from: folders of pictures with captions, pairs of before and after, and JSON lines.

    moons/a.png, moons/a.txt                      a picture and its caption
    pairs/before/a.png, pairs/after/a.png         an edit, with its instruction in pairs/after/a.txt,
                                                  or for all of them in pairs/instruction.txt
    rows.jsonl, or FOLDER/metadata.jsonl          {"image": "a.png", "prompt": "a green moon"}
                                                  {"before": "a.png", "after": "b.png", "instruction": "outline it"}
                                                  {"image": "c.png", "prompt": "both", "references": ["a.png", "b.png"]}

Of a Hugging Face image folder `file_name` and `text` are read as `image` and `prompt`. Paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ..errors import InputError
from ..images import check_aspect
from ..picture_files import load_image, picture_size
from ..texts import parse_json, reason, shortened

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
ROWS = "metadata.jsonl"
_ALIASES = {"file_name": "image", "text": "prompt"}
_KINDS = ({"image", "prompt"}, {"image", "prompt", "references"}, {"before", "after", "instruction"})


@dataclass(frozen=True, slots=True)
class Example:
    """A text, the pictures that it speaks of, and the picture that it should give; `mirrored`: with left and right
    exchanged in all of them."""

    text: str
    target: Path
    references: tuple[Path, ...] = ()
    mirrored: bool = False

    def __str__(self) -> str:
        return f"{self.target} (mirrored)" if self.mirrored else str(self.target)

    def picture(self, path: Path) -> Image.Image:
        """One of its pictures, as `load_image` gives it.

        Raises:
            InputError: see `load_image`.
        """
        picture = load_image(path)
        return ImageOps.mirror(picture) if self.mirrored else picture


def with_mirrored(examples: Sequence[Example]) -> list[Example]:
    """Every example as it is, and mirrored: so few pictures show what is to be learned at twice as many places."""
    return [*examples, *(replace(example, mirrored=True) for example in examples)]


def read_examples(source: str | Path) -> list[Example]:
    """All examples of a folder or a .jsonl file, in the order of their names or lines.

    Raises:
        InputError: nothing to learn from, a picture without its text or the reverse, a pair of two sizes, a picture
            that cannot be read or is longer than 16:1, a line that says nothing of these.
    """
    source = Path(source)
    if source.is_dir():
        rows = source / ROWS
        if rows.is_file():
            examples = _from_rows(rows)
        elif (source / "before").is_dir() or (source / "after").is_dir():
            examples = _from_pairs(source)
        else:
            examples = _from_captions(source)
    elif source.suffix.lower() == ".jsonl":
        examples = _from_rows(source)
    else:
        raise InputError(f"{source}: expected a folder of pictures or a .jsonl file to learn from, found neither.")
    for example in examples:
        _check_pictures(example)
    return examples


def _from_captions(folder: Path) -> list[Example]:
    pictures, texts = _pictures(folder), _named(folder, (".txt",))
    if not pictures and not texts:
        raise InputError(
            f"{folder}: expected pictures to learn from, found none; put NAME.png and NAME.txt there, side by side."
        )
    _match(pictures, texts, lambda name: f"{folder / name}.txt", "its caption")
    _match(texts, pictures, lambda name: f"{folder / name}.png", "its picture")
    return [Example(_text(texts[name]), picture) for name, picture in pictures.items()]


def _from_pairs(folder: Path) -> list[Example]:
    before, after = (_pictures(folder / side) for side in ("before", "after"))
    if not before and not after:
        raise InputError(f"{folder}: expected pairs to learn from, found none; put NAME.png into before and after.")
    _match(before, after, lambda name: str(folder / "after" / name), "what it becomes")
    _match(after, before, lambda name: str(folder / "before" / name), "what it was")
    texts, shared = _named(folder / "after", (".txt",)), folder / "instruction.txt"
    if not shared.is_file():
        _match(after, texts, lambda name: f"{folder / 'after' / name}.txt (or {shared} for all)", "its instruction")
    _match(texts, after, lambda name: f"{folder / 'after' / name}.png", "its picture")
    return [Example(_text(texts.get(name, shared)), after[name], (before[name],)) for name in after]


def _from_rows(file: Path) -> list[Example]:
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{file}: expected a file of JSON lines, found: {reason(error)}; check the path.") from None
    examples = [
        _from_row(f"{file}, line {number}", line, file.parent) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not examples:
        raise InputError(f"{file}: expected JSON lines to learn from, found none.")
    return examples


def _from_row(where: str, line: bytes, folder: Path) -> Example:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: expected a JSON object, found: {reason(error)}.") from None
    if not isinstance(row, Mapping):
        raise InputError(f"{where}: expected a JSON object, found {shortened(row)}.")
    row = {_ALIASES.get(key, key): value for key, value in row.items()}
    kind = max((kind for kind in _KINDS if kind <= row.keys()), key=len, default=None)
    if kind is None:
        raise InputError(
            f"{where}: expected image and prompt (and references), or before, after and instruction, found "
            f"{', '.join(map(shortened, row)) or 'nothing'}."
        )
    if "before" in kind:
        text, target, references = "instruction", "after", _listed(row["before"])
    else:
        text, target, references = "prompt", "image", _listed(row["references"]) if "references" in kind else ()
    paths = tuple(_path(where, reference, folder) for reference in references)
    return Example(_said(where, row, text), _path(where, row[target], folder), paths)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _said(where: str, row: Mapping[str, Any], key: str) -> str:
    text = row[key]
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: expected a text as its {key}, found {shortened(text)}.")
    return text.strip()


def _path(where: str, value: Any, folder: Path) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InputError(f"{where}: expected the path of a picture, found {shortened(value)}.")
    path = folder / value
    if not path.is_file():
        raise InputError(f"{where}: expected the picture {path}, found no such file; check the path.")
    return path


def _named(folder: Path, endings: Sequence[str]) -> dict[str, Path]:
    """The files of a folder by their names without the ending."""
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in endings and not file.name.startswith(".") and file.is_file():
            if file.stem in found:
                raise InputError(f"{file}: expected one file of this name, found {found[file.stem].name} too.")
            found[file.stem] = file
    return found


def _pictures(folder: Path) -> dict[str, Path]:
    return _named(folder, ENDINGS)


def _match(these: Mapping[str, Path], others: Mapping[str, Path], wanted: Callable[[str], str], what: str) -> None:
    """Refuse what has no counterpart."""
    alone = [name for name in these if name not in others]
    if alone:
        more = f" (and so for {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise InputError(
            f"{these[alone[0]]}: expected {what} in {wanted(alone[0])}, found no such file{more}; add it, or take this "
            "one out."
        )


def _text(file: Path) -> str:
    try:
        text = file.read_bytes().decode("utf-8-sig").strip()
    except OSError as error:
        raise InputError(f"{file}: expected a text, found: {reason(error)}; check the file.") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: expected UTF-8 text, found other bytes; save it as UTF-8.") from None
    if not text:
        raise InputError(f"{file}: expected a text, found an empty file; write what the picture shows.")
    return text


def _check_pictures(example: Example) -> None:
    sizes = {path: picture_size(path) for path in (*example.references, example.target)}
    for path, size in sizes.items():
        try:
            check_aspect(*size)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    if len(example.references) == 1 and len(set(sizes.values())) > 1:
        (before, one), (after, other) = sizes.items()
        raise InputError(
            f"{after}: expected the size of {before}, {one[0]}x{one[1]}, found {other[0]}x{other[1]}; a pair has one "
            "size, so that the edit stays in its place."
        )
