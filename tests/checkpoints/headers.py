"""safetensors files whose headers are tampered with."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path


def rewritten(file: Path, change: Callable[[dict], object]) -> Path:
    """A file whose header was changed, and nothing else of it."""
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    change(header)
    changed = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])
    return file
