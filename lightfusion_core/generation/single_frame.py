"""Wan's VAE on single pictures: the same layers, names and results as diffusers', with less to compute and to keep.

Before a first frame Wan's causal convolutions put frames of zeros, so that two thirds of the products of a kernel of
three frames are with zeros; and each keeps a copy of its input for the next frames, which a picture has not.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor


class PictureConv(WanCausalConv3d):
    """A causal convolution that takes a first and only frame as a picture, by the last of its weights in time.

    All else is its parent's: more frames, a frame after others, a kernel of more frames than are put before the first.
    """

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        """x (B, C, T, H, W), with the last frames before it (B, C, t, H, W) if any, to (B, C', T', H', W')."""
        columns, _, rows, _, frames, _ = self._padding
        if x.shape[2] != 1 or cache_x is not None or frames != self.kernel_size[0] - 1:
            return super().forward(x, cache_x)
        last = self.weight[:, :, -1]
        return F.conv2d(x.squeeze(2), last, self.bias, self.stride[1:], (rows, columns)).unsqueeze(2)


class PictureAutoencoder(AutoencoderKLWan):
    """diffusers' model, which keeps no features where there is a single frame."""

    _is_picture = False

    def _encode(self, x: Tensor) -> Tensor:
        self._is_picture = x.shape[2] == 1
        return super()._encode(x)

    def _decode(self, z: Tensor, return_dict: bool = True) -> Any:
        self._is_picture = z.shape[2] == 1
        return super()._decode(z, return_dict)

    def clear_cache(self) -> None:
        """Begin a run, in which layers keep what they saw in lists, or nothing where they find None."""
        super().clear_cache()
        if self._is_picture:
            self._feat_map = self._enc_feat_map = None


def picture_autoencoder(**sizes: Any) -> PictureAutoencoder:
    """The model of these sizes, all of its causal convolutions `PictureConv`. Takes and raises what diffusers' does."""
    model = PictureAutoencoder(**sizes)
    for layer in model.modules():
        if type(layer) is WanCausalConv3d:
            layer.__class__ = PictureConv  # its parameters stay what they are
    return model
