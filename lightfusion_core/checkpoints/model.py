"""A whole model out of its files: which parts are there, which configuration and which tokenizer they have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..config import ModelConfig
from ..config_json import config_from_dict
from ..documents import read_document
from ..errors import CheckpointError, ConfigError
from ..mistaken import mistaken
from ..texts import parse_json
from ..understanding.tokenizer import Tokenizer
from .advice import notes
from .foreign import foreign, sentence
from .keys import CONFIG, TOKENIZER
from .reader import Checkpoint
from .shapes import count, fit_vae, match_preset

log = logging.getLogger(__name__)

_WORDS = ("vocab.json", "merges.txt")
_INSPECT = "See `lightfusion inspect`."


def open_model(
    path: str | Path, *, complete: bool = True, mapped: bool = True, **others: str | Path | None
) -> Checkpoint:
    """Open a model's files, some parts taken from `others` (understanding=PATH, vae=PATH).

    Args:
        complete: require an understanding tower too, without which nothing can be drawn.
        mapped: map weights from the files; else read them.

    Raises:
        CheckpointError: a file that cannot be read, another model, or a part that is not there.
    """
    checkpoint = Checkpoint.open(path, mapped=mapped)
    _refuse_foreign(checkpoint, "generation")
    for part, other in others.items():
        if other is not None:
            opened = Checkpoint.open(other, mapped=mapped)
            _refuse_foreign(opened, part, by_size=not _has_width_for(checkpoint, opened, part))
            checkpoint.merge(opened, part)
    generation = checkpoint.names("generation")
    if not generation:
        raise CheckpointError(
            f"{checkpoint.path} has no generation tower, {checkpoint.describe()}: a LightFusion checkpoint has Wan "
            f"blocks and fusion layers (mm_attn_layers). {_INSPECT}"
        )
    if checkpoint.strangers:
        raise CheckpointError(
            f"{checkpoint.path}: {len(checkpoint.strangers)} tensors belong to no layout that is known (first: "
            f"{checkpoint.strangers[0].name}): is this another model? {_INSPECT}"
        )
    if not count(generation, "mm_attn_layers."):
        raise CheckpointError(
            f"{checkpoint.path} has Wan blocks without fusion layers (mm_attn_layers): this is a plain Wan model, and "
            f"LightFusion's weights are others. {_INSPECT}"
        )
    if complete and not checkpoint.names("understanding"):
        raise CheckpointError(
            f"{checkpoint.path} has no understanding tower, {checkpoint.describe()}: name a Qwen2.5-VL for it "
            "(understanding=PATH, or --understanding PATH)."
        )
    for note in notes(checkpoint):
        log.warning(note)
    return checkpoint


def _refuse_foreign(checkpoint: Checkpoint, place: str, by_size: bool = True) -> None:
    """Raises CheckpointError for a file of another model in this place."""
    what = foreign(checkpoint, by_size)
    if what is not None:
        raise CheckpointError(sentence(checkpoint.path, what, place))


def _has_width_for(model: Checkpoint, other: Checkpoint, part: str) -> bool:
    """Whether `other` has an understanding tower of the width that a model's fusion reads: other sizes may come."""
    reads = model.names("generation").get("mm_attn_layers.0.mm_attn.k_und_proj.weight", (0,))
    return part == "understanding" and reads[1:] == other.names(part).get("model.language_model.norm.weight")


def has_config(checkpoint: Checkpoint) -> bool:
    """Whether a LightFusion's config.json lies inside of the files or beside them, be it right or wrong."""
    try:
        return _read_json(checkpoint) is not None
    except ConfigError:
        return True


def read_config(checkpoint: Checkpoint) -> ModelConfig:
    """The configuration of a checkpoint: the config.json that is inside of it or in its folder, or the preset that
    its shapes are.

    Raises:
        CheckpointError: neither. ConfigError: a config.json that contradicts itself.
    """
    said = _read_json(checkpoint)
    if said is None:
        config = match_preset(checkpoint.path, checkpoint.names("generation"), checkpoint.names("understanding"))
    else:
        config = _parse(checkpoint, said)
        _check_depths(checkpoint, config)
    vae = checkpoint.names("vae")
    if not vae or (said and "vae_config" in said and checkpoint.source("vae") == checkpoint.path):
        return config
    try:
        return replace(config, vae=fit_vae(config.vae, vae))
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.source('vae')} does not hold this model's VAE: {error}") from None


