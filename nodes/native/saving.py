"""What ComfyUI's save nodes write of our parts beside the weights, so that Load LightFusion takes the files again.

A model has no say in a file's metadata, so its small files travel as tensors of bytes, as the host does it with
tokenizers of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...lightfusion_core.checkpoints.keys import CONFIG, DOCUMENTS, TOKENIZER
from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.config_json import config_to_json
from ...lightfusion_core.understanding.tokenizer import Tokenizer

_WHOLE, _UNDERSTANDING = DOCUMENTS[CONFIG]
(_TOKENIZER,) = DOCUMENTS[TOKENIZER]


def generation_documents(config: ModelConfig) -> dict[str, Tensor]:
    """What goes with a MODEL."""
    return {_WHOLE: _bytes(config_to_json(config).encode())}


def understanding_documents(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Tensor]:
    """What goes with a CLIP."""
    return {_UNDERSTANDING: _bytes(config_to_json(config).encode()), _TOKENIZER: _bytes(tokenizer.json())}


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
