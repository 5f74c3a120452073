"""The command line: `lightfusion generate | edit | ask | chat | inspect | convert | train | demo | bench | evaluate`.

Only arguments are read here; `commands/` does the work, and torch is imported when it starts. Exit codes:
0 success, 1 an error that was said in one line, 2 arguments that cannot be read, 130 cancelled.
"""

from __future__ import annotations

import argparse
import math
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from . import __version__
from .commands.ask import ask
from .commands.bench import SUBJECTS, bench
from .commands.bench_shapes import bench_shapes
from .commands.chat import chat
from .commands.console import complain, notes, open_streams
from .commands.convert import convert
from .commands.demo import demo
from .commands.draw import edit, generate
from .commands.evaluate import evaluate, judge, table
from .commands.inspect import inspect
from .commands.train import train
from .errors import LightFusionError
from .evaluation import BENCHMARKS
from .shapes import PARTS
from .texts import reason

_DTYPES = ("float32", "bfloat16", "float16")
_EPILOG = "See `lightfusion COMMAND --help` for the arguments of a command."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of the usage and a line."""
        complain(f"error: {message} (see `{self.prog} --help`)")
        self.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Arguments that cannot be read raise SystemExit(2)."""
    open_streams()
    _tolerate_any_encoding()
    arguments = _parsed(argv)
    with notes(arguments.quiet):
        try:
            return arguments.run(arguments)
        except LightFusionError as error:
            complain(f"error: {error}")
            return 1
        except OSError as error:
            place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            complain(f"error: {place}expected what can be used, found: {reason(error)}; check the path.")
            return 1
        except MemoryError:
            complain("error: The main memory does not suffice: ask for a smaller picture, or fewer at a time.")
            return 1
        except KeyboardInterrupt:
            complain("cancelled")
            return 130


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. Pictures may stand behind options, too, which argparse takes for a word too many."""
    arguments, more = build_parser().parse_known_args(argv)
    if more and not (isinstance(getattr(arguments, "image", None), list) and not any(word[:1] == "-" for word in more)):
        arguments.parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        arguments.image += more
    for name in (*_READ, *_WRITTEN):
        given = getattr(arguments, name, None)
        if isinstance(given, list):
            setattr(arguments, name, [_path(path, name in _READ, arguments.parser) for path in given])
        elif isinstance(given, str):
            setattr(arguments, name, _path(given, name in _READ, arguments.parser))
    return arguments


_PARTS = ("understanding", "understanding_from", "vae", "tokenizer")
_READ = ("model", *_PARTS, "image", "reference", "mask", "file", "source", "folder", "data", "lora", "results")
_WRITTEN = ("output", "changed", "json", "plot", "target", "encodings", "out", "csv")
"""The arguments that are paths."""


def _path(path: str, read: bool, parser: argparse.ArgumentParser) -> str:
    """A path with its home folder, which a shell does not put in everywhere; one that is read is no pipe, which would
    be waited for."""
    if path.startswith("~") and os.sep in path and not os.path.lexists(path):
        home = os.path.expanduser(path)
        if home == path:
            parser.error(f"there is no home folder {path.split(os.sep)[0]}: {path}")
        path = home
    with suppress(OSError, ValueError):  # what reads it says why it cannot
        if read and stat.S_ISFIFO(os.stat(path).st_mode):
            parser.error(f"{path} is a pipe, and a file is needed")
    return path


def _tolerate_any_encoding() -> None:
    """A character that the terminal cannot show must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="lightfusion", description="Draw, edit and ask about pictures with LightFusion.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"lightfusion {__version__}")
    add = parser.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser
    _add_generate(add("generate", help="draw a picture from a prompt"))
    _add_edit(add("edit", help="change a picture by an instruction"))
    _add_ask(add("ask", help="ask a question about pictures"))
    _add_chat(add("chat", help="draw, edit and ask in one conversation"))
    _add_inspect(add("inspect", help="say what a model file is, and what is wrong with it"))
    _add_convert(add("convert", help="write a model's parts in bf16 or fp8, without what drawing never uses"))
    _add_train(add("train", help="teach a model from pictures of your own: a LoRA, or the whole generation side"))
    _add_demo(add("demo", help="draw a sheet of examples with a model"))
    _add_bench(add("bench", help="measure speed and memory on this machine, and how well a model draws"))
    _add_evaluate(add("evaluate", help="draw the paper's benchmarks as their judges read them, and make its tables"))
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", type=_text, help="what to draw")
    _add_drawing(parser)
    _add_model(parser)
    parser.set_defaults(run=generate, parser=parser)