def _check_depths(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Refuse many more layers than the files have, before modules are built for them: what is off by a few is said by
    the tensors that are missing."""
    understanding, generation = checkpoint.names("understanding"), checkpoint.names("generation")
    wanted = {
        "text_config: num_hidden_layers": (
            config.text.num_hidden_layers,
            understanding,
            "model.language_model.layers.",
        ),
        "vision_config: depth": (config.vision.depth, understanding, "model.visual.blocks."),
        "vgen_config: num_layers": (config.dit.num_layers, generation, "blocks."),
        "fusion: num_layers": (config.fusion.num_layers, generation, "mm_attn_layers."),
    }
    for what, (depth, names, prefix) in wanted.items():
        found = count(names, prefix)
        if found and depth > 2 * found:
            raise ConfigError(
                f"{_place(checkpoint)}: {what} is {depth}, and the weights have {found}: it is another model's; get "
                "the one that belongs to them."
            )


def require_vocabulary(tokenizer: Tokenizer | None, config: ModelConfig) -> None:
    """Refuse a tokenizer that makes ids for which the model has no row, or without one, framing ids of that kind.

    Raises:
        CheckpointError: there is such an id.
    """
    special, rows = config.special_tokens, config.text.vocab_size
    if tokenizer is not None:
        largest, place = tokenizer.largest_id, tokenizer.place
    else:
        largest, place = max(special.sov_token_id, special.eov_token_id), "The configuration's special_token_ids"
    if largest >= rows:
        raise CheckpointError(
            f"{place} has the id {largest}, and the model's vocabulary has {rows:,} rows: it is another model's; get "
            "the one that belongs to the weights."
        )


def config_source(checkpoint: Checkpoint) -> str:
    """Where the configuration comes from: its config.json, or the preset that was matched.

    Raises:
        CheckpointError, ConfigError: as `read_config`.
    """
    if _read_json(checkpoint) is not None:
        return _place(checkpoint)
    return f"the preset {read_config(checkpoint).name}"


def _read_json(checkpoint: Checkpoint) -> Mapping | None:
    """The config.json that is inside of the files, or the folder's, where it is there and a LightFusion's: beside
    separate parts it may be the VLM's own, which says nothing of the rest."""
    file = checkpoint.folder / CONFIG
    content = checkpoint.document(CONFIG)
    if content is None and not file.is_file():
        return None
    content, place = read_document(file) if content is None else content, _place(checkpoint)
    if (mistake := mistaken(content)) is not None:
        raise ConfigError(f"{place} {mistake}.")
    try:
        said = parse_json(content)
    except ValueError as error:
        raise ConfigError(f"{place} is not readable as JSON ({error}): repair it, or get it again.") from None
    return said if isinstance(said, dict) and "vgen_config" in said else None


def _place(checkpoint: Checkpoint) -> str:
    """Where the configuration's JSON is."""
    if checkpoint.document(CONFIG) is None:
        return str(checkpoint.folder / CONFIG)
    return f"the {CONFIG} inside of {checkpoint.source('generation')}"


def _parse(checkpoint: Checkpoint, said: Mapping) -> ModelConfig:
    try:
        return config_from_dict({"name": checkpoint.folder.name, **said})
    except ConfigError as error:
        raise ConfigError(f"{_place(checkpoint)}: {error}") from None


def find_tokenizer(checkpoint: Checkpoint, named: str | Path | None) -> Path | bytes | None:
    """The tokenizer.json to use, or a folder of its older form: the one that is named; the content of the one inside of
    the model's or its understanding part's file; or the one in the folder of either. None where there is none.

    Raises:
        CheckpointError: one is named and is not there.
    """
    if named is not None:
        file = Path(named).expanduser()
        if (file / TOKENIZER).is_file():
            return file / TOKENIZER
        if not file.is_file() and not all((file / name).is_file() for name in _WORDS):
            place = file / TOKENIZER if file.is_dir() else file
            raise CheckpointError(
                f"{place} does not exist: give a tokenizer.json, or a folder that holds it or {' and '.join(_WORDS)}."
            )
        return file
    if (inside := checkpoint.document(TOKENIZER)) is not None:
        return inside
    candidates: list[Path] = []
    for path in (checkpoint.path, checkpoint.source("understanding")):
        folder = path if path.is_dir() else path.parent
        candidates.append(folder / TOKENIZER)
        if path.is_dir():  # beside a single file, subfolders are those of other models
            candidates.extend(sorted(folder.glob(f"*/{TOKENIZER}")))
    return next((file for file in candidates if file.is_file()), None)
