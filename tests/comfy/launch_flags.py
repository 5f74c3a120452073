"""ComfyUI's launch flags, sorted: those under which our model draws the same here, and those that mean nothing here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """Flags, and what follows of them.

    Attributes:
        within: how far each picture may be from that without the flags: the mean difference in 255ths.
        held: a dtype that weights of a part are then held in, or the attention that then runs.
        needs: a line of Python that runs where the flag is of use.
    """

    flags: tuple[str, ...]
    within: float = 0.02
    held: dict[str, str] = field(default_factory=dict)
    needs: str | None = None

    def __str__(self) -> str:
        return " ".join(self.flags)


def _case(flags: str, within: float = 0.02, **settings: Any) -> Case:
    return Case(tuple(flags.split()), within, **settings)


# Above what nano shows at its own size (at most 0.01, 0.09 and 0.78); sums in another order stay below 0.001
_FP16, _BF16, _FP8 = 0.1, 0.5, 1.0
_SCALED = "float8_e4m3fn"

CASES = (
    _case("--fp8_e4m3fn-unet --fp8_e4m3fn-text-enc", _FP8, held={"model": _SCALED, "text encoder": _SCALED}),
    _case("--fp8_e4m3fn-unet", _FP8, held={"model": _SCALED}),
    _case("--fp8_e5m2-unet", _FP8, held={"model": _SCALED}),
    _case("--fp8_e8m0fnu-unet", _FP8, held={"model": _SCALED}),
    _case("--fp16-unet", _FP16, held={"model": "float16"}),
    _case("--bf16-unet", _BF16, held={"model": "bfloat16"}),
    _case("--fp32-unet", held={"model": "float32"}),
    _case("--fp64-unet", held={"model": "float64"}),
    _case("--force-fp16", _FP16, held={"model": "float16"}),
    _case("--force-fp32", held={"model": "float32"}),
    _case("--fp8_e4m3fn-text-enc", _FP8, held={"text encoder": _SCALED}),
    _case("--fp8_e5m2-text-enc", _FP8, held={"text encoder": _SCALED}),
    _case("--fp16-text-enc", _FP16, held={"text encoder": "float16"}),
    _case("--bf16-text-enc", _BF16, held={"text encoder": "bfloat16"}),
    _case("--fp32-text-enc", held={"text encoder": "float32"}),
    _case("--fp16-vae", _FP16, held={"vae": "float16"}),
    _case("--bf16-vae", _BF16, held={"vae": "bfloat16"}),
    _case("--fp32-vae", held={"vae": "float32"}),
    _case("--cpu-vae"),
    _case("--fp16-intermediates", _FP16),
    _case("--use-split-cross-attention", held={"attention": "attention_split"}),
    _case("--use-quad-cross-attention", held={"attention": "attention_sub_quad"}),
    _case("--use-pytorch-cross-attention", held={"attention": "attention_pytorch"}),
    _case("--use-sage-attention", needs="import sageattention"),
    _case("--use-flash-attention", needs="import flash_attn"),
    _case("--use-ck-attention", needs="import comfy_kitchen; assert comfy_kitchen.int8_attention_is_available()"),
    _case("--disable-xformers"),
    _case("--force-upcast-attention"),
    _case("--dont-upcast-attention"),
    _case("--gpu-only"),
    _case("--highvram"),
    _case("--normalvram"),
    _case("--lowvram"),
    _case("--novram"),
    _case("--cpu"),
    _case("--reserve-vram 1"),
    _case("--vram-headroom 1"),
    _case("--async-offload"),
    _case("--async-offload 3"),
    _case("--disable-async-offload"),
    _case("--disable-dynamic-vram"),
    _case("--enable-dynamic-vram"),
    _case("--disable-smart-memory"),
    _case("--disable-pinned-memory"),
    _case("--fast-disk"),
    _case("--high-ram"),
    _case("--force-non-blocking"),
    _case("--disable-mmap"),
    _case("--mmap-torch-files"),
    _case("--force-channels-last"),
    _case("--supports-fp8-compute --fp8_e4m3fn-unet", _FP8, held={"model": _SCALED}),
    _case("--deterministic"),
    _case("--fast"),
)

CACHES = ("--cache-classic", "--cache-lru 3", "--cache-none", "--cache-ram", "--cache-ram 1")
"""Ways to keep results, which need a server to keep them."""

_SERVER = "of the server, its folders and its pages"
_GPU = "chooses or sets up a GPU"
ELSEWHERE = {
    **dict.fromkeys((
        "-h", "--help", "--listen", "--port", "--tls-keyfile", "--tls-certfile", "--enable-cors-header",
        "--max-upload-size", "--base-directory", "--models-directory", "--extra-model-paths-config",
        "--output-directory", "--temp-directory", "--input-directory", "--user-directory", "--auto-launch",
        "--disable-auto-launch", "--dont-print-server", "--quick-test-for-ci", "--windows-standalone-build",
        "--disable-metadata", "--disable-all-custom-nodes", "--whitelist-custom-nodes", "--disable-api-nodes",
        "--multi-user", "--verbose", "--log-stdout", "--front-end-version", "--front-end-root",
        "--enable-compress-response-body", "--comfy-api-base", "--database-url", "--enable-assets",
        "--enable-asset-hashing", "--feature-flag", "--list-feature-flags", "--enable-manager",
        "--disable-manager-ui", "--enable-manager-legacy-ui", "--default-hashing-function", "--preview-method",
        "--preview-size", "--debug-hang",
    ), _SERVER),
    **dict.fromkeys((
        "--cuda-device", "--default-device", "--cuda-malloc", "--disable-cuda-malloc", "--directml",
        "--oneapi-device-selector", "--disable-ipex-optimize", "--disable-cuda-graphs", "--enable-triton-backend",
        "--disable-triton-backend", "--disable-nvml-pressure",
    ), _GPU),
}  # fmt: skip
"""Flags under which there is nothing to draw here, with the reason."""


def sorted_flags() -> set[str]:
    """All that has a place in one of the tables."""
    used = {flag for case in CASES for flag in case.flags if flag.startswith("-")}
    return used | {cache.split()[0] for cache in CACHES} | set(ELSEWHERE)
