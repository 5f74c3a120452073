"""Seeded damage to model files: to safetensors headers and data, to configurations, to tokenizers.

Each mutation is a name and a function of (content, random state) to content.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

_DTYPES = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "F8_E4M3",
    "F8_E5M2",
    "I64",
    "I32",
    "U32",
    "I16",
    "U8",
    "BOOL",
    "F4",
    "C64",
    "x",
    "",
)
_NUMBERS = (0, -1, 1, 2, 3, 7, 255, 10**6, 2**31, 2**32, 2**62, 2**63, 2**64, 10**40, 0.5, 1e-300, 1e308, True, False)
_ODD: tuple[Any, ...] = (
    *(None, "", "x", "\x1b[2J\u202e", "\ud800", "9" * 400, [], {}, [[]], {"a": 1}, [0], [1, 2, 3], ["x"]),
    *(float("nan"), float("inf"), float("-inf")),
)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a safetensors file."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _deep(draw: Random) -> Any:
    found: Any = 0
    for _ in range(draw.choice((2, 30, 500))):
        found = [found] if draw.random() < 0.5 else {"a": found}
    return found


def _value(draw: Random, old: Any) -> Any:
    """Something in the place of a value of JSON."""
    kind = draw.random()
    if kind < 0.3 and isinstance(old, int | float) and not isinstance(old, bool):
        return draw.choice((old * 2, old // 2, old + 1, old - 1, -old, old * 1000, float(old)))
    if kind < 0.35 and isinstance(old, str):
        return draw.choice((old + "x", old[:-1], old.upper(), "\x00" + old, old * 50))
    if kind < 0.65:
        return draw.choice(_NUMBERS)
    return _deep(draw) if kind > 0.95 else draw.choice(_ODD)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values inside of one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, inner in items:
        found.append((*at, key))
        found += _places(inner, (*at, key))
    return found


def _change(value: Any, draw: Random) -> None:
    """Change, remove, rename or add one thing inside of a value of JSON."""
    place = draw.choice(_places(value))
    for key in place[:-1]:
        value = value[key]
    key, kind = place[-1], draw.random()
    if kind < 0.1:
        del value[key]
    elif kind < 0.2 and isinstance(value, dict):
        value[draw.choice((f"{key}x", "", key.upper(), f"\x1b{key}"))] = value.pop(key)
    elif kind < 0.25 and isinstance(value, list):
        value.extend(value[key : key + 1] * draw.choice((1, 3, 20_000)))
    else:
        value[key] = _value(draw, value[key])


# safetensors: the header as JSON


def _tensor(header: dict[str, Any], draw: Random) -> tuple[str, dict[str, Any]]:
    name = draw.choice([name for name in header if name != "__metadata__"])
    return name, header[name]


def shapes(content: bytes, draw: Random) -> bytes:
    header, data = split(content)
    _, entry = _tensor(header, draw)
    shape = entry["shape"]
    kind = draw.randrange(7)
    if kind == 0:
        shape.reverse()
    elif kind == 1:
        shape.append(draw.choice((1, 0, 2)))
    elif kind == 2 and shape:
        shape.pop()
    elif kind == 3 and len(shape) > 1:
        shape[:] = [shape[0] * shape[1], *shape[2:]]
    elif kind == 4 and shape:
        shape[0] = draw.choice(_NUMBERS)
    elif kind == 5:
        entry["shape"] = _value(draw, shape)
    else:
        shape[:] = [draw.choice((1, 2, 2**32))] * draw.choice((1, 40, 3000))
    return join(header, data)


def dtypes(content: bytes, draw: Random) -> bytes:
    header, data = split(content)
    _, entry = _tensor(header, draw)
    entry["dtype"] = draw.choice(_DTYPES) if draw.random() < 0.8 else _value(draw, "F32")
    if draw.random() < 0.3 and entry["shape"]:  # with the shape that then has the same bytes
        entry["shape"][0] = draw.choice((2, 4)) * entry["shape"][0]
    return join(header, data)


def offsets(content: bytes, draw: Random) -> bytes:
    header, data = split(content)
    _, entry = _tensor(header, draw)
    _, other = _tensor(header, draw)
    start, end = entry["data_offsets"]
    by = draw.choice((1, 2, 4, 64, end - start, -1, -2, -4))
    entry["data_offsets"] = draw.choice(
        [
            [start + by, end + by], [start, end + by], [start + by, end], [end, start], other["data_offsets"],
            [start, start], [-start, end], [start, 2**63], [float(start), end], [start], [start, end, end],
        ]
    )  # fmt: skip
    return join(header, data)


def swaps(content: bytes, draw: Random) -> bytes:
    """Two tensors take each other's numbers, which is seen where they are not of one size."""
    header, data = split(content)
    (_, entry), (_, other) = _tensor(header, draw), _tensor(header, draw)
    entry["data_offsets"], other["data_offsets"] = other["data_offsets"], entry["data_offsets"]
    return join(header, data)


