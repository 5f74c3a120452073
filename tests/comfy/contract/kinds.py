"""The kinds of objects that the pack makes for its host: what ours is called, and how the host's sources name one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        ours: the class of ours, or the host's own class where one is filled in by hand.
        parent: the host's class of the kind, None where the host asks for nothing but certain names.
        called: how expressions of it end in the host's sources: "a.b" for an attribute, "b" for an argument.
        within: the modules (prefixes) in which they mean it.
        classes: the classes in whose methods they mean it, "" for none; empty for all.
        filled: how expressions end on which the host sets attributes of what it has made; ours sets the same.
    """

    name: str
    ours: str
    parent: str | None
    called: tuple[str, ...] = ()
    within: tuple[str, ...] = ("nodes", "comfy", "comfy_extras", "comfy_execution", "execution", "latent_preview")
    classes: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()


_NODES = ("nodes", "comfy_extras")

KINDS = (
    Kind("VAE", "LightFusionVAE", "comfy.sd.VAE", ("vae",), _NODES),
    Kind("autoencoder", "FirstStage", None, (".first_stage_model",)),
    Kind("CLIP", "comfy.sd.CLIP", "comfy.sd.CLIP", ("clip",), _NODES),
    Kind("text encoder", "UnderstandingModel", None, (".cond_stage_model",)),
    Kind("tokenizer", "TextTokens", None, ("self.tokenizer", "clip.tokenizer"), ("nodes", "comfy_extras", "comfy.sd"),
        ("", "CLIP")),
    Kind("model", "LightFusionModel", "comfy.model_base.BaseModel"),
    Kind("network", "LightFusionNet", None, (".diffusion_model",), (*_NODES, "comfy"), ("", "BaseModel", "ModelPatcher",
        "ModelPatcherDynamic", "CFGGuider", "KSampler")),
    Kind("latent format", "LightFusionLatent", "comfy.latent_formats.LatentFormat", (".latent_format", "latent_format"),
        classes=("", "BaseModel", "CFGGuider")),
    Kind("model config", "LightFusionSettings", "comfy.supported_models_base.BASE", (".model_config",),
        ("comfy.model_base", "comfy.samplers", "comfy.model_sampling"), ("", "BaseModel")),
    Kind("guider", "DualGuider", "comfy.samplers.CFGGuider", ("guider",)),
    Kind("sampler", "ExactSolver", "comfy.samplers.Sampler", ("sampler",), ("comfy.samplers", "comfy_extras")),
    Kind("patcher", "comfy.model_patcher.ModelPatcher", None, within=("comfy.sd", "nodes"),
        filled=("patcher", "model_patcher", ".patcher")),
    Kind("condition", "BranchCond", "comfy.conds.CONDConstant"),
    Kind("scaled layers", "ScaledOperations", "comfy.ops.manual_cast"),
    Kind("scaled layer", "ScaledOperations.Linear", "comfy.ops.manual_cast.Linear"),
)  # fmt: skip

PEERS = {
    "scaled layer": ("comfy.ops", "", ("convert_weight", "set_weight")),
    "sampler": ("comfy.samplers", "KSAMPLER", ("sample",)),
}
"""Methods that the host calls by name on whatever has them: those of ours take what those of its own classes take."""

_LOADER = "only the host's own loader calls it, while it builds one"
_CHUNKED = "only of one that says `comfy_has_chunked_io`"
_AUDIO = "audio nodes ask it of an audio VAE"

EXCUSED: dict[str, str] = {
    "text encoder.load_sd": _LOADER,
    "comfy.text_encoders.llama.BaseGenerate": "asked for where TextGenerate runs, which hosts without it have not",
    "autoencoder.decode_output_shape": _CHUNKED,
    "autoencoder.decode(_, output_buffer=)": _CHUNKED,
    "autoencoder.encode(_, device=)": _CHUNKED,
    "autoencoder.decode_tiled": "only where `handles_tiling` is set",
    "autoencoder.encode_tiled": "only where `handles_tiling` is set",
    "autoencoder.output_sample_rate": _AUDIO,
    "autoencoder.latent_frequency_bins": _AUDIO,
    "autoencoder.num_of_latents_from_frames": _AUDIO,
    "autoencoder.per_channel_statistics": "the upsampler of LTX video asks it of that VAE",
    "autoencoder.resolution": "nodes for meshes ask it of that VAE",
}
"""Demands that are not ours to meet, with the reason. One that no host makes any more is taken out."""
