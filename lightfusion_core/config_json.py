"""A model's configuration as JSON, in and out.

The sections have the names of the authors' configuration (`text_config`, `vision_config`, `vgen_config`, `fusion`,
`special_token_ids`), so that such a file reads as it is; sections it lacks take the large model's values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from .config import (
    Defaults,
    DiTConfig,
    FusionConfig,
    ModelConfig,
    SpecialTokens,
    TextConfig,
    VAEConfig,
    VisionConfig,
    check,
)
from .errors import ConfigError
from .texts import parse_json, reason, shortened

_Section = TypeVar("_Section")

_SECTIONS = {
    "text": "text_config",
    "vision": "vision_config",
    "dit": "vgen_config",
    "vae": "vae_config",
    "special_tokens": "special_token_ids",
}


def config_to_json(config: ModelConfig) -> str:
    """The configuration as JSON, which `config_from_json` reads back to an equal object."""
    sections = {_SECTIONS.get(f.name, f.name): getattr(config, f.name) for f in fields(config)}
    plain = {
        name: asdict(value) if hasattr(value, "__dataclass_fields__") else value for name, value in sections.items()
    }
    return json.dumps(plain, indent=1) + "\n"


def config_from_json(text: str) -> ModelConfig:
    """Read `config_to_json`'s form or the authors' (unknown descriptive keys are passed over).

    Raises:
        ConfigError: not JSON, a value of the wrong kind, or parts that do not fit together.
    """
    try:
        data = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"The model configuration is not JSON: {reason(error)}.") from None
    check(isinstance(data, dict), "The model configuration must be a JSON object.")
    return config_from_dict(data)


def config_from_dict(data: Mapping[str, Any]) -> ModelConfig:
    """As `config_from_json`, from a parsed object."""
    text = dict(_object(data, "text_config"))
    rope = text.get("rope_scaling") or text.get("rope_parameters")
    for key in ("mrope_section", "rope_theta"):
        if isinstance(rope, Mapping) and key in rope:
            text.setdefault(key, rope[key])
    tokens = dict(_object(data, "special_token_ids"))
    if "newline_token_ids" in data:
        tokens["newline_token_ids"] = data["newline_token_ids"]
    dit = dict(_object(data, "vgen_config"))
    patch = dit.get("patch_size")
    if isinstance(patch, list | tuple):
        flat = len(patch) == 3 and patch[0] == 1 and patch[1] == patch[2]
        check(flat, f"vgen_config: patch_size must be [1, p, p], found {shortened(patch)}.")
        dit["patch_size"] = patch[-1]
    large = ModelConfig()
    return ModelConfig(
        **_known(
            large, {key: data[key] for key in ("name", "tasks", "max_extent") if key in data}, "the configuration"
        ),
        text=_section(TextConfig(), text, "text_config"),
        vision=_section(VisionConfig(), _object(data, "vision_config"), "vision_config"),
        dit=_section(DiTConfig(), dit, "vgen_config"),
        fusion=_section(FusionConfig(), _object(data, "fusion"), "fusion"),
        vae=_section(VAEConfig(), _object(data, "vae_config"), "vae_config"),
        special_tokens=_section(SpecialTokens(), tokens, "special_token_ids"),
        vae_image=_section(large.vae_image, _object(data, "vae_image"), "vae_image"),
        vit_image=_section(large.vit_image, _object(data, "vit_image"), "vit_image"),
        defaults=_section(Defaults(), _object(data, "defaults"), "defaults"),
    )


def config_from_file(path: Path) -> ModelConfig:
    """Read a `config.json`, with or without a byte order mark. Raises ConfigError naming the file."""
    try:
        return config_from_json(path.read_text(encoding="utf-8-sig"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _object(data: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """A section of the JSON; empty where there is none."""
    section = data.get(where, {})
    check(isinstance(section, Mapping), f"{where} must be a JSON object, found {shortened(section)}.")
    return section


def _like(value: Any, default: Any) -> Any:
    """`value` as the kind of thing that `default` is; whole numbers pass for floats. Raises TypeError."""
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(_like(item, default[0]) for item in value)
    if type(default) is float and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise TypeError
    return value


def _known(base: object, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The `values` that are fields of the dataclass `base`, each of the kind that it replaces."""
    known = {}
    for item in fields(base):  # type: ignore[arg-type]  # base is one of the dataclasses above
        if item.name in values:
            value, default = values[item.name], getattr(base, item.name)
            try:
                known[item.name] = _like(value, default)
            except (TypeError, OverflowError):
                kind = type(default[0] if isinstance(default, tuple) else default).__name__
                kind = f"a list of {kind}" if isinstance(default, tuple) else f"of type {kind}"
                raise ConfigError(f"{where}: {item.name} must be {kind}, found {shortened(value)}.") from None
    return known


def _section(base: _Section, values: Mapping[str, Any], where: str) -> _Section:
    """`base` with the known `values`; unknown ones only describe."""
    return replace(base, **_known(base, values, where))  # type: ignore[type-var]
