"""LightFusion's ComfyUI nodes. This folder is the only place that knows ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from . import folders


class LightFusionExtension(ComfyExtension):
    """The pack, as ComfyUI loads it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        from .edit import LightFusionEdit
        from .encode import LightFusionEncode
        from .fitting import LightFusionFit, LightFusionRestore
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
            LightFusionFit,
            LightFusionRestore,
            LightFusionAsk,
            LightFusionThink,
        ]


async def comfy_entrypoint() -> LightFusionExtension:
    """Called once by ComfyUI when the pack is loaded."""
    folders.register()
    return LightFusionExtension()
