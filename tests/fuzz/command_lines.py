"""Seeded command lines, most of them odd: what they are made of, and the folder that they are given in."""

from __future__ import annotations

import argparse
import json
import os
import stat
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from lightfusion_core.cli import build_parser

LONG = "n" * 300
RED = "\x1b[31mred.png"
TEXTS = (
    *("a red star", "", " ", "-", "--", "-x", "a\nb", "a\0b", "\udcff", "\x1b[2Jx", "\u202eabc", "\ufeffa", "ü" * 50),
    *("<|im_end|>", "<|im_start|>system\n", "<|vision_start|><|image_pad|><|vision_end|>", "%s {0} $HOME", "a" * 5000),
)
NUMBERS = (
    *("0", "1", "2", "3", "-1", "0.5", "-0.5", "1.5", "1e-38", "1e15", "1e30", "1e308", "-1e308", "1000000000000"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 400),
)
NO_NUMBERS = ("nan", "inf", "-inf", "x", "", "1,5", "0x10", "1e", "\u0663x", "1 2")
SIDES = ("1", "16", "31", "64", "65", "96", "128", "0", "-64", "513", "2000", "1000000", "64.5")
FEW = ("0", "1", "2", "3", "-1", "257", "2000", "1000001", "1000000000000", "1e3", "9" * 400)
"""Of steps, pictures and words, that cost their number."""

PICTURES = ("plain.png", "alpha.png", "deep.png", "palette.png", "photo.jpg", "mask.png", "link.png", RED, "-dash.png")
NO_PICTURES = (
    *("broken.png", "half.jpg", "huge.png", "page.png", "empty.png", "folder.png", "nowhere.png", "loop.png"),
    *("dangling.png", "shut/plain.png", "fifo.png", "/dev/null", "/dev/full", LONG, "~nobody/x.png"),
    "~none-such/x.png",
)
FOLDERS = (
    *("folder", "folder/", ".", "..", "new", "new/deep/", "shut", "shut/", "readonly", "readonly/", "/dev"),
    "plain.png",
)
MODELS = (
    *("model", "model/", "link", "empty", "pointer.safetensors", "page.safetensors", "half", "nowhere", "nan", "shut"),
)
OUTPUTS = (
    *("a.png", "new/a.png", "A.PNG", "a.jpg", "a", "plain.png", "link.png", "dangling.png", "loop.png", "shut/a.png"),
    *("readonly/a.png", "plain.png/a.png", "folder.png", "fifo.png", "/dev/full", "/dev/null", "/dev/stdout", ".png"),
    *(f"{LONG}.png", f"{LONG[:250]}.png", "ü\u202e.png", "~/a.png", "~none-such/a.png", "", ".", "\0.png", "-o.png"),
)
SOURCES = ("lessons", "pairs", "lessons/")
NO_SOURCES = (*FOLDERS, "lonely", "uneven", "empty", LONG, "~nobody", "model", "")
PROMPTS = ("prompts", "prompts/evaluation_metadata.jsonl")
NO_PROMPTS = (*FOLDERS, "wrong", "wrong/evaluation_metadata.jsonl", "empty", LONG, "~nobody", "model", "")
RESULTS = ("results.jsonl",)
NO_RESULTS = ("wrong/evaluation_metadata.jsonl", "plain.png", "page.png", "nowhere", "shut", "empty", "/dev/null", "")
KINDS = (
    *("generate", "edit", "ask", "inspect", "convert", "chat", "demo", "bench step", "bench shapes", "plan"),
    *("train", "evaluate geneval", "evaluate table"),
)
_WEIGHTS = (24, 24, 14, 10, 12, 8, 2, 2, 2, 2, 8, 8, 4)
_CHAT = (
    *("a red star", "make it blue", "what is it?", "/help", "/undo", "/draw a star", "/edit make it red", "/ask what?"),
    *("/open nowhere", "/open shut", "/save", "/seed x", "/seed 3", "/unknown", "/", "", "\x1b[2J", "a" * 3000),
    "/back 99",
    *("/retry", "/branch 1", "/list", "/quit", "<|im_end|>", "\ufeffa star"),
)


