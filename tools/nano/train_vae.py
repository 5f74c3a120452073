"""Stage 1: the VAE, Wan2.2's architecture made small, trained on pictures of the world.

    python -m tools.nano.train_vae                    train, or go on where it stopped
    python -m tools.nano.train_vae --check            what the judge makes of its reconstructions
    python -m tools.nano.train_vae --export DIR       weights and configuration in the large model's layout
    python -m tools.nano.train_vae --on-from DIR      all of it, on from the VAE in a model's folder
    python -m tools.nano.train_vae --decoder-of DIR   the decoder alone, on from there

The first part of the training sees crops around things, where the edges are; the rest sees whole pictures of several
sizes. Noise is added to the latents, so that the decoder forgives a generator's small errors and the latent space
stays smooth.

A decoder alone is trained on whole pictures. Its latents stay those of the encoder that it began with, so that a
generation side trained on them goes on being right. Half of its pictures have been through the VAE before and shall
come out as they first were: edit after edit then finds the outlines where they stood.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanResidualBlock
from torch import Tensor

from lightfusion_core.config import VAEConfig
from lightfusion_core.generation.vae import build_autoencoder
from lightfusion_core.unfinished import unfinished

from .graphs import Captured
from .model import DEVICE
from .muon import Muon
from .single_frame import decode, encode
from .training import part_done
from .vae_check import check, save_sheet
from .vae_data import batches
from .vae_export import export, export_decoder, read_vae

FOLDER = Path("runs/nano/vae")
CHANNELS = 16
CONFIG = VAEConfig(
    base_dim=16,
    decoder_base_dim=16,
    z_dim=CHANNELS,
    num_res_blocks=1,
    mean=(0.0,) * CHANNELS,
    std=(1.0,) * CHANNELS,
    preview_factors=((0.0, 0.0, 0.0),) * CHANNELS,
    preview_bias=(0.0, 0.0, 0.0),
)

PIXELS = 64  # per batch, in units of 1024: 16 crops or 4 whole pictures; sixteen times that on a GPU
WEIGHTS = {
    "value": 1.0,  # the absolute error: it keeps areas flat
    "squares": 2.0,  # the squared error: it finds the colours
    "edges": 1.0,  # the gradients' absolute error
    "colors": 0.1,  # what a linear map of the latents leaves unexplained of the picture's coarse colours
    "divergence": 5e-4,  # the latents' divergence from a normal distribution, nats per value
}
LATENT_NOISE = 0.2  # largest deviation of the noise on the latents, in units of the latents' own
ADAM_SHARE = 1 / 6  # of Muon's rate
TRIPS = (0, 0, 1, 3)  # how often the pictures of a decoder's training went through the VAE before, in turns


def new_vae(seed: int) -> AutoencoderKLWan:
    """An untrained VAE; its numbers come from the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = build_autoencoder(CONFIG)
        for parameter in vae.parameters():
            if parameter.dim() == 5:
                # Zeros for the frames before, which a single picture does not have.
                last = parameter.data[:, :, -1]
                parameter.data.zero_()
                torch.nn.init.normal_(last, std=last[0].numel() ** -0.5)
        for module in vae.modules():
            if isinstance(module, WanResidualBlock):
                module.conv2.weight.data.mul_(0.3)
    return vae


