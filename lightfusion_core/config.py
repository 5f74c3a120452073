"""The model's configuration: frozen, checked when made.

Everything that differs between two LightFusion models stands here and nowhere else. `config_json` reads and writes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from . import wan22
from .errors import ConfigError
from .texts import shortened

NEGATIVE_PROMPT = (
    "Bright tones, overexposed, blurred details, subtitles, style, works, paintings, images, overall gray, "
    "worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly drawn hands, "
    "poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, messy background, three legs, "
    "many people in the background, walking backwards"
)

THINK_GUIDANCE = {"text": 4.0, "image": 2.0, "renorm": "text_channel", "interval": (0.7, 1.0)}
"""The fields of `Guidance` that "think, then draw" was published with (rule B29)."""

TIMESTEPS = 1000
"""The network's clock: timesteps are integers from 0 to 999 (rule B17)."""

TASKS = ("generate", "edit", "answer", "converse")
"""What a model may be trained for. To converse: chats of several turns, and to tell what a sentence asks for."""

_LAYERS, _WIDTH, _WIDER, _ROWS, _PIXELS = 512, 1 << 16, 1 << 18, 1 << 22, 1 << 15
"""The most layers of a tower, channels of a stream, channels inside of a layer, rows of a table, pixels of a side."""

_LONGEST = 1 << 14
"""The most values of a list."""