def _add_edit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="the picture to change")
    parser.add_argument("prompt", metavar="instruction", type=_text, help="what to change")
    add = parser.add_argument_group("editing").add_argument
    add("--reference", action="append", default=[], metavar="IMAGE", help="a further picture to use; repeatable")
    add(
        "--mask",
        metavar="IMAGE",
        help="white where the picture may change; what is black or transparent stays as it is, bit for bit, in its own "
        "mode, depth, alpha and colour profile",
    )
    add("--denoise", type=_number, metavar="X", help="how much is drawn anew, 0 to 1 (default: 1)")
    add("--image-guidance", type=_number, metavar="X", help="scale of the pictures; 1 turns it off")
    add("--context", type=_number, metavar="X", help="with a mask: draw a part X times as large as the mask, 1 or more "
        "(default: all of a small picture, else 1.25)")  # fmt: skip
    add("--outpaint", type=int, nargs=4, metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"), default=(0, 0, 0, 0),
        help="pixels to add at each side, and to fill; the picture is kept")  # fmt: skip
    add(
        "--keep",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="what the edit did not change comes back bit for bit, unless it changed the whole, and the colours of the "
        "rest are matched to it (default)",
    )
    add("--changed", metavar="FILE", help="write where the picture shows the edit, in white, to this .png file")
    _add_drawing(parser)
    _add_model(parser)
    parser.set_defaults(run=edit, parser=parser)


def _add_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="question", type=_text, help="what to ask")
    parser.add_argument("image", nargs="*", help="pictures that it is about")
    add = parser.add_argument_group("answering").add_argument
    add("--manner", choices=("chat", "reference"), help="the VLM's own chat (default), or the authors' text output")
    add("--max-tokens", type=int, metavar="N", help="the longest answer (default: 512)")
    add("--temperature", type=_number, metavar="X", help="0 for the likeliest words (default), more for variety")
    add("--seed", type=_seed, default=0, help="for temperatures above 0 (default: 0)")
    _add_model(parser)
    parser.set_defaults(run=ask, parser=parser)