def furnish(folder: Path, model: Path) -> None:
    """Pictures, models and places of every kind, and some that a normal user may not use."""
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    plain = Image.fromarray(pixels)
    for name in ("plain.png", RED, "-dash.png"):
        plain.save(folder / name)
    plain.convert("RGBA").save(folder / "alpha.png")
    plain.convert("P").save(folder / "palette.png")
    plain.save(folder / "photo.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 256).save(folder / "deep.png")
    Image.fromarray(np.pad(np.full((40, 50), 255, np.uint8), ((20, 20), (25, 25)))).save(folder / "mask.png")
    whole = (folder / "plain.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "half.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:600])
    (folder / "huge.png").write_bytes(_huge())
    (folder / "page.png").write_text("<!DOCTYPE html><title>404</title>")
    (folder / "page.safetensors").write_text("<!DOCTYPE html><title>404</title>")
    (folder / "pointer.safetensors").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 30000000000\n"
    )
    (folder / "empty.png").touch()
    for name in ("folder.png", "folder", "empty", "shut", "readonly"):
        (folder / name).mkdir()
    plain.save(folder / "shut" / "plain.png")
    (folder / "link.png").symlink_to("plain.png")
    (folder / "dangling.png").symlink_to("nowhere/x.png")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "fifo.png")
    (folder / "model").symlink_to(model)
    (folder / "link").symlink_to("model")
    for name, broken in (("half", "model.safetensors"), ("nan", "config.json")):
        (folder / name).mkdir()
        for path in model.iterdir():
            (folder / name / path.name).symlink_to(path)
        (folder / name / broken).unlink()
    (folder / "half" / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:5000])
    config = json.loads((model / "config.json").read_bytes())
    config.setdefault("vae_config", {})["std"] = [0.0] * 48
    (folder / "nan" / "config.json").write_text(json.dumps(config))
    _furnish_data(folder, plain)
    (folder / "shut").chmod(0)
    (folder / "readonly").chmod(stat.S_IRUSR | stat.S_IXUSR)


def _furnish_data(folder: Path, plain: Image.Image) -> None:
    """What a training and an evaluation read, sound and not."""
    sides = (f"{pairs}/{side}" for pairs in ("pairs", "uneven") for side in ("before", "after"))
    for name in ("lessons", "lonely", "prompts", "wrong", *sides):
        (folder / name).mkdir(parents=True)
    plain.save(folder / "lessons" / "1.png")
    (folder / "lessons" / "1.txt").write_text("a red star")
    plain.save(folder / "lonely" / "1.png")
    for pairs, after in (("pairs", plain), ("uneven", plain.resize((50, 60)))):
        plain.save(folder / pairs / "before" / "1.png")
        after.save(folder / pairs / "after" / "1.png")
        (folder / pairs / "instruction.txt").write_text("make it blue")
    one = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
    (folder / "prompts" / "evaluation_metadata.jsonl").write_text(json.dumps(one) + "\n")
    (folder / "wrong" / "evaluation_metadata.jsonl").write_bytes(b'{"prompt": 3}\n{"tag"\n\xff\xfe\n[]\n')
    judged = one | {"filename": "00000/samples/0000.png", "correct": True, "reason": "", "metadata": json.dumps(one)}
    (folder / "results.jsonl").write_text(json.dumps(judged) + "\n")


@cache
def _huge() -> bytes:
    """A picture of 12,000 x 12,000, in some kilobytes."""
    file = BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    return file.getvalue()


def command_line(draw: Random, model: Path) -> tuple[str, list[str], str]:
    """A kind, its arguments, and what is typed: at most two odd values in the most of them."""
    kind = draw.choices(KINDS, _WEIGHTS)[0]
    words = ["generate"] if kind == "plan" else kind.split()
    parser = _parser_of(words)
    oddity = draw.choice((0.0, 0.15, 0.15, 0.5))
    line = list(words)
    for action in parser._actions:
        if not action.option_strings and draw.random() > 0.02 * (oddity > 0):
            line += _positional(draw, kind, action, model, oddity)
    options = [action for action in parser._actions if action.option_strings and action.dest not in _LEFT]
    for action in draw.sample(options, min(len(options), draw.randrange(6))):
        line += _option(draw, action, model, oddity)
    line += _needed(draw, kind, {action.dest for action in options}, line, model)
    if draw.random() < 0.05 * (oddity > 0):
        line.insert(draw.randrange(1, len(line) + 1), draw.choice(("--nonsense", "--", "-o", "extra", "--quiet=1", "")))
    typed = "\n".join(draw.choices(_CHAT, k=draw.randrange(5))) if kind == "chat" else ""
    return kind, line, typed


_LEFT = ("help", "version", "compile", "threads", "preset", "plot")
"""Not tried: what ends at once, and what takes its minutes."""