def check(condition: bool, message: str) -> None:
    """Raise ConfigError with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


_Value = TypeVar("_Value")


def _up_to(most: float, default: _Value = MISSING) -> _Value:  # type: ignore[assignment]  # as dataclasses declare it
    """A field whose numbers, all of those that it holds, are at most `most`.

    The limits leave room for models many times as large as any that is known. What lies beyond is no model: it would
    take minutes to build, or all memory, before anybody could say what is wrong.
    """
    named: Any = {} if default is MISSING else {"default": default}
    return field(metadata={"most": most}, **named)


def _check_numbers(section: Any, where: str, *, signed: tuple[str, ...] = ()) -> None:
    """Refuse what is no number, beyond its field's limit, or zero or less: the checks that follow divide by them.

    Args:
        signed: fields whose numbers may be zero or less.
    """
    for item in fields(section):
        for value in _numbers(getattr(section, item.name)):
            said, most = f"found {shortened(value)}", item.metadata.get("most", math.inf)
            check(value == value, f"{where}: {item.name} must be a number, {said}.")
            check(item.name in signed or value > 0, f"{where}: {item.name} must be above 0, {said}.")
            check(abs(value) <= most, f"{where}: {item.name} must be at most {most:,}, {said}.")


def _numbers(value: Any) -> Iterator[float]:
    """The numbers of a field, those in lists too."""
    if isinstance(value, tuple):
        check(len(value) <= _LONGEST, f"A list of the configuration has {len(value):,} values, more than {_LONGEST:,}.")
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The language side of Qwen2.5-VL. Defaults: the 7B model."""

    vocab_size: int = _up_to(_ROWS, 152064)
    hidden_size: int = _up_to(_WIDTH, 3584)
    intermediate_size: int = _up_to(_WIDER, 18944)
    num_hidden_layers: int = _up_to(_LAYERS, 28)
    num_attention_heads: int = _up_to(1024, 28)
    num_key_value_heads: int = _up_to(1024, 4)
    max_position_embeddings: int = _up_to(1 << 24, 32768)
    rms_norm_eps: float = _up_to(1e-2, 1e-6)
    rope_theta: float = _up_to(1e12, 1e6)
    mrope_section: tuple[int, int, int] = _up_to(1024, (16, 24, 24))

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    def __post_init__(self) -> None:
        _check_numbers(self, "text_config")
        check(
            self.hidden_size % self.num_attention_heads == 0,
            f"text_config: hidden_size {self.hidden_size} is not a multiple of its {self.num_attention_heads} heads.",
        )
        check(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"text_config: {self.num_attention_heads} heads cannot share {self.num_key_value_heads} key-value heads.",
        )
        check(
            len(self.mrope_section) == 3 and 2 * sum(self.mrope_section) == self.head_dim,
            f"text_config: mrope_section {self.mrope_section} must be 3 numbers that add up to half the head size, "
            f"{self.head_dim} / 2 = {self.head_dim // 2}; it adds up to {sum(self.mrope_section)}.",
        )


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The vision tower of Qwen2.5-VL. Defaults: the 7B model."""

    depth: int = _up_to(_LAYERS, 32)
    hidden_size: int = _up_to(_WIDTH, 1280)
    intermediate_size: int = _up_to(_WIDER, 3420)
    num_heads: int = _up_to(1024, 16)
    in_channels: int = _up_to(64, 3)
    patch_size: int = _up_to(256, 14)
    temporal_patch_size: int = _up_to(16, 2)
    spatial_merge_size: int = _up_to(16, 2)
    window_size: int = _up_to(_PIXELS, 112)
    out_hidden_size: int = _up_to(_WIDTH, 3584)
    fullatt_block_indexes: tuple[int, ...] = _up_to(_LAYERS, (7, 15, 23, 31))

    @property
    def token_size(self) -> int:
        """Pixels that one merged vision token covers along each side."""
        return self.patch_size * self.spatial_merge_size

    def __post_init__(self) -> None:
        _check_numbers(self, "vision_config", signed=("fullatt_block_indexes",))
        head = self.hidden_size // self.num_heads
        check(
            self.hidden_size % self.num_heads == 0 and head % 4 == 0,
            f"vision_config: hidden_size {self.hidden_size} over {self.num_heads} heads must give a head size "
            "that is a multiple of 4.",
        )
        check(
            all(0 <= i < self.depth for i in self.fullatt_block_indexes),
            f"vision_config: fullatt_block_indexes {self.fullatt_block_indexes} go beyond the depth, {self.depth}.",
        )
        check(
            self.window_size >= self.token_size,
            f"vision_config: window_size must be at least one token, {self.token_size} pixels, found "
            f"{self.window_size}.",
        )


@dataclass(frozen=True, slots=True)
class DiTConfig:
    """The Wan diffusion transformer. Defaults: Wan2.2 TI2V-5B."""

    dim: int = _up_to(_WIDTH, 3072)
    num_layers: int = _up_to(_LAYERS, 30)
    num_heads: int = _up_to(1024, 24)
    ffn_dim: int = _up_to(_WIDER, 14336)
    in_dim: int = _up_to(1024, 48)
    out_dim: int = _up_to(1024, 48)
    patch_size: int = _up_to(16, 2)
    freq_dim: int = _up_to(1 << 14, 256)
    text_dim: int = _up_to(_WIDTH, 4096)
    text_len: int = _up_to(1 << 14, 512)
    eps: float = _up_to(1e-2, 1e-6)

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    def __post_init__(self) -> None:
        _check_numbers(self, "vgen_config")
        check(
            self.dim % self.num_heads == 0 and self.head_dim % 2 == 0,
            f"vgen_config: dim {self.dim} over {self.num_heads} heads must give an even head size.",
        )
        check(self.freq_dim % 2 == 0, f"vgen_config: freq_dim must be even, found {self.freq_dim}.")
        check(
            self.in_dim == self.out_dim,
            f"vgen_config: in_dim {self.in_dim} and out_dim {self.out_dim} must be the latent's channels, both.",
        )


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """The multimodal self-attention layers between the two towers."""

    num_layers: int = _up_to(_LAYERS, 29)
    hidden_size: int = _up_to(_WIDTH, 3072)
    num_attention_heads: int = _up_to(1024, 24)
    eps: float = _up_to(1e-2, 1e-6)

    def __post_init__(self) -> None:
        _check_numbers(self, "fusion")


@dataclass(frozen=True, slots=True)
class VAEConfig:
    """The image autoencoder (Wan2.2's architecture) and its latents. Defaults: the Wan2.2 VAE.

    `mean` and `std` are the per-channel statistics that normalise a latent, (latent - mean) / std.
    `preview_factors` is a (channels, 3) matrix from a normalised latent to RGB in -1..1, for previews.
    """

    base_dim: int = _up_to(1 << 12, 160)
    decoder_base_dim: int = _up_to(1 << 12, 256)
    z_dim: int = _up_to(1024, 48)
    dim_mult: tuple[int, ...] = _up_to(64, (1, 2, 4, 4))
    num_res_blocks: int = _up_to(64, 2)
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    patch_size: int = _up_to(16, 2)
    mean: tuple[float, ...] = _up_to(1e4, wan22.LATENT_MEAN)
    std: tuple[float, ...] = _up_to(1e4, wan22.LATENT_STD)
    preview_factors: tuple[tuple[float, ...], ...] = _up_to(1e4, wan22.PREVIEW_FACTORS)
    preview_bias: tuple[float, ...] = _up_to(1e4, wan22.PREVIEW_BIAS)

    @property
    def stride(self) -> int:
        """Pixels that one latent position covers along each side."""
        return self.patch_size * 2 ** (len(self.dim_mult) - 1)

    def __post_init__(self) -> None:
        _check_numbers(self, "vae_config", signed=("mean", "preview_factors", "preview_bias"))
        for name in ("mean", "std"):
            found = len(getattr(self, name))
            check(found == self.z_dim, f"vae_config: {name} needs {self.z_dim} values, one a channel, found {found}.")
        check(
            len(self.preview_factors) == self.z_dim,
            f"vae_config: preview_factors needs {self.z_dim} rows, found {len(self.preview_factors)}.",
        )
        check(
            {len(row) for row in (*self.preview_factors, self.preview_bias)} == {3},
            "vae_config: every row of preview_factors, and preview_bias, needs 3 values: red, green, blue.",
        )
        check(
            len(self.temporal_downsample) == len(self.dim_mult) - 1,
            f"vae_config: temporal_downsample needs {len(self.dim_mult) - 1} values, "
            f"found {len(self.temporal_downsample)}.",
        )
        check(0 < len(self.dim_mult) <= 8, f"vae_config: dim_mult needs 1 to 8 values, found {len(self.dim_mult)}.")


_ID_FIELDS = ("bos_token_id", "eos_token_id", "sov_token_id", "eov_token_id", "newline_token_ids")


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The four tokens that frame a segment (rule B2): by name in a tokenizer, by id where there is none."""

    bos: str = "<|im_start|>"
    eos: str = "<|im_end|>"
    sov: str = "<|vision_start|>"
    eov: str = "<|vision_end|>"
    bos_token_id: int = _up_to(_ROWS, 151644)
    eos_token_id: int = _up_to(_ROWS, 151645)
    sov_token_id: int = _up_to(_ROWS, 151652)
    eov_token_id: int = _up_to(_ROWS, 151653)
    newline_token_ids: tuple[int, ...] = _up_to(_ROWS, (198,))

    def __post_init__(self) -> None:
        _check_numbers(self, "special_token_ids", signed=_ID_FIELDS)
        longest = max(map(len, (self.bos, self.eos, self.sov, self.eov)))
        check(longest <= 200, f"special_token_ids: a token has at most 200 characters, found {longest}.")
        found = min(
            (self.bos_token_id, self.eos_token_id, self.sov_token_id, self.eov_token_id, *self.newline_token_ids)
        )
        check(found >= 0, f"special_token_ids: an id is 0 or more, found {found}.")


@dataclass(frozen=True, slots=True)
class SizeRule:
    """How a picture's sides are chosen (rule B23), in pixels: the long side at most `max`, the short
    one at least `min`, both multiples of `stride`, the area at most `max_area`."""

    max: int = _up_to(_PIXELS)
    min: int = _up_to(_PIXELS)
    stride: int = _up_to(1 << 12)
    max_area: int = _up_to(1 << 28, 1806336)

    def __post_init__(self) -> None:
        _check_numbers(self, "size rule")
        check(self.min <= self.max, f"size rule: min {self.min} must not be above max {self.max}.")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request that names nothing gets: the published settings of this model."""

    size: int = _up_to(_PIXELS, 1024)
    max_size: int = _up_to(_PIXELS, 2048)
    steps: int = _up_to(TIMESTEPS, 50)
    shift: float = _up_to(1e4, 4.0)
    text_guidance: float = _up_to(1e4, 3.0)
    image_guidance: float = _up_to(1e4, 1.0)
    negative_prompt: str = NEGATIVE_PROMPT

    def __post_init__(self) -> None:
        _check_numbers(self, "defaults", signed=("text_guidance", "image_guidance"))
        check(self.size <= self.max_size, f"defaults: size {self.size} must not be above max_size {self.max_size}.")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One LightFusion model. Frozen; `replace` it to change something.

    Raises:
        ConfigError: where the parts do not fit together.
    """

    name: str = "lightfusion-7b-5b"
    text: TextConfig = field(default_factory=TextConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    dit: DiTConfig = field(default_factory=DiTConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    special_tokens: SpecialTokens = field(default_factory=SpecialTokens)
    vae_image: SizeRule = SizeRule(1024, 512, 32)
    vit_image: SizeRule = SizeRule(532, 224, 28)
    defaults: Defaults = field(default_factory=Defaults)
    tasks: tuple[str, ...] = TASKS
    max_extent: int = _up_to(512, 64)

    @property
    def token_size(self) -> int:
        """Pixels that one generation token covers along each side."""
        return self.vae.stride * self.dit.patch_size

    @property
    def extent(self) -> int:
        """Pixels along the longest side that the model has places for."""
        return self.max_extent * self.token_size

    def rounded(self, side: float) -> int:
        """A side in pixels as the nearest multiple of one token, at least one."""
        return max(1, round(side / self.token_size)) * self.token_size

    def __post_init__(self) -> None:
        _check_numbers(self, "the configuration")
        check(0 < len(self.name) <= 200, f"name must have 1 to 200 characters, found {len(self.name)}.")
        unknown = [task for task in self.tasks if task not in TASKS]
        check(not unknown, f"tasks: there is no task {shortened(', '.join(unknown))}: choose of {', '.join(TASKS)}.")
        deepest = max(self.text.num_hidden_layers, self.dit.num_layers) - 1
        shallowest = min(self.text.num_hidden_layers, self.dit.num_layers) - 1
        check(
            self.fusion.num_layers in (deepest, shallowest),
            f"fusion: {self.text.num_hidden_layers} VLM layers and {self.dit.num_layers} DiT blocks take {deepest} "
            f'("max") or {shallowest} ("min") fusion layers, found {self.fusion.num_layers}.',
        )
        check(
            self.fusion.hidden_size == self.dit.dim and self.fusion.num_attention_heads == self.dit.num_heads,
            f"fusion: width {self.fusion.hidden_size} in {self.fusion.num_attention_heads} heads must be the DiT's, "
            f"{self.dit.dim} in {self.dit.num_heads}.",
        )
        check(
            self.dit.head_dim == self.text.head_dim,
            f"fusion: the DiT's head size {self.dit.head_dim} must be the VLM's, {self.text.head_dim}, "
            "so that the VLM's rotary tables fit.",
        )
        check(
            self.vision.out_hidden_size == self.text.hidden_size,
            f"vision_config: out_hidden_size {self.vision.out_hidden_size} must be the VLM's width, "
            f"{self.text.hidden_size}.",
        )
        check(
            self.vae.z_dim == self.dit.in_dim,
            f"vae_config: {self.vae.z_dim} latent channels do not fit the DiT's in_dim {self.dit.in_dim}.",
        )
        check(
            self.vae_image.stride % self.token_size == 0,
            f"vae_image: stride {self.vae_image.stride} must be a multiple of one token, {self.token_size} pixels.",
        )
        check(
            self.vit_image.stride % self.vision.token_size == 0,
            f"vit_image: stride {self.vit_image.stride} must be a multiple of one vision token, "
            f"{self.vision.token_size} pixels.",
        )


PRESETS: dict[str, ModelConfig] = {"7b-5b": ModelConfig()}
