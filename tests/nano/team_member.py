"""One process of a team that trains a small model together: writes what it ends with to FOLDER/RANK.pt.

torchrun --nproc-per-node 2 -m tests.nano.team_member FOLDER STEPS
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.nano.training import Training, optimizers_of


def main(folder: Path, until: int) -> None:
    module, mean = (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 1)) for _ in range(2))
    for part in (module, mean):
        for k, parameter in enumerate(part.parameters()):
            torch.nn.init.trunc_normal_(parameter, generator=torch.Generator().manual_seed(k))
    optimizers = optimizers_of(module, 0.01, ("0.", "2."))
    training = Training(folder / "small.pt", module, mean, optimizers, rate=0.01, plan=40, seed=5)
    team = training.team

    def losses(rng: random.Random) -> tuple[Tensor, dict[str, float]]:
        batch = torch.randn(16, 4, generator=torch.Generator().manual_seed(training.step))
        x = batch[team.rank :: team.count]
        assert len(x) == team.share(16)
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        return loss, {"loss": float(loss.detach())}

    training.run(losses, math.inf, until=until)
    torch.save(mean.state_dict(), folder / f"{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