def optimizers(vae: AutoencoderKLWan, rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the weights inside, Adam for the first and last layers, gains and biases."""
    inner: list[torch.nn.Parameter] = []
    outer: list[torch.nn.Parameter] = []
    for name, parameter in vae.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = name.endswith("weight") and "conv_in" not in name and name != "decoder.conv_out.weight"
        (inner if inside else outer).append(parameter)
    return Muon(inner, lr=rate), torch.optim.AdamW(outer, lr=ADAM_SHARE * rate, betas=(0.9, 0.99), weight_decay=1e-3)


@dataclass
class Lesson:
    """What a step learns from: pictures (B, 3, H, W) in -1..1; a chance in 0..1 for each (B, 1, 1, 1), of which the
    level of the noise on its latents is made; and that noise (B, C, h, w)."""

    pictures: Tensor
    chance: Tensor
    noise: Tensor


def lesson(pictures: Tensor, generator: torch.Generator) -> Lesson:
    """Pictures on the device, with the chance of their step."""
    count, _, height, width = pictures.shape
    chance = torch.rand((count, 1, 1, 1), generator=generator)
    noise = torch.randn((count, CHANNELS, height // CONFIG.stride, width // CONFIG.stride), generator=generator)
    return Lesson(pictures.to(DEVICE), chance.to(DEVICE), noise.to(DEVICE))


def losses(vae: AutoencoderKLWan, given: Lesson) -> dict[str, Tensor]:
    """The terms of the loss, unweighted."""
    mean, log_variance = encode(vae, given.pictures)
    scale = mean.detach().std()
    deviation = (log_variance.exp() + (scale * LATENT_NOISE * given.chance).square()).sqrt()
    error = decode(vae, mean + deviation * given.noise) - given.pictures
    with torch.autocast(DEVICE.type, enabled=False):
        colors = unexplained_colors(mean / scale, given.pictures)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return {**terms_of(error), "colors": colors, "divergence": divergence}


def decoder_losses(vae: AutoencoderKLWan, given: Lesson) -> dict[str, Tensor]:
    """The terms of the loss of the decoder alone, unweighted."""
    with torch.no_grad():
        seen = given.pictures.clone()
        for trip in range(max(TRIPS)):
            again = torch.tensor([TRIPS[index % len(TRIPS)] > trip for index in range(len(seen))], device=DEVICE)
            if again.any():  # a batch of large pictures has few
                seen[again] = decode(vae, encode(vae, seen[again])[0]).clamp(-1, 1)
        mean = encode(vae, seen)[0]
        # The square of a uniform number: most latents are nearly clean, as most that are decoded will be.
        latents = mean + mean.std() * LATENT_NOISE * given.chance.square() * given.noise
    return terms_of(decode(vae, latents) - given.pictures)


def terms_of(error: Tensor) -> dict[str, Tensor]:
    """What is said of the error of pictures (B, 3, H, W)."""
    edges = (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2
    return {"value": error.abs().mean(), "squares": error.square().mean(), "edges": edges}


def unexplained_colors(latents: Tensor, pictures: Tensor) -> Tensor:
    """The mean squared error of the best linear map from each latent (B, C, h, w) to the mean colour of its pixels.
    Kept small it makes colours add up in the latent space, where a generator learns them sooner and previews are
    true."""
    mean_colors = torch.nn.functional.adaptive_avg_pool2d(pictures, (latents.shape[2], latents.shape[3]))
    color, x = (item.float().movedim(1, -1).flatten(0, 2) for item in (mean_colors, latents))
    x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    ridge = 1e-3 * len(x) * torch.eye(x.shape[1], device=x.device)
    fit = torch.linalg.solve_ex(x.T @ x + ridge, x.T @ color)[0]  # a ridge has a solution: nothing to wait for
    return (x @ fit - color).square().mean()


def pace_of(step: int, done: float) -> float:
    """The learning rate's share of its peak when a part of the training is done: a short rise, and half a cosine down
    to a hundredth."""
    return min(1.0, (step + 1) / 50) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done))))


def train(arguments: argparse.Namespace) -> None:
    """Train from the newest checkpoint to the last step."""
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    vae = new_vae(arguments.seed)
    if origin := arguments.decoder_of or arguments.on_from:
        read_vae(vae, CONFIG, origin)
    if arguments.decoder_of:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    crops = 0 if arguments.decoder_of else arguments.crops
    vae.to(DEVICE)
    both = optimizers(vae, arguments.rate)
    peaks = [group["lr"] for optimizer in both for group in optimizer.param_groups]
    first, curve = 0, []
    if (folder / "checkpoint.pt").exists():
        state = torch.load(folder / "checkpoint.pt", weights_only=True, map_location=DEVICE)
        vae.load_state_dict(state["vae"])
        for optimizer, saved_state in zip(both, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        first, curve = state["step"], state["curve"]

    names = ("value", "squares", "edges") if arguments.decoder_of else tuple(WEIGHTS)

    def learn(given: Lesson) -> Tensor:
        """The terms of the loss in the order of the names; its gradients are added to those that stand."""
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=arguments.bf16):
            terms = decoder_losses(vae, given) if arguments.decoder_of else losses(vae, given)
        torch.stack([WEIGHTS[name] * terms[name] for name in names]).sum().backward()
        return torch.stack([terms[name].detach() for name in names])

    step_of = learn if arguments.decoder_of else Captured(learn, vae.parameters())
    groups = [group for optimizer in both for group in optimizer.param_groups]
    started = saved = time.monotonic()
    recent: list[dict[str, float]] = []
    ahead = batches(arguments.seed, range(first, arguments.steps), crops * arguments.steps, arguments.pixels)
    for step, pictures in zip(range(first, arguments.steps), ahead, strict=True):
        passed = (time.monotonic() - started) / 60
        over = passed > arguments.minutes
        done = part_done(step, arguments.steps, first, passed / arguments.minutes if arguments.finish else 0.0)
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * pace_of(step, done)
        for optimizer in both:
            optimizer.zero_grad(set_to_none=DEVICE.type != "cuda")
        # All chance hangs on the step, so that a resumed run is the uninterrupted one.
        generator = torch.Generator().manual_seed(arguments.seed * 1_000_003 + step)
        found = step_of(lesson(pictures, generator)).tolist()
        for optimizer in both:
            optimizer.step()
        recent.append(dict(zip(names, found, strict=True)))
        if (step + 1) % 50 == 0 or step + 1 == arguments.steps:
            means = {name: sum(item[name] for item in recent) / len(recent) for name in recent[0]}
            recent.clear()
            curve.append({"step": step + 1, **means})
            pace = (time.monotonic() - started) / (step + 1 - first)
            line = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
            left = pace * (arguments.steps - step - 1) / 60
            print(f"{step + 1}/{arguments.steps}  {line}  {pace:.2f} s a step, {left:.0f} min left", flush=True)
        if time.monotonic() - saved > 60 or over or step + 1 == arguments.steps:
            saved = time.monotonic()
            state = {
                "vae": vae.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in both],
                "step": step + 1,
                "curve": curve,
            }
            with unfinished(folder / "checkpoint.pt") as part:
                torch.save(state, part)
            save_sheet(vae, folder / "sheet.png")
            if curve:
                save_curve(curve, folder / "curve.png")
        if over:
            break


def save_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Plot the terms of the loss over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    steps = [point["step"] for point in curve]
    for name in ("value", "edges"):
        axes.semilogy(steps, [point[name] for point in curve], label=f"{name} (mean absolute error)")
    if "divergence" in curve[0]:
        axes.semilogy(steps, [point["divergence"] for point in curve], label="divergence (nats per value)")
    axes.set_xlabel("step")
    axes.legend()
    figure.savefig(path)


def load(folder: Path) -> AutoencoderKLWan:
    """The newest checkpoint's VAE."""
    vae = build_autoencoder(CONFIG)
    vae.load_state_dict(torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")["vae"])
    return vae.eval()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.nano.train_vae", description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="checkpoints and sheets (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=7000, help="length of the whole training (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="how long to train now")
    parser.add_argument("--finish", action="store_true", help="let the rate fall within the minutes, all steps or not")
    parser.add_argument("--crops", type=float, default=0.5, help="share of the steps on crops (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.012, help="Muon's peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="train in float32 throughout")
    parser.add_argument(
        "--pixels", type=int, default=PIXELS * (16 if DEVICE.type == "cuda" else 1),
        help="of a batch, in units of 1024 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--on-from", type=Path, metavar="DIR", help="begin with the VAE in this folder")
    parser.add_argument(
        "--decoder-of", type=Path, metavar="DIR", help="train the decoder alone, on from the VAE in this folder"
    )
    parser.add_argument("--check", action="store_true", help="judge the newest checkpoint's reconstructions")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write vae.safetensors and vae_config.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.check:
        for noise in (0.0, 0.1):
            figures = check(load(arguments.folder), arguments.seed, noise=noise)
            print(f"latent noise {noise}:", "  ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    if arguments.export:
        if arguments.decoder_of:
            export_decoder(load(arguments.folder), CONFIG, arguments.decoder_of, arguments.export)
        else:
            print(export(load(arguments.folder), CONFIG, arguments.export))
    if not arguments.check and not arguments.export:
        train(arguments)


if __name__ == "__main__":
    main()
