"""The optimiser of the towers' matrices against torch's own."""

from __future__ import annotations

import torch

from tools.nano.muon import Muon


def test_many_matrices_at_once_are_moved_as_torch_moves_each() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(24, 24), (24, 48), (48, 24), (24, 24)]
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = [torch.nn.Parameter(one.detach().clone()) for one in ours]
    one = Muon(ours, 0.01, like_adam=True)
    other = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        one.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() / b.norm() < 2e-3