def _add_chat(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", help="a conversation to go on with, or a place for a new one")
    parser.epilog = "Lines may come through a pipe; /help lists what can be said."
    add = parser.add_argument_group("drawing, by default as the model was published").add_argument
    add("--width", type=int, metavar="PIXELS")
    add("--height", type=int, metavar="PIXELS")
    add("--seed", type=_seed, default=0, help="of every turn (default: 0)")
    _add_schedule(add)
    add("--guidance", type=_number, metavar="X", help="scale of the prompt; 1 turns it off")
    add("--image-guidance", type=_number, metavar="X", help="scale of the pictures; 1 turns it off")
    add("--keep", action=argparse.BooleanOptionalAction, default=True, help="what an edit did not change comes back "
        "bit for bit (default)")  # fmt: skip
    add("--other-model", action="store_true", help="go on though another model had the conversation")
    _add_model(parser)
    parser.set_defaults(run=chat, parser=parser)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a .safetensors file, an index of shards, or a folder")
    parser.epilog = "Exit code 1 where something is missing, unexpected, damaged or unknown."
    _add_manner_of_output(parser)
    parser.set_defaults(run=inspect, parser=parser)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a .safetensors file, an index of shards, a folder, or nano")
    parser.add_argument("target", help="the folder to write")
    add = parser.add_argument_group("converting").add_argument
    add("--dtype", choices=("bf16", "fp8"), default="bf16", help="of the matrices (default: %(default)s)")
    add(
        "--understanding",
        choices=("keep", "separate", "drop"),
        help="the understanding side: in the generation side's file, in one of its own (default), or not at all",
    )
    add("--understanding-from", metavar="PATH", help="take the understanding side from this Qwen2.5-VL")
    add("--vae", metavar="PATH", help="take the VAE from this Wan2.2 VAE")
    add("--tokenizer", metavar="PATH", help="a tokenizer.json, or a folder with it or with vocab.json and merges.txt")
    add(
        "--measure",
        choices=("sample", "all"),
        default="sample",
        help="take the errors from a sixteenth of every large matrix, or from all numbers (default: %(default)s)",
    )
    add("--check", action="store_true", help="compare what both draw, as is done for small models anyway")
    add("--force", action="store_true", help="replace an earlier conversion")
    _add_manner_of_output(parser)
    parser.set_defaults(run=convert, parser=parser)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        nargs="+",
        help="a folder of pictures with captions (a.png, a.txt), one with before/ and after/ and instructions, or a "
        ".jsonl file; several are mixed",
    )
    parser.epilog = "The same command goes on where a training was stopped. docs/TRAIN.md has examples."
    add = parser.add_argument_group("output").add_argument
    add("-o", "--output", required=True, metavar="FOLDER", help="for the result, a checkpoint, samples and a plot")
    add("--encodings", metavar="FOLDER", help="for what is computed once; trainings may share it (default: in FOLDER)")
    add("--sample", action="append", type=_text, metavar="PROMPT", help="drawn on the way; repeatable (default: some "
        "of the data)")  # fmt: skip
    add("--sample-every", type=int, metavar="N", help="steps between sheets of samples; 0: at the end (default: 250)")
    add("--save-every", type=int, metavar="N", help="steps between checkpoints (default: 250)")
    add("--plan", action="store_true", help="say what memory and time it takes, and train nothing")
    add("--quiet", action="store_true", help="no progress and no notes on stderr")
    add = parser.add_argument_group("training, noise and dropped conditions by default as published").add_argument
    add("--steps", type=int, metavar="N", help="of the whole run; more goes on with a finished one (default: 1000)")
    add("--batch", type=int, metavar="N", help="pictures of a step (default: 4)")
    add("--at-once", type=int, metavar="N", help="of them, how many run together (default: all)")
    add("--weights", type=_number, nargs="+", metavar="W", help="each source's share of the batches (default: alike)")
    add("--mirror", action="store_true", help="learn every picture mirrored too, at twice as many places: not where "
        "texts name left or right")  # fmt: skip
    add("--rate", type=_number, metavar="X", help="learning rate (default: 1e-4; the paper trained with 3e-5)")
    add("--warmup", type=int, metavar="N", help="steps until the rate is reached (default: 20)")
    add("--decay", type=_number, metavar="X", help="AdamW's weight decay (default: 0.01)")
    add("--rank", type=int, metavar="N", help="of the LoRA (default: 16)")
    add("--alpha", type=_number, metavar="X", help="the LoRA's change is scaled by alpha / rank (default: the rank)")
    add("--full", action="store_true", help="train all of the generation side, and no LoRA")
    add("--ema", type=_number, metavar="X", help="the result is this running average of the weights; 0: their last "
        "values (default: 0.99)")  # fmt: skip
    add("--size", type=int, metavar="PIXELS", help="pictures without references are learned with the area of a square "
        "of this side (default: the model's own)")  # fmt: skip
    add("--seed", type=_seed, help="of everything that is drawn by chance (default: 0)")
    add("--shift", type=_number, metavar="X", help="the noise levels' warp (default: 4)")
    add("--drop", type=_number, nargs=3, metavar=("TEXT", "LATENT", "VIT"), help="how often a text, a reference's "
        "latent and its ViT tokens are left out (default: 0.1 0.1 0.5)")  # fmt: skip
    add("--recompute", action="store_true", default=None, help="keep no activations inside of blocks: less memory, "
        "two fifths more operations")  # fmt: skip
    add("--optimizer", choices=("adamw", "adamw8bit"), help="adamw8bit takes bitsandbytes (default: adamw)")
    _add_model_parts(parser)
    parser.set_defaults(run=train, parser=parser)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("drawing").add_argument
    add("-o", "--output", default="output/demo.png", metavar="FILE", help="the sheet (default: %(default)s)")
    add("--seed", type=_seed, default=0, help="of the first picture; the next have the next (default: 0)")
    _add_schedule(add)
    _add_model(parser)
    parser.set_defaults(run=demo, parser=parser)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    subjects = parser.add_subparsers(title="what to measure", metavar="SUBJECT", required=True)
    for subject, shown in SUBJECTS.items():
        _add_measuring(subjects.add_parser(subject, help=shown, description=shown.capitalize() + "."), subject)
    shown = "how well a model draws, edits and answers in the world of nano"
    _add_shapes(subjects.add_parser("shapes", help=shown, description=shown.capitalize() + "."))


