"""Classifier-free guidance for text and image, with interval and renorm (rule B21)."""

from __future__ import annotations

from dataclasses import dataclass

from einops import reduce
from torch import Tensor

from ..errors import InputError

MOST = 1000
"""The largest scale: far more than what draws anything, far less than what overflows."""

RENORMS = ("none", "global", "channel", "text_channel")


@dataclass(frozen=True, slots=True)
class Guidance:
    """How the branches' velocities become one.

    text: scale of the prompt against the negative branch; 1 or less turns guidance off altogether.
    image: scale of the references against the branch without them; 1 or less turns it off.
    renorm: how the mixed velocity's norm is held to the prompted one's: "none", "global" (one norm a
        picture), "channel" (one a token), "text_channel" (one a token, before the image mix).
    renorm_min: the smallest factor that renorm may apply, 0 to 1.
    interval: guidance acts at noise levels t with low < t <= high, 0 to 1.
    every: the branches other than the prompt's run at every `every`-th step where guidance acts; between them what it
        last added to the prompted velocity is added again.
    """

    text: float = 3.0
    image: float = 1.0
    renorm: str = "none"
    renorm_min: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)
    every: int = 1

    def __post_init__(self) -> None:
        for name, scale in (("text", self.text), ("image", self.image)):
            if not abs(scale) <= MOST:
                raise InputError(f"The {name} guidance must lie between -{MOST} and {MOST}, found {scale:g}.")
        if self.renorm not in RENORMS:
            raise InputError(f"renorm must be one of {', '.join(RENORMS)}, found {self.renorm!r}.")
        if not 0 <= self.renorm_min <= 1:
            raise InputError(f"renorm_min must lie between 0 and 1, found {self.renorm_min}.")
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise InputError(
                f"The guidance interval must run from low to high within 0 and 1, found {low:g} to {high:g}."
            )
        if self.every < 1:
            raise InputError(f"Guidance can be worked out at every step (1) or every so many, found {self.every}.")

    def branches(self, without_references: bool) -> int:
        """How many branches the network runs where guidance acts: the prompt's, the negative one, and the one without
        references, where there is such a one."""
        if self.text <= 1:
            return 1
        return 3 if self.image > 1 and without_references else 2

    def is_active(self, timestep: int) -> bool:
        """Whether guidance acts at this integer timestep (0 to 999)."""
        return self.text > 1 and self.interval[0] < timestep / 1000 <= self.interval[1]

    def mix(self, full: Tensor, negative: Tensor, no_image: Tensor | None, patch: int) -> Tensor:
        """The guided velocity out of the branches' (B, C, 1, h, w).

        `no_image` is None where there are no references or image guidance is off. `patch` is the side
        of a token in latent positions.
        """
        return self.finish(full, negative + self.text * (full - negative), no_image, patch)

    def finish(self, full: Tensor, guided: Tensor, no_image: Tensor | None, patch: int) -> Tensor:
        """As `mix`, from where the text guidance is already mixed into `guided`."""
        if self.renorm == "text_channel":
            guided = guided * self._factor(full, guided, patch)
        if self.image > 1 and no_image is not None:
            guided = no_image + self.image * (guided - no_image)
        if self.renorm in ("global", "channel"):
            guided = guided * self._factor(full, guided, patch)
        return guided

    def _factor(self, full: Tensor, guided: Tensor, patch: int) -> Tensor:
        norms = [_norm(velocity, None if self.renorm == "global" else patch) for velocity in (full, guided)]
        return (norms[0] / (norms[1] + 1e-8)).clamp(self.renorm_min, 1.0)


def _norm(velocity: Tensor, patch: int | None) -> Tensor:
    """The norm of each picture (B, 1, 1, 1, 1), or of each token over all its numbers (B, 1, 1, h, w)."""
    square = velocity.square()
    if patch is None:
        return square.sum(dim=(1, 2, 3, 4), keepdim=True).sqrt()
    tokens = reduce(square, "b c 1 (h p) (w q) -> b 1 1 h w", "sum", p=patch, q=patch).sqrt()
    return tokens.repeat_interleave(patch, -2).repeat_interleave(patch, -1)


OFF = Guidance(text=1.0)
"""The prompted velocity as it is."""
