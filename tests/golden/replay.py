"""Replay golden cases through the engine's public path and compare every tensor that they hold.

    python tests/golden/replay.py MODEL_DIR CASE...

MODEL_DIR is a model folder (config.json, model.safetensors, and vae.safetensors for the VAE's cases), a
CASE one safetensors file of tests/golden/data or of the same form. What a case asks for is read from the
names of its tensors (see README.md here). Internals are seen through forward hooks on named modules and
through the conditioning and the context, which are ordinary objects of the engine.

Prints a line for each output tensor and a closing "N passed, N failed"; exits 1 past a tolerance.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lightfusion_core import Conditioning, Guidance, LightFusion, Reference, Sampling, Step
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.conditioning import Branch
from lightfusion_core.config import SizeRule
from lightfusion_core.generation.context import BranchContext, ContextBuilder
from lightfusion_core.generation.rope import apply_half_rope, multimodal_rope
from lightfusion_core.images import resized_size
from lightfusion_core.layout import (
    Split,
    TokenKind,
    fusion_mask,
    is_und,
    lengths,
    place,
    position_ids,
    split_indices,
    token_kinds,
    vlm_mask,
)
from lightfusion_core.sampling.guidance import OFF
from lightfusion_core.sampling.loop import GuidedVelocity
from lightfusion_core.sampling.schedule import make_schedule
from lightfusion_core.understanding.answer import Decoding, write
from lightfusion_core.understanding.vision import patchify, vae_pixels, vit_pixels

EXACT, SINGLE, MIXED = 0.0, 5e-6, 2e-5
OUTPUTS = ("out.", "ctx", "dbg.", "layout.", "cond.", "text_negative.", "image_negative.")

Found = Iterator[tuple[str, Tensor, float]]
"""(tensor's name, what the engine made of it, tolerance)"""


@dataclass
class Case:
    """One file: its tensors and its metadata."""

    name: str
    tensors: dict[str, Tensor]
    metadata: dict

    @classmethod
    def read(cls, path: Path) -> Case:
        with safe_open(str(path), framework="pt") as file:
            metadata = {key: _parsed(value) for key, value in (file.metadata() or {}).items()}
        return cls(path.stem, load_file(path), metadata)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def ids(self, name: str) -> list[int]:
        return self.tensors[f"in.{name}_ids"].tolist()

    def names(self, pattern: str) -> Iterator[re.Match[str]]:
        """Matches of a whole-name pattern among the tensors."""
        return (match for name in self.tensors if (match := re.fullmatch(pattern, name)))

    @cached_property
    def references(self) -> list[Reference]:
        found = []
        while f"in.ref{len(found)}.vae_latent" in self or f"in.ref{len(found)}.vit_pixels" in self:
            stem = f"in.ref{len(found)}"
            found.append(Reference(self.tensors.get(f"{stem}.vit_pixels"), self.tensors.get(f"{stem}.vae_latent")))
        return found


def _parsed(value: str) -> object:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


class Watch:
    """Outputs and inputs of named modules, call after call."""

    def __init__(self, **modules: nn.Module) -> None:
        self.outputs: dict[str, list[Tensor]] = {name: [] for name in modules}
        self.inputs: dict[str, list[Tensor]] = {name: [] for name in modules}
        self._hooks = [module.register_forward_hook(self._keep(name)) for name, module in modules.items()]

    def _keep(self, name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            output = output[0] if isinstance(output, tuple) else getattr(output, "pooler_output", output)
            self.outputs[name].append(output)
            if inputs and isinstance(inputs[0], Tensor):
                self.inputs[name].append(inputs[0])

        return hook

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()


class Replay:
    """The cases of one model folder."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.folder = folder
        self.lf = LightFusion.load(folder, device=device, dtype=dtype)

    @contextmanager
    def for_case(self, case: Case) -> Iterator[Replay]:
        """For the model that a case was made with: this one, or it with its coupling."""
        if "o_und_proj" not in case.metadata or self.lf.generation.coupled:
            yield self
            return
        with tempfile.TemporaryDirectory() as folder:
            yield Replay(_with_coupling(self.folder, Path(folder)), self.lf.device, self.lf.generation.dtype)

    def __call__(self, case: Case) -> Found:
        """Every output of a case, by the kind of its inputs."""
        if "o_und_proj" in case.metadata and not self.lf.generation.coupled:
            with self.for_case(case) as coupled:
                yield from coupled(case)
        elif "in.head_tokens" in case:
            yield from self.folding(case)
        elif "in.image_uint8" in case:
            yield from self.preprocessing(case)
        elif "in.pixels" in case:
            yield from self.autoencoder(case)
        elif "sizes_px_hw" in case.metadata:
            yield from self.large_layouts(case)
        elif "in.start_ids" in case:
            yield from self.text_output(case)
        elif "in.noise" in case:
            yield from self.trajectory(case)
        elif "in.text_lens" in case:
            yield from self.packed(case)
        else:
            yield from self.velocities(case)

    # one function for each kind of case

    def velocities(self, case: Case) -> Found:
        """Context, internals, and velocities of all branches and mixes at several timesteps."""
        lf, x = self.lf, case["in.latent_noisy"]
        conditioning = self.conditioning(case)
        yield from self.layout(case, conditioning.full, x)
        with Watch(**self.modules()) as seen:
            guided = self.guided(conditioning.full, x)
        yield from self.context(case, conditioning, x, seen)
        for match in case.names(r"dbg\.t(\d+)\.head"):
            yield from self.internals(conditioning.full, guided, x, int(match[1]), seen)
        singles = {"": conditioning.full, "cond.": conditioning.full, "neg.": conditioning.negative}
        singles["imgneg."] = conditioning.no_image
        if any(case.names(r"out\.velocity\.imgonly_neg\..*")):
            texts = [case.ids("text")]
            singles["imgonly_neg."] = lf.encoder.encode(texts, case.references, negative_texts=()).negative
        for match in case.names(r"out\.velocity\.(cond\.|neg\.|imgneg\.|imgonly_neg\.|)t(\d+)"):
            yield match[0], self.guided(singles[match[1]], x)(x, int(match[2])), SINGLE
        mix = r"out\.velocity\.(?:cfg|text)([\d.]+?)(?:_img([\d.]+?))?_(noop|global|channel|text_channel)"
        for match in case.names(mix + r"(_emptyneg)?(?:_min([\d.]+?))?\.t(\d+)"):
            text, image, renorm, empty, least, timestep = match.groups()
            guidance = Guidance(float(text), float(image or 1), _renorm(renorm), float(least or 0))
            wanted = self.conditioning(case, "empty_negative") if empty else conditioning
            yield match[0], self.guided(wanted, x, guidance)(x, int(timestep)), MIXED

    def context(self, case: Case, conditioning: Conditioning, x: Tensor, seen: Watch) -> Found:
        """What does not depend on the noise: VLM states, fusion keys and values, the references' passes."""
        lf, full = self.lf, conditioning.full
        builder = ContextBuilder(lf.generation, lf.device, lf.understanding)
        with torch.no_grad(), Watch(last=lf.understanding.model.language_model.layers[-1]) as layers:
            chain = builder.chain(full.segments)
        norm = lf.understanding.model.language_model.norm
        if full.coupled:
            yield "ctx.vlm_hidden_last", torch.cat([out[0] for out in layers.outputs["last"]]), SINGLE
            yield "ctx.vlm_final", norm(torch.cat([part.hidden[0] for part in chain])), SINGLE
            yield "ctx.fusion_k_last", _tokens(torch.cat([part.fusion[-1][0] for part in chain], dim=2)), SINGLE
            return
        hidden = torch.cat([segment.hidden for segment in full.segments], dim=1)
        yield "ctx.vlm_hidden", hidden, SINGLE
        yield "ctx.vlm_final", norm(hidden[-1]), SINGLE
        memory = lf.encoder.extend(lf.encoder.images(case.references), [case.ids("text")]).memory
        yield "ctx.vlm_k", torch.stack([_tokens(k) for k, _ in memory]), SINGLE
        yield "ctx.vlm_v", torch.stack([_tokens(v) for _, v in memory]), SINGLE
        named = {"ctx": full, "ctx_neg": conditioning.negative, "ctx_img": conditioning.no_image}
        if "ctx_empty.fusion_k" in case:
            named["ctx_empty"] = self.conditioning(case, "empty_negative").negative
        for name, branch in named.items():
            if branch is not None:
                kept = sum(segment.split.length for segment in branch.segments)
                made = self.guided(branch, x).context.branches[0]
                for letter, parts in zip("kv", held(made), strict=True):
                    yield f"{name}.fusion_{letter}", torch.stack([_tokens(part[:, :, :kept]) for part in parts]), SINGLE
        for k, reference in enumerate(case.references):
            if f"ctx.ref{k}.vit_embed" in case:
                features = lf.understanding.see(*patchify(reference.vit_pixels, lf.config.vision))
                yield f"ctx.ref{k}.vit_embed", features[0], SINGLE
            blocks, fused = self.streams(seen, k)
            yield f"ctx.ref{k}.dit_block", blocks, SINGLE
            yield f"ctx.ref{k}.after_fusion", fused, SINGLE
            patches, (rows, columns) = patchify(reference.vit_pixels, lf.config.vision)
            yield f"in.ref{k}.vit_patches", patches, SINGLE
            yield f"in.ref{k}.vit_grid_thw", torch.tensor([[1, rows, columns]]), EXACT

    def internals(self, full: Branch, guided: GuidedVelocity, x: Tensor, timestep: int, built: Watch) -> Found:
        """The inside of one step."""
        tower, name = self.lf.generation, f"dbg.t{timestep}"
        with Watch(**self.modules()) as seen:
            guided(x, timestep)
        tokens = x.shape[-2] * x.shape[-1] // tower.config.dit.patch_size**2
        yield f"{name}.patch_embed", seen.outputs["patch_embedding"][0][0], SINGLE
        yield f"{name}.time_e", seen.outputs["time_embedding"][0].expand(tokens, -1), SINGLE
        yield f"{name}.time_e0", seen.outputs["time_projection"][0].view(1, 6, -1).expand(tokens, -1, -1), SINGLE
        yield f"{name}.text_ctx", built.outputs["text_embedding"][0], SINGLE
        blocks, fused = self.streams(seen, 0)
        yield f"{name}.dit_block", blocks, SINGLE
        yield f"{name}.after_fusion", fused, SINGLE
        yield f"{name}.head", seen.outputs["head"][0][0], SINGLE
        context = guided.context.branches[0]
        kept = sum(segment.split.length for segment in full.segments)
        patch = tower.config.dit.patch_size
        target = full.target(x.shape[-2] // patch, x.shape[-1] // patch)
        markers = full.target_markers(target.extent)
        yield f"{name}.und_hidden", markers, SINGLE
        for letter, parts in zip("kv", held(context), strict=True):
            own = torch.stack([_tokens(part[:, :, kept:]) for part in parts])
            yield f"{name}.fusion_{letter}", torch.cat([own[:, :1], own[:, 2:], own[:, 1:2]], dim=1), SINGLE
        queries = [
            torch.cat([own[:1], _tokens(apply_half_rope(seen.outputs[f"q_norm{i}"][0], context.rope)), own[1:]])
            for i, own in enumerate(self.marker_queries(markers, target))
        ]
        yield f"{name}.fusion_q", torch.stack(queries), SINGLE

    def trajectory(self, case: Case) -> Found:
        """A whole run."""
        given, steps, noise = case.metadata, [], case["in.noise"]
        sampling = Sampling(given["steps"], given["shift"], "unipc")
        guidance = Guidance(
            given["cfg_text_scale"],
            given["cfg_img_scale"],
            _renorm(given["cfg_renorm_type"]),
            given["cfg_renorm_min"],
            tuple(given["cfg_interval"]),
        )
        stride = self.lf.config.vae.stride
        final = self.lf.sample(
            self.conditioning(case), noise.shape[-1] * stride, noise.shape[-2] * stride,
            sampling=sampling, guidance=guidance, noise=noise, on_step=steps.append,
        )  # fmt: skip
        watched: list[Step] = steps
        schedule = make_schedule(sampling.steps, sampling.shift)
        yield "out.sigmas", torch.tensor(schedule.sigmas), EXACT
        yield "out.timesteps", torch.tensor(schedule.timesteps), EXACT
        yield "out.timesteps_fed", torch.tensor([step.timestep for step in watched]), EXACT
        yield "out.x_steps", torch.stack([*(step.x for step in watched), final]), MIXED
        yield "out.v_steps", torch.stack([step.velocity for step in watched]), MIXED
        yield "out.final", final, MIXED

    def packed(self, case: Case) -> Found:
        """Several prompts: each has positions and keys of its own."""
        parts = case["in.text_ids"].split(case["in.text_lens"].tolist())
        branches = [self.lf.encoder.encode([ids.tolist()]).full for ids in parts]
        builder = ContextBuilder(self.lf.generation, self.lf.device, self.lf.understanding)
        with torch.no_grad():
            chains = [builder.chain(branch.segments)[0] for branch in branches]
        yield "layout.position_ids", torch.cat([b.segments[0].split.position_ids() for b in branches], dim=1), EXACT
        for place_, letter in enumerate("kv"):
            made = [torch.stack([_tokens(layer[place_]) for layer in chain.fusion]) for chain in chains]
            yield f"ctx.fusion_{letter}", torch.cat(made, dim=1), SINGLE

    def text_output(self, case: Case) -> Found:
        """Greedy text in the reference's manner, after a drawing context and after an image and a question."""
        lf, reference = self.lf, case.references[0]
        settings = {
            "think": ([case.ids("system"), case.ids("text")], reference),
            "vit_text": ([case.ids("text")], Reference(reference.vit_pixels)),
        }
        for name, (texts, image) in settings.items():
            prefix = lf.encoder.extend(lf.encoder.images([image]), texts)
            splits = [segment.split for segment in prefix.segments]
            yield from _layout(f"layout.{name}", splits, splits)
            wanted = len(case[f"out.{name}.argmax_ids"])
            with torch.no_grad(), Watch(lm_head=lf.understanding.lm_head) as seen:
                start = case.ids("start")
                chosen = list(write(lf.writer(texts, [image]), start, Decoding(wanted), stop=()))
            yield f"out.{name}.logits", torch.cat([out[0] for out in seen.outputs["lm_head"]]), MIXED
            yield f"out.{name}.argmax_ids", torch.tensor(chosen), EXACT
            yield f"out.{name}.returned_ids", torch.tensor([*start, *chosen[:-1]]), EXACT
            first = Split(TokenKind.TEXT, prefix.next_start, 1, len(start))
            yield f"out.{name}.start_position", first.position_ids(), EXACT
            yield f"out.{name}.und_uni_rope", torch.tensor(lengths(splits)), EXACT

    def large_layouts(self, case: Case) -> Found:
        """Positions of sequences as long as the large model's; nothing is run."""
        given = case.metadata["sizes_px_hw"]
        token, vision = self.lf.config.token_size, self.lf.config.vision.token_size
        images = []
        for vae, vit in given.get("refs", []):
            images.append((TokenKind.CLEAN, vae[0] // token, vae[1] // token))
            images.append((TokenKind.VIT, vit[0] // vision, vit[1] // vision))
        text = (TokenKind.TEXT, 1, given["n"] + 2)
        contexts = {"cond": [*images, text], "image_negative": [text]}
        if "neg" in given:
            contexts["text_negative"] = [*images, (TokenKind.TEXT, 1, given["neg"] + 2)]
        size = given["size"] if "size" in given else given["refs"][-1][0]
        for name, contents in contexts.items():
            splits = place([*contents, (TokenKind.NOISY, size[0] // token, size[1] // token)])
            und, all_tokens, _ = lengths(splits[:-1])
            yield f"{name}.position_ids", position_ids(splits), EXACT
            yield f"{name}.kinds", token_kinds(splits), EXACT
            yield f"{name}.is_und", is_und(splits), EXACT
            yield f"{name}.segment", split_indices(splits), EXACT
            yield f"{name}.ctx_lens", torch.tensor(lengths(splits[:-1])), EXACT
            yield f"{name}.target_und_slots", torch.tensor([und, und + 1]), EXACT
            ends = [all_tokens, all_tokens + splits[-1].length - 1]
            yield f"{name}.target_uni_slots_first_last", torch.tensor(ends), EXACT

    def folding(self, case: Case) -> Found:
        tower = self.lf.generation
        rows = case["out.latent_from_head_tokens"].shape[-2] // tower.config.dit.patch_size
        yield "out.tokens", tower.fold(case["in.latent"])[0], EXACT
        yield "out.latent_from_head_tokens", tower.unfold(case["in.head_tokens"][None], rows), EXACT

    def preprocessing(self, case: Case) -> Found:
        from PIL import Image

        image = Image.fromarray(case["in.image_uint8"].numpy())
        rules = {part: SizeRule(*case.metadata[f"{part}_transform(max,min,stride)"]) for part in ("vit", "vae")}
        config = replace(self.lf.config, vit_image=rules["vit"], vae_image=rules["vae"])
        pixels = vit_pixels(image, config)
        patches, _ = patchify(pixels, config.vision)
        yield "out.vit_pixels", pixels, SINGLE
        yield "out.vae_pixels", vae_pixels(image, config), SINGLE
        yield "out.vit_patches_first_last", patches[[0, 1, 2, -1]], SINGLE
        for match in case.names(r"out\.v(?:ae|it)_hw_(\d+)_(\d+)_(\d+)"):
            rule = SizeRule(*(int(part) for part in match.groups()))
            sizes = [resized_size(*size, rule) for size in case["in.sizes_wh"].tolist()]
            yield match[0], torch.tensor(sizes).flip(1), EXACT

    def autoencoder(self, case: Case) -> Found:
        with torch.no_grad():
            yield "out.latent", self.lf.vae.encode(case["in.pixels"][:, :, 0]), MIXED
        pixels = self.lf.decode(case["in.latent"]) * 2 - 1
        yield "out.pixels_unclamped", pixels.permute(0, 3, 1, 2).unsqueeze(2), MIXED

    # shared between them

    def conditioning(self, case: Case, negative: str = "negative") -> Conditioning:
        has_negative = f"in.{negative}_ids" in case
        special = self.lf.config.special_tokens
        empty = [special.bos_token_id, special.eos_token_id]
        return self.lf.encode(
            case.ids("text"), case.references, negative_prompt=case.ids(negative) if has_negative else empty
        )

    def guided(self, of: Branch | Conditioning, x: Tensor, guidance: Guidance = OFF) -> GuidedVelocity:
        conditioning = of if isinstance(of, Conditioning) else Conditioning(of)
        stride = self.lf.config.vae.stride
        return self.lf.guided(conditioning, x.shape[-1] * stride, x.shape[-2] * stride, guidance)

    def layout(self, case: Case, branch: Branch, x: Tensor) -> Found:
        patch = self.lf.config.dit.patch_size
        context = [segment.split for segment in branch.segments]
        target = branch.target(x.shape[-2] // patch, x.shape[-1] // patch)
        yield from _layout("layout", [*context, target], context)

    def modules(self) -> dict[str, nn.Module]:
        """The named modules that hold what goldens want to see."""
        tower = self.lf.generation
        names = ("patch_embedding", "text_embedding", "time_embedding", "time_projection", "head")
        return {
            **{name: getattr(tower, name) for name in names},
            **{f"block{i}": block for i, block in enumerate(tower.blocks)},
            **{f"q_norm{i}": layer.mm_attn.q_norm for i, layer in enumerate(tower.mm_attn_layers)},
        }

    def streams(self, seen: Watch, call: int) -> tuple[Tensor, Tensor]:
        """After every block, and after every fusion (what the next block, or the head, is given)."""
        count = len(self.lf.generation.blocks)
        blocks = torch.stack([seen.outputs[f"block{i}"][call][0] for i in range(count)])
        after = [f"block{i + 1}" if i + 1 < count else "head" for i in range(len(self.lf.generation.mm_attn_layers))]
        return blocks, torch.stack([seen.inputs[name][call][0] for name in after])

    def marker_queries(self, markers: Tensor, target: Split) -> Iterator[Tensor]:
        """The queries (2, heads, head_dim) that the markers would have: a frozen model never makes them, so
        their weights come from the file."""
        file, text = Checkpoint.open(self.folder), self.lf.config.text
        rope = multimodal_rope(target.und_position_ids(), text.mrope_section, text.rope_theta, "cpu")
        for i, layer in enumerate(self.lf.generation.mm_attn_layers):
            weight, bias = (
                file.tensor("generation", f"mm_attn_layers.{i}.mm_attn.q_und_proj.{kind}")
                for kind in ("weight", "bias")
            )
            hidden = layer.llm_norm(markers[min(i, len(markers) - 1)].unsqueeze(0))
            q = layer.mm_attn.q_norm(layer.mm_attn.split_heads(nn.functional.linear(hidden, weight, bias)))
            yield _tokens(apply_half_rope(q, rope))


def _layout(name: str, splits: list[Split], context: list[Split]) -> Found:
    yield f"{name}.position_ids", position_ids(splits), EXACT
    yield f"{name}.kinds", token_kinds(splits), EXACT
    yield f"{name}.segment", split_indices(splits), EXACT
    yield f"{name}.is_und", is_und(splits), EXACT
    yield f"{name}.mask_fusion", fusion_mask(splits), EXACT
    yield f"{name}.mask_vlm", vlm_mask(splits), EXACT
    yield f"{name}.lens", torch.tensor(lengths(context)), EXACT


def held(branch: BranchContext) -> tuple[list[Tensor], list[Tensor]]:
    """A branch's fusion keys and values (1, heads, tokens, head_dim) of all layers."""
    keys, values = zip(*map(branch.held, range(len(branch.own))), strict=True)
    return list(keys), list(values)


def _tokens(x: Tensor) -> Tensor:
    """(1, heads, tokens, head_dim) as (tokens, heads, head_dim)."""
    return x[0].transpose(0, 1)


def _renorm(name: str) -> str:
    return "none" if name == "noop" else name


def _with_coupling(source: Path, folder: Path) -> Path:
    """The model with o_und_proj = 0.5 * transpose(q_und_proj.weight) in every fusion layer."""
    tensors = load_file(source / "model.safetensors")
    for name in [name for name in tensors if name.endswith("o_und_proj.weight")]:
        tensors[name] = 0.5 * tensors[name.replace("o_und_proj", "q_und_proj")].T.contiguous()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text((source / "config.json").read_text())
    return folder


def compare(case: Case, replay: Replay) -> tuple[int, int]:
    """Print a line for each output of a case; how many passed and failed."""
    passed = failed = 0
    unseen = {name for name in case.tensors if name.startswith(OUTPUTS)}
    with torch.no_grad():
        for name, made, tolerance in replay(case):
            if name not in case:
                continue
            unseen.discard(name)
            wanted = case[name]
            if made.shape != wanted.shape:
                verdict, figures = "FAIL", f"shape {tuple(made.shape)}, wanted {tuple(wanted.shape)}"
            else:
                difference = (made.double() - wanted.double()).abs()
                relative = float(difference.norm() / wanted.double().norm().clamp_min(1e-30))
                verdict = "ok" if relative <= tolerance else "FAIL"
                figures = f"max abs {float(difference.max()):.2e}  rel L2 {relative:.2e}"
            passed, failed = passed + (verdict == "ok"), failed + (verdict != "ok")
            print(f"{verdict:4}  {case.name}  {name}  {figures}")
    for name in sorted(unseen):
        failed += 1
        print(f"FAIL  {case.name}  {name}  not replayed")
    return passed, failed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL_DIR")
    parser.add_argument("cases", type=Path, nargs="+", metavar="CASE")
    options = parser.parse_args(arguments)
    replay = Replay(options.model)
    results = [compare(Case.read(path), replay) for path in options.cases]
    passed, failed = (sum(column) for column in zip(*results, strict=True))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