def _add_measuring(parser: argparse.ArgumentParser, subject: str) -> None:
    rounds, model = (15, "bench") if subject == "step" else (5, "7b-5b" if subject == "gpu" else "bench")
    add = parser.add_argument_group("measuring").add_argument
    add("--preset", default=model, metavar="NAME", help="random weights: bench, 7b-5b, nano, tiny (%(default)s)")
    if subject == "load":
        add("--model", metavar="PATH", help="load this file or folder instead of random weights")
    add("--size", type=int, metavar="PIXELS", help="side of the picture (default: the preset's)")
    add("--prompt", type=int, default=102, metavar="N", help="tokens of the prompt (default: %(default)s)")
    add("--rounds", type=int, default=rounds, metavar="N", help="rounds in turns (default: %(default)s)")
    add("--threads", type=int, metavar="N", help="of the CPU (default: torch's)")
    add("--device", metavar="NAME", help="cpu, cuda, mps (default: a GPU where there is one)")
    add("--dtype", choices=_DTYPES, help="of the weights (default: bfloat16 on a GPU, float32 on a CPU)")
    add("--compile", action="store_true", help="the step with torch.compile")
    add = parser.add_argument_group("output").add_argument
    add("--json", metavar="FILE", help="write the result as JSON, too")
    add("--plot", metavar="FILE", help="draw the result, too (needs matplotlib)")
    add("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=bench, parser=parser, subject=subject)


def _add_shapes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("measuring").add_argument
    add("--seed", type=_seed, default=0, help="another draws other prompts, wordings and pictures (default: 0)")
    add("--count", type=int, default=100, metavar="N", help="requests of each kind (default: %(default)s)")
    add("--parts", nargs="+", choices=PARTS, metavar="PART", help=f"some of {', '.join(PARTS)} alone")
    add = parser.add_argument_group("drawing, by default as the model was published").add_argument
    _add_schedule(add)
    _add_guidance_every(add)
    _add_model_parts(parser)
    add = parser.add_argument_group("output").add_argument
    add("-o", "--output", default="output/bench.png", metavar="FILE", help="a sheet of pictures (default: %(default)s)")
    add("--json", metavar="FILE", help="write the scores, 0 to 1, to this file")
    add("--quiet", action="store_true", help="no progress and no notes on stderr")
    parser.set_defaults(run=bench_shapes, parser=parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw a benchmark into the folder that its judge reads, with the published settings, and say what judges it; "
        "then read the judges' results into the paper's tables."
    )
    parser.epilog = "docs/EVALUATE.md says where each benchmark's data are and what its folder looks like."
    add_one = parser.add_subparsers(title="what to do", metavar="BENCHMARK | judge | table", required=True).add_parser
    for name, shown in BENCHMARKS.items():
        _add_benchmark(add_one(name, help=shown, description=shown + "."), name)
    shown = "judge pictures of nano's own world, which `evaluate shapes` drew"
    _add_judge(add_one("judge", help=shown, description=shown.capitalize() + "."))
    shown = "judges' results as the paper's tables, beside the published rows"
    _add_table(add_one("table", help=shown, description=shown.capitalize() + "."))


def _add_benchmark(parser: argparse.ArgumentParser, name: str) -> None:
    own = name == "shapes"
    add = parser.add_argument_group("data and result").add_argument
    add("--data", required=not own, metavar="FOLDER", help="the benchmark's own files, or one of them"
        + (" (default: prompts of nano's world are made)" if own else ""))  # fmt: skip
    add("--out", required=True, metavar="FOLDER", help="the folder to judge; FOLDER.record beside it says how it was "
        "made. Run it again to go on")  # fmt: skip
    add("--limit", type=int, metavar="N", help="the first N rows alone")
    add("--shard", metavar="I/N", help="the I-th of N parts (1/4 to 4/4), for runs side by side into one folder")
    add(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="actors of Ray, a model each; 0 draws in this process (default)",
    )
    add("--gpus", type=float, default=0.0, metavar="X", help="what each worker takes of a GPU (default: 0)")
    parser.set_defaults(count=100, language=None, pictures=None)
    if own:
        add("--count", type=int, default=100, metavar="N", help="prompts of each of six categories (default: 100)")
    if name == "gedit":
        add("--language", choices=("en", "cn"), help="instructions of one language alone; the paper reports en")
    add = parser.add_argument_group("drawing, by default as published").add_argument
    add("--seed", type=_seed, help="of the run; each picture has one of its own from it and the row's id")
    if name in ("geneval", "shapes"):
        add(
            "--pictures",
            type=int,
            metavar="N",
            help="of a prompt (default: 4)" if not own else "of a prompt (default: 1)",
        )
    add("--width", type=int, metavar="PIXELS")
    add("--height", type=int, metavar="PIXELS")
    _add_schedule(add)
    _add_guidance(add)
    add("--image-guidance", type=_number, metavar="X", help="scale of the pictures; 1 turns it off")
    add("--negative", type=_text, metavar="PROMPT", help="what to lead away from")
    add("--think", action=argparse.BooleanOptionalAction, help="think in words first, then draw; guidance follows")
    add("--max-tokens", type=int, metavar="N", help="the longest thought (default: 2048)")
    _add_loras(add)
    _add_model_parts(parser)
    add = parser.add_argument_group("output").add_argument
    add("--quiet", action="store_true", help="no progress and no notes on stderr")
    parser.epilog = "Exit code 1 where rows were passed over."
    parser.set_defaults(run=evaluate, parser=parser, benchmark=name)


def _add_judge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the --out of `evaluate shapes`")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=judge, parser=parser)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", nargs="+", metavar="[NAME=]RESULTS", help="files that judges wrote, or folders of "
        "them; NAME is a model's, where several are compared")  # fmt: skip
    parser.add_argument("--csv", metavar="FILE", help="write every figure on a line of its own, too")
    parser.add_argument("--plot", metavar="FILE", help="draw the overall scores, too (needs matplotlib)")
    parser.set_defaults(run=table, parser=parser, quiet=False)


