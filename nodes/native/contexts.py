"""What a sampling run keeps: the context, the keys and values of all that no step changes.

It is built when the run first needs it, in an object that the run carries, and a sampling wrapper drops it when the run
ends, however it ends. Where weights change within a run, by hooks, each of their states has a context of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import comfy.hooks
import comfy.model_patcher
import torch
from torch import Tensor

from ...lightfusion_core.conditioning import Branch
from ...lightfusion_core.generation.context import Context, ContextBuilder
from ...lightfusion_core.generation.rope import Stretch
from ...lightfusion_core.sampling.skipping import Passes, Skipping
from .attention import comfy_attention
from .hooks import attention_hooks, stretch_of
from .telling import inform, tell

if TYPE_CHECKING:
    from .model import LightFusionNet

RUN = "lightfusion_run"
"""The name of a run's context object in the transformer options."""

PICTURES = "lightfusion_pictures"
"""The name of the batch's pictures there for which the network is to run, where it is not all of them."""

Hooked = tuple[tuple[comfy.hooks.Hook, float], ...]
"""The hooks on a model's weights with their strengths."""


def hooked_now(patcher: comfy.model_patcher.ModelPatcher | None) -> Hooked:
    """The hooks that a patcher's weights are under: a prompt may bring a LoRA along, and keyframes change it on the
    way, both within one run."""
    if patcher is None or patcher.current_hooks is None:
        return ()
    return tuple((hook, hook.strength) for hook in patcher.current_hooks.get_type(comfy.hooks.EnumHookType.Weight))


class Run:
    """One sampling run's context, grown as branches come to be needed, and what it cost where passes are skipped.

    Args:
        patcher: whose weights the run is on; without one they do not change while it lasts.
        copies: the patchers of further devices, which a run may be spread over, each with a net of its own.
    """

    def __init__(
        self,
        patcher: comfy.model_patcher.ModelPatcher | None = None,
        copies: Mapping[torch.device, comfy.model_patcher.ModelPatcher] | None = None,
    ) -> None:
        self.patcher, self.copies = patcher, copies or {}
        self.passes = Passes()
        self.clear()

    def clear(self) -> None:
        """Drop everything that was built."""
        self.builders: dict[tuple[torch.device, Hooked], ContextBuilder] = {}
        self.made: dict[tuple[torch.device, Hooked, int, int, int, Stretch], Context] = {}
        self.told: set[str] = set()
        self._skipping: Skipping | None = None
        self._given: dict[Any, Tensor] = {}

    def skipping(self, cache: float, every: int) -> Skipping:
        """What decides which passes this run does without; made at its first step."""
        if self._skipping is None:
            self._skipping = Skipping(cache, every, self.passes)
        return self._skipping

    def filled_up(self, drawn: Tensor, ran: list[int], x: Tensor, uuids: list[Any]) -> Tensor:
        """All rows of a call in which those of `ran` were drawn; another is what its condition gave last. Nobody asks
        for it, but a patch that keeps a mean over steps reads it."""
        last = []
        for uuid, part in zip(uuids, x.chunk(len(uuids)), strict=True):
            old = self._given.get(uuid)
            last.append(torch.zeros_like(part) if old is None or old.shape != part.shape else old)
        made = torch.cat(last)
        made[ran] = drawn
        self._given.update(zip(uuids, made.chunk(len(uuids)), strict=True))
        return made

    def branch(
        self,
        net: LightFusionNet,
        branch: Branch,
        rows: int,
        columns: int,
        device: torch.device,
        options: dict[str, Any],
    ) -> Context:
        """This branch's keys and values for pictures of (rows, columns) tokens, where the net runs, and under the
        hooks that its weights are under now."""
        stretch, hooked = stretch_of(options), hooked_now(self.copies.get(device, self.patcher))
        key = (device, hooked, id(branch), rows, columns, stretch)
        if key not in self.made:
            if (device, hooked) not in self.builders:
                self._drop_outdated()
                hooks = attention_hooks(options, comfy_attention)
                self.builders[device, hooked] = ContextBuilder(net, device, net.vlm, hooks)
            self.made[key] = self.builders[device, hooked].build([branch], rows, columns, stretch)
        return self.made[key]

    def _drop_outdated(self) -> None:
        """Drop what was made under strengths that keyframes have left behind."""
        for kept in (self.builders, self.made):
            for key in [key for key in kept if any(hook.strength != strength for hook, strength in key[1])]:
                del kept[key]

    def tell_unused(self, patches: Iterable[str], blocks: int) -> None:
        """Name the patches that have no effect, each once a run."""
        found = {name for name in patches if name not in self.told}
        if found:
            self.told |= found
            tell(
                f"{', '.join(sorted(found))}: no effect on this model. Its network is a transformer of the double "
                f"blocks 0 to {blocks - 1} for pictures of one frame: bypass the node, or choose a block that is there."
            )


def carry_run(executor: Any, guider: Any, sigmas: Tensor, extra_args: dict[str, Any], *rest: Any) -> Tensor:
    """A sampling wrapper: gives the run its context object, and drops what is in it at the end."""
    options = extra_args["model_options"]
    run = Run(guider.model_patcher, options.get("multigpu_clones"))
    options.setdefault("transformer_options", {})[RUN] = run
    try:
        drawn = executor(guider, sigmas, extra_args, *rest)
    finally:
        run.clear()
    if run.passes.steps:
        inform(f"{run.passes}.")
    return drawn