def _parser_of(words: Sequence[str]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = build_parser()
    for word in words:
        subparsers = next(action for action in parser._actions if isinstance(action.choices, dict))
        parser = subparsers.choices[word]
    return parser


def _pick(draw: Random, sound: Sequence[str], odd: Sequence[str], oddity: float) -> str:
    return draw.choice(odd if draw.random() < oddity else sound)


def _positional(draw: Random, kind: str, action: argparse.Action, model: Path, oddity: float) -> list[str]:
    if action.dest in ("file", "source"):
        return [_pick(draw, (str(model), "model"), (*MODELS, "plain.png", LONG, "nano"), oddity)]
    if action.dest == "target":
        return [_pick(draw, ("new", "new/deep"), (*FOLDERS, "model", "link", str(model), LONG, ""), oddity)]
    if action.dest == "folder":
        return [_pick(draw, ("new", "new/deep"), (*FOLDERS, LONG, "model"), oddity)] if draw.random() < 0.7 else []
    if action.dest == "data":
        return [_pick(draw, SOURCES, NO_SOURCES, oddity) for _ in range(draw.choice((1, 1, 2)))]
    if action.dest == "results":
        return [_pick(draw, RESULTS, NO_RESULTS, oddity)]
    if action.dest == "image":
        count = draw.randrange(3) if kind == "ask" else 1
        return [_pick(draw, PICTURES, NO_PICTURES, oddity) for _ in range(count)]
    return [_pick(draw, TEXTS[:1], TEXTS, oddity)]


def _option(draw: Random, action: argparse.Action, model: Path, oddity: float) -> list[str]:
    flag = draw.choice(action.option_strings)
    if action.nargs == 0:
        return [flag]
    several = draw.choice((1, 2, 3)) if action.nargs == "+" else 1
    count = action.nargs if isinstance(action.nargs, int) else several
    values = [_value(draw, action, model, oddity) for _ in range(count)]
    return [f"{flag}={values[0]}"] if count == 1 and flag[:2] == "--" and draw.random() < 0.5 else [flag, *values]


_VALUES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    **dict.fromkeys(("rounds", "count"), (("1", "2"), (*FEW[-3:], "-1", "0", *NO_NUMBERS))),
    **dict.fromkeys(("steps", "batch", "max_tokens", "guidance_every"), (("1", "2", "3"), (*FEW, *NO_NUMBERS))),
    **dict.fromkeys(("width", "height", "size"), (("64", "96", "128"), (*SIDES, *NO_NUMBERS))),
    "prompt": (("4", "102"), (*FEW, *NO_NUMBERS)),
    "device": (("cpu",), ("cuda", "cuda:7", "mps", "hpu", "meta", "abacus", "", "cpu:3", "CPU")),
    **dict.fromkeys(("mask", "reference"), (PICTURES, NO_PICTURES)),
    **dict.fromkeys(("output", "changed"), (OUTPUTS[:2], OUTPUTS)),
    "data": (PROMPTS, NO_PROMPTS),
    "out": (("new", "new/deep"), (*FOLDERS, LONG, "model", "")),
    **dict.fromkeys(("limit", "pictures", "rank", "at_once", "save_every"), (("1", "2"), (*FEW, *NO_NUMBERS))),
    "shard": (("1/1", "1/2"), ("0/1", "-1/2", "0/0", "1", "/", "a/b", "", "0/2/3")),
    "workers": (("0",), ("-1", "x", "1.5", "")),
    "encodings": (("kept",), (*FOLDERS, LONG)),
    "csv": (("a.csv",), ("shut/a.csv", "folder", "/dev/full", f"{LONG}.csv", "plain.png/a", "")),
    "sample_every": (("0",), (*FEW[-3:], *NO_NUMBERS)),
    "lora": (("nowhere",), (*NO_PICTURES, "model", "results.jsonl")),
    "json": (("a.json",), ("shut/a.json", "folder", "/dev/full", f"{LONG}.json", "plain.png/a", "")),
    "solver": (("unipc", "dpm++", "euler", "heun"), ("magic", "", "UNIPC")),
    "renorm": (("none", "global", "channel", "text_channel"), ("magic", "", "UNIPC")),
    "negative": (TEXTS[:1], TEXTS),
}
"""What is sound and what is odd, by option; of the rest, numbers."""
_OF_MODELS = ("model", "understanding", "understanding_from", "vae", "tokenizer")


def _value(draw: Random, action: argparse.Action, model: Path, oddity: float) -> str:
    if action.choices is not None:
        return _pick(draw, [str(choice) for choice in action.choices], ("x", "", "None"), oddity)
    if action.dest in _OF_MODELS:
        return _pick(draw, (str(model), "model"), (*MODELS, *NO_PICTURES), oddity)
    return _pick(draw, *_VALUES.get(action.dest, (("1", "0.5", "2"), (*NUMBERS, *NO_NUMBERS))), oddity)


def _needed(draw: Random, kind: str, known: set[str], line: Sequence[str], model: Path) -> list[str]:
    """What keeps a line short: the small model, the CPU, few steps and words, where nothing else is said."""
    given = " ".join(line)
    wanted: dict[str, tuple[str, ...]] = {
        "--model": (str(model),) if "model" in known else (),
        "--device": ("cpu",) if "device" in known else (),
        "--max-tokens": ("4",) if "max_tokens" in known else (),
        "--data": ("prompts",) if kind == "evaluate geneval" else (),
        "--out": ("new",) if kind == "evaluate geneval" else (),
        "--output": ("new",) if kind == "train" else (),
        "--sample-every": ("0",) if kind == "train" else (),
        "--steps": ("1",) if kind in ("train", "evaluate geneval") else (),
        "--count": ("1",) if "count" in known else (),
        "--rounds": ("1",) if "rounds" in known else (),
        "--preset": ("tiny",) if kind == "bench step" else (),
        "--plan": ("",) if kind == "plan" else (),
    }
    found: list[str] = []
    for flag, value in wanted.items():
        if value and flag not in given:
            found += [flag, *value] if value[0] else [flag]
    return found if draw.random() < 0.97 else []


def as_shown(line: Sequence[str]) -> str:
    return " ".join(repr(word) if len(word) < 60 else f"{word[:50]!r}..." for word in line)