def _add_drawing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("drawing, by default as the model was published").add_argument
    add("-o", "--output", metavar="FILE", help="a .png file or a folder (default: in output/, named by the prompt)")
    add("--width", type=int, metavar="PIXELS")
    add("--height", type=int, metavar="PIXELS")
    add("--seed", type=_seed, default=0, help="picture k of a batch has seed + k (default: 0)")
    add("--batch", type=int, default=1, metavar="N", help="pictures to draw (default: 1)")
    _add_schedule(add)
    _add_guidance(add)
    add("--negative", type=_text, metavar="PROMPT", help="what to lead away from")
    add("--literal", action="store_true", help="read <|im_end|> and the like in the prompts as letters, not as marks")
    _add_loras(add)
    add("--plan", action="store_true", help="say how much memory that will take, load nothing and draw nothing")
    add("--think", action="store_true", help="let the model think in words first, then draw")
    add("--compile", action="store_true", help="compile the step with torch.compile: slow to start, then faster")


def _add_schedule(add) -> None:
    add("--steps", type=int, metavar="N")
    add("--shift", type=_number, metavar="X", help="the schedule's warp; more gives more steps to noisy levels")
    add("--solver", metavar="NAME", help="unipc (default), dpm++, euler, heun")
    add("--cache", type=_number, metavar="X", help="foresee velocities that may be off by X of themselves in sum, 0.05 "
        "being half of 50 steps; 0 runs the network at every step (default)")  # fmt: skip


def _add_loras(add) -> None:
    add("--lora", action="append", default=[], metavar="FILE", help="a LoRA for the generation side; repeatable")
    add("--lora-strength", action="append", type=_number, default=[], metavar="X", help="of each LoRA, in their order "
        "(default: 1)")  # fmt: skip


def _add_guidance(add) -> None:
    add("--guidance", type=_number, metavar="X", help="scale of the prompt; 1 turns it off")
    add("--renorm", metavar="NAME", help="hold the guided norm: none, global, channel, text_channel")
    add("--renorm-min", type=_number, metavar="X", help="the smallest factor of renorm, 0 to 1")
    add("--interval", type=_number, nargs=2, metavar=("LO", "HI"), help="noise levels with guidance, 0 to 1")
    _add_guidance_every(add)


def _add_guidance_every(add) -> None:
    add("--guidance-every", type=int, metavar="K", help="work guidance out at every K-th step and keep it between them")


def _add_model(parser: argparse.ArgumentParser) -> None:
    _add_model_parts(parser)
    _add_manner_of_output(parser)


def _add_model_parts(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model").add_argument
    add("--model", default="nano", metavar="PATH", help="a file, an index of shards, a folder, or nano (default)")
    add("--understanding", metavar="PATH", help="take the understanding side from this Qwen2.5-VL")
    add("--vae", metavar="PATH", help="take the VAE from this Wan2.2 VAE")
    add("--tokenizer", metavar="PATH", help="a tokenizer.json, or a folder with it or with vocab.json and merges.txt")
    add("--device", metavar="NAME", help="cpu, cuda, mps (default: a GPU where there is one)")
    add(
        "--dtype",
        choices=_DTYPES,
        help="what is computed in (default: bfloat16 on a GPU, float32 on a CPU that has the memory)",
    )
    add("--no-mmap", action="store_true", help="read weights instead of mapping them, from drives where that fails")
    add("--offload", choices=("phases", "groups"), help="keep weights in the main memory: move parts, or layers, in")


def _add_manner_of_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    add("--quiet", action="store_true", help="no progress and no notes on stderr")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"a number is needed, found {text}")
    return number


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**64:  # the range of ComfyUI's seeds
        raise argparse.ArgumentTypeError(f"a seed lies between 0 and 2^64 - 1, found {text}")
    return seed


def _text(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not valid UTF-8") from None
    return text


_number.__name__, _seed.__name__ = "number", "seed"  # argparse says them


if __name__ == "__main__":
    sys.exit(main())
