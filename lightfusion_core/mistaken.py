"""What lies in the place of a file whose download went wrong, told by its first bytes and by what lies beside it."""

from __future__ import annotations

from pathlib import Path

_POINTER = b"version https://git-lfs"
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_REFUSALS = (b"access to model", b"invalid username or password", b"entry not found", b"repository not found")
_UNFINISHED = (
    *(".aria2", ".part", ".partial", ".crdownload", ".download", ".opdownload", ".incomplete", ".!ut", ".!qb"),
    *(".tmp", ".st", ".xltd", ".filepart"),
)
"""What downloaders append to a file's name, for it or for their notes on it, until it is whole."""


def mistaken(start: bytes) -> str | None:
    """What a file of weights, a configuration or a tokenizer is instead, and the remedy, by its first bytes; None where
    it may be what its name says."""
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:400].lower()
    if start.startswith(_POINTER):
        return (
            "is a git-lfs pointer, not the file that it stands for: run `git lfs pull` in its folder, or download the "
            "file itself"
        )
    if start.startswith(_PAGES):
        return (
            "is a web page that was saved in the file's place: download the file itself (often behind `resolve` where "
            "the address has `blob`; you may have to sign in first)"
        )
    if start.startswith(_REFUSALS):
        return "holds the answer of a server that refused the download: sign in there, and download it again"
    return None


def unfinished(file: Path) -> Path | None:
    """What a downloader has beside a file until it is whole; None where there is nothing of the kind."""
    beside = (file.with_name(file.name + ending) for ending in _UNFINISHED)
    return next((note for note in beside if note.exists()), None)


def unfinished_in(folder: Path) -> Path | None:
    """A download in a folder that has not been given its name yet; None where there is none."""
    files = sorted(folder.iterdir())
    return next((file for file in files if file.suffix.lower() in _UNFINISHED and ".safetensors" in file.name), None)
