"""LightFusion's ComfyUI nodes. This folder is the only place that knows ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from ..lightfusion_core import errors
from . import folders


class LightFusionExtension(ComfyExtension):
    """The pack, as ComfyUI loads it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        from .edit import LightFusionEdit, LightFusionEdits
        from .encode import LightFusionEncode
        from .fitting import LightFusionCrop, LightFusionFit, LightFusionRestore
        from .latent import EmptyLightFusionLatent
        from .load import LoadLightFusion
        from .sampling import LightFusionGuider, LightFusionSampler, LightFusionScheduler, LightFusionSolver
        from .text import LightFusionAsk, LightFusionThink

        return [
            LoadLightFusion,
            LightFusionEncode,
            LightFusionSampler,
            LightFusionGuider,
            LightFusionScheduler,
            LightFusionSolver,
            EmptyLightFusionLatent,
            LightFusionEdit,
            LightFusionEdits,
            LightFusionCrop,
            LightFusionFit,
            LightFusionRestore,
            LightFusionAsk,
            LightFusionThink,
        ]


def name_errors() -> None:
    """Let the host show `LightFusion.InputError` where it would show the path of the file that defines it."""
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.LightFusionError):
            error.__module__ = "LightFusion"


async def comfy_entrypoint() -> LightFusionExtension:
    """Called once by ComfyUI when the pack is loaded."""
    folders.register()
    name_errors()
    return LightFusionExtension()