def names(content: bytes, draw: Random) -> bytes:
    header, data = split(content)
    name, entry = _tensor(header, draw)
    other, _ = _tensor(header, draw)
    kind = draw.randrange(6)
    if kind == 0:
        del header[name]
    elif kind == 1:
        header[draw.choice((other, f"{name}.x", f"module.{name}", name.upper(), "", "\x1b[2J", "scaled_fp8"))] = entry
    elif kind == 2:
        header[other] = header.pop(name)
    elif kind == 3:
        parts = name.split(".")
        parts[draw.randrange(len(parts))] = draw.choice(("999999999", "0", "-1", "", "weight", "x" * 5000))
        header[".".join(parts)] = header.pop(name)
    elif kind == 4:
        stem = name.rpartition(".")[0]
        header[f"{stem}.{draw.choice(('scale_weight', 'weight_scale', 'comfy_quant'))}"] = entry
    else:
        header["__metadata__"] = draw.choice(
            [{}, {"a": 1}, {"_quantization_metadata": draw.choice(("{", "[]", '{"layers": 3}'))}, [], None, "x"]
        )
    return join(header, data)


def json_of_header(content: bytes, draw: Random) -> bytes:
    header, data = split(content)
    for _ in range(draw.choice((1, 1, 3))):
        _change(header, draw)
    return join(header, data)


# safetensors: bytes


def bytes_of_header(content: bytes, draw: Random) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    changed = bytearray(content)
    for _ in range(draw.choice((1, 2, 10))):
        changed[draw.randrange(8 + length)] = draw.randrange(256)
    return bytes(changed)


def truncations(content: bytes, draw: Random) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    kind = draw.randrange(4)
    if kind == 0:
        return content[: draw.randrange(8 + length)]
    if kind == 1:
        return content + draw.randbytes(draw.choice((1, 8, 1000)))
    if kind == 2:
        at = draw.randrange(8, len(content))
        return content[:at] + content[at + draw.choice((1, 4, 100)) :]
    return content[: draw.randrange(len(content))]


def zeros(content: bytes, draw: Random) -> bytes:
    """What a download leaves that was cut off in a file of full size: from some place on, or in pieces."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 4))):
        start = draw.randrange(len(content))
        end = len(content) if draw.random() < 0.5 else min(len(content), start + draw.randrange(1, len(content)))
        changed[start:end] = bytes(end - start)
    return bytes(changed)


def numbers(content: bytes, draw: Random) -> bytes:
    """Weights alone, which makes another model, or one with NaN in it."""
    length = struct.unpack("<Q", content[:8])[0]
    changed = bytearray(content)
    for _ in range(draw.choice((1, 20))):
        at = draw.randrange(8 + length, len(content) - 4)
        changed[at : at + 4] = draw.choice((draw.randbytes(4), b"\0\0\xc0\x7f", b"\0\0\x80\x7f"))
    return bytes(changed)


SAFETENSORS: tuple[Mutation, ...] = (
    shapes, dtypes, offsets, swaps, names, json_of_header, bytes_of_header, truncations, zeros, numbers
)  # fmt: skip
OF_NUMBERS = ("swaps", "zeros", "numbers")
"""What may leave a valid file of another model: no header tells that tensors of one size have each other's numbers."""


# JSON files


def json_values(content: bytes, draw: Random) -> bytes:
    value = json.loads(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        _change(value, draw)
    return json.dumps(value).encode()


def json_sections(content: bytes, draw: Random) -> bytes:
    """Whole sections, of which a tokenizer's file has few beside its words."""
    value = json.loads(content)
    key = draw.choice(list(value))
    inner = value[key]
    if isinstance(inner, dict) and inner and draw.random() < 0.7:
        inner[draw.choice(list(inner))] = _value(draw, 1)
    else:
        value[key] = _value(draw, 1)
    return json.dumps(value).encode()


def json_bytes(content: bytes, draw: Random) -> bytes:
    changed = bytearray(content)
    kind = draw.randrange(5)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    if kind == 1:
        return draw.choice((b"", b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"), content * 2, b"\0" * 99))
    if kind == 2:
        return draw.choice((b"[" * 100_000, b'{"a":' * 100_000, b"<html>", b"version https://git-lfs", b"9" * 5000))
    for _ in range(draw.choice((1, 3, 30))):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def tokenizer_words(content: bytes, draw: Random) -> bytes:
    """Ids beyond the vocabulary, twice, or of no kind; special tokens that are gone."""
    value = json.loads(content)
    words, added = value["model"]["vocab"], value["added_tokens"]
    kind, word = draw.randrange(7), draw.choice(list(words))
    if kind == 0:
        words[word] = draw.choice((512, 10**6, 2**31, 2**32 - 1, 2**32, -1, 0, 0.5, None))
    elif kind == 1:
        del words[word]
    elif kind == 2:
        added.remove(draw.choice(added))
    elif kind == 3:
        draw.choice(added)["id"] = draw.choice((0, 512, 10**6, 2**32 - 1, 2**40, -1))
    elif kind == 4:
        value["model"]["type"] = draw.choice(("WordLevel", "WordPiece", "Unigram", "x", None))
    elif kind == 5:
        value["truncation"] = {"max_length": draw.choice((0, 1, 2**62)), "strategy": "LongestFirst", "stride": 0,
                               "direction": "Right"}  # fmt: skip
        value["padding"] = {"strategy": {"Fixed": draw.choice((1, 10**9))}, "direction": "Right", "pad_id": 0,
                            "pad_type_id": 0, "pad_token": "x", "pad_to_multiple_of": None}  # fmt: skip
    else:
        value["model"]["merges"] = draw.choice(([["a", "b"]], ["a"], ["a b c"], [["", ""]], ["\u0120 w"], 3))
    return json.dumps(value).encode()


CONFIG: tuple[Mutation, ...] = (json_values, json_values, json_sections, json_bytes)
TOKENIZER: tuple[Mutation, ...] = (tokenizer_words, tokenizer_words, json_sections, json_values, json_bytes)
