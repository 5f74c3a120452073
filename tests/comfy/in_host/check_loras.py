"""LoRA files through the stock nodes: every layout acts alike, and what does not act is told."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.hooks
import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import folder_paths
import torch
from harness import PROMPT, encode, ksample, largest, load, load_again, node, pack, raised, weight_budget, with_lora
from lora_layouts import LAYOUTS, REFERENCE, change
from safetensors.torch import save_file
from torch import Tensor

import nodes

DRAW = torch.Generator().manual_seed(9)
EMBED = "diffusion_model.patch_embedding.weight"


def _draw(*shape: int) -> Tensor:
    return 0.3 * torch.randn(shape, generator=DRAW)


@contextmanager
def lora_file(tensors: dict[str, Tensor]) -> Iterator[str]:
    """A LoRA in the folder that the stock nodes read, under the name that they take."""
    name = f"check_{torch.randint(1 << 30, ()).item()}.safetensors"
    file = os.path.join(folder_paths.get_folder_paths("loras")[0], name)
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, file)
    try:
        yield name
    finally:
        os.remove(file)


def patched(tensors: dict[str, Tensor], strength: float = 1.0, model: Any = None) -> Any:
    """A MODEL with a LoRA of these tensors by the stock node."""
    with lora_file(tensors) as name:
        return with_lora(load()[0] if model is None else model, name, strength)


def weight(key: str, patcher: Any = None) -> Tensor:
    """A copy of a weight without any LoRA: clones share their module, and one that was drawn with is patched."""
    comfy.model_management.unload_all_models()
    return (patcher or load()[0]).model.state_dict()[key].float().clone()


def merged(patcher: Any, key: str) -> Tensor:
    """A weight with the patches that the host would apply."""
    return comfy.lora.calculate_weight(patcher.patches.get(key, []), weight(key, patcher), key)


@contextmanager
def warnings() -> Iterator[list[str]]:
    """What is logged as a warning meanwhile."""
    said: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Heard(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(handler)


def _shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in load()[0].model.diffusion_model.state_dict().items()}


def check_every_layout_draws_the_same() -> dict[str, float]:
    """Of nineteen layouts ten did nothing, with a line in the log."""
    pairs = change(_shapes())
    plain, wanted = ksample(steps=2), ksample(patched(LAYOUTS[REFERENCE](pairs)), steps=2)
    found = {}
    for name, written in LAYOUTS.items():
        with warnings() as said:
            model = patched(written(pairs))
        assert not said, f"{name}: {said[:2]}"
        assert len(model.patches) == len(pairs), f"{name}: {len(model.patches)} of {len(pairs)} layers"
        found[name] = largest(ksample(model, steps=2) - wanted) / largest(wanted)
    assert max(found.values()) <= 1e-5, {name: error for name, error in found.items() if error > 1e-5}
    assert largest(wanted - plain) / largest(wanted) > 0.1
    return {"layouts": len(found), "largest difference": max(found.values())}


def check_every_kind_of_weight_can_be_changed() -> dict[str, int]:
    """Biases, norms, modulation, the fusion and the learned context, under names of both worlds."""
    own = "vision_language_model.model.language_model.mm_attn_layers.1."
    older = "vision_language_model.model.language_model.cross_attn_layers.2."
    shapes = _shapes()
    cases = {
        "blocks.0.self_attn.q.bias": ("diffusion_model.blocks.0.self_attn.q.diff_b", "blocks.0.attn1.to_q.lora_B.bias"),
        "blocks.0.norm3.weight": ("diffusion_model.blocks.0.norm3.diff", "transformer.blocks.0.norm2.diff"),
        "blocks.0.norm3.bias": ("lora_unet_blocks_0_norm3.b_norm", "transformer.blocks.0.norm2.diff_b"),
        "blocks.1.cross_attn.norm_k.weight": ("blocks.1.cross_attn.norm_k.diff", "blocks.1.attn2.norm_k.w_norm"),
        "blocks.0.modulation": ("diffusion_model.blocks.0.diff_m", "transformer.blocks.0.scale_shift_table.diff"),
        "head.modulation": ("diffusion_model.head.diff_m", "scale_shift_table.diff"),
        "vgen_model_cross_att_context": ("vgen_model_cross_att_context.diff",),
        "mm_attn_layers.1.vgen_norm.weight": (f"{own}vgen_norm.diff", "mm_attn_layers.1.vgen_norm.diff"),
        "mm_attn_layers.2.mm_attn.q_gen_proj.bias": (f"{older}cross_attn.q_gen_proj.diff_b",),
        "mm_attn_layers.2.mm_attn.o_gen_proj.weight": (
            f"{older}cross_attn.o_gen_proj.diff", "lora_unet_mm_attn_layers_2_mm_attn_o_gen_proj.diff",
        ),
    }  # fmt: skip
    plain = ksample(steps=1)
    for parameter, names in cases.items():
        added = 3 * _draw(*shapes[parameter])
        for name in names:
            model = patched({name: added})
            key = f"diffusion_model.{parameter}"
            assert list(model.patches) == [key], f"{name}: {list(model.patches)}"
            torch.testing.assert_close(merged(model, key), weight(key) + added)
            assert largest(ksample(model, steps=1) - plain) > 1e-4, f"{name} changes no picture"
    return {"names": sum(map(len, cases.values()))}


def check_layer_with_product_and_difference_gets_both() -> None:
    """The host keeps one of the two."""
    up, down, added = _draw(96, 4), _draw(4, 96), _draw(96, 96)
    key = "diffusion_model.blocks.0.self_attn.q.weight"
    before = weight(key)
    for name in ("diffusion_model.blocks.0.self_attn.q", "transformer.blocks.0.attn1.to_q"):
        model = patched({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up, f"{name}.diff": added})
        torch.testing.assert_close(merged(model, key), before + up @ down + added)


def check_peft_dora_is_scaled_by_rows() -> None:
    """PEFT saves the scale without its second axis, by which a square weight would be scaled by columns."""
    up, down, scale = _draw(96, 4), _draw(4, 96), 1 + _draw(96).abs()
    key = "diffusion_model.blocks.0.self_attn.q.weight"
    host = patched({"diffusion_model.blocks.0.self_attn.q.lora_up.weight": up,
                    "diffusion_model.blocks.0.self_attn.q.lora_down.weight": down,
                    "diffusion_model.blocks.0.self_attn.q.dora_scale": scale[:, None]})  # fmt: skip
    for name in ("base_model.model.blocks.0.attn1.to_q", "diffusion_model.blocks.0.self_attn.q"):
        model = patched({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up,
                         f"{name}.lora_magnitude_vector": scale})  # fmt: skip
        torch.testing.assert_close(merged(model, key), merged(host, key))


def _conv() -> tuple[int, int, tuple[int, ...]]:
    """Rows and columns of the patch embedding, and the shape of a Conv3d's columns."""
    (rows, columns), dit = _shapes()["patch_embedding.weight"], load()[0].model.diffusion_model.config.dit
    return rows, columns, (dit.in_dim, 1, dit.patch_size, dit.patch_size)


def check_patch_embedding_of_a_convolution_is_brought_into_order() -> dict[str, float]:
    """Against the convolution's weight changed and then brought over by rule B14."""
    rows, columns, conv = _conv()
    up, down, whole = _draw(rows, 4), _draw(4, columns), _draw(rows, columns)
    second_up, second_down = _draw(rows, 4), _draw(4, columns)
    left, right = _draw(rows // 4, 4), _draw(4, columns // 2)
    kronecker = _draw(4, 2)
    cases = {
        "diffusion_model.patch_embedding": ({".lora_up.weight": up[..., None, None, None],
                                             ".lora_down.weight": down.unflatten(1, conv)}, up @ down),
        "transformer.patch_embedding": ({".lora_A.weight": down.unflatten(1, conv), ".lora_B.weight": up}, up @ down),
        "lora_unet_patch_embedding": ({".diff": whole.unflatten(1, conv)}, whole),
        "patch_embedding": ({".lokr_w1": kronecker, ".lokr_w2": (left @ right).unflatten(1, (conv[0] // 2, *conv[1:]))},
                            torch.kron(kronecker, left @ right)),
        # flat, in a file that is diffusers' by its other names
        "lycoris_patch_embedding": ({".hada_w1_a": up, ".hada_w1_b": down, ".hada_w2_a": second_up,
                                     ".hada_w2_b": second_down, "!diffusers": up},
                                    (up @ down) * (second_up @ second_down)),
    }  # fmt: skip
    before, plain, found = weight(EMBED), ksample(steps=1), {}
    for name, (parts, added) in cases.items():
        tensors = {f"{name}{end}": tensor for end, tensor in parts.items() if end[0] == "."}
        if "!diffusers" in parts:
            tensors |= {"lycoris_blocks_0_attn1_to_q.diff": torch.zeros(rows, rows)}
        model = patched(tensors)
        wanted = added.unflatten(1, conv).permute(0, 2, 3, 4, 1).flatten(1)
        found[name] = largest(merged(model, EMBED) - before - wanted)
        assert found[name] <= 1e-4 and largest(wanted - added) > 0.1, found
        assert largest(ksample(model, steps=1) - plain) > 1e-3
    return found


def check_patch_embedding_of_a_linear_stays_as_it_is() -> None:
    """What was trained on LightFusion is in order already: by the authors' names, or with fusion layers in the file."""
    rows, columns, _ = _conv()
    up, down = _draw(rows, 4), _draw(4, columns)
    before = weight(EMBED)
    fusion = {"diffusion_model.mm_attn_layers.0.vgen_norm.diff": torch.zeros(rows)}
    for name, beside in (("vgen_model.patch_embedding", {}), ("diffusion_model.patch_embedding", fusion)):
        model = patched({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, **beside})
        torch.testing.assert_close(merged(model, EMBED), before + up @ down)
    with_bias = patched({"diffusion_model.patch_embedding.diff_b": _draw(rows)})
    assert list(with_bias.patches) == ["diffusion_model.patch_embedding.bias"], "a bias has no columns"


def check_patch_embedding_of_unknown_order_is_refused() -> None:
    """Either order fits; a guess would be wrong in silence."""
    rows, columns, conv = _conv()
    flat = {"diffusion_model.patch_embedding.lora_up.weight": _draw(rows, 4),
            "diffusion_model.patch_embedding.lora_down.weight": _draw(4, columns)}  # fmt: skip
    text = raised(lambda: patched(flat))
    assert "diffusion_model.patch_embedding" in text and "vgen_model.patch_embedding" in text
    tucker = {"transformer.patch_embedding.lora_up.weight": _draw(rows, 4),
              "transformer.patch_embedding.lora_down.weight": _draw(4, conv[0], 1, 1, 1),
              "transformer.patch_embedding.lora_mid.weight": _draw(4, 4, *conv[1:])}  # fmt: skip
    assert "transformer.patch_embedding" in raised(lambda: patched(tucker))


def check_lora_of_another_model_fails_with_a_count_and_an_example() -> None:
    """It drew the same picture as without, and said so in the log alone."""
    model, clip = load()[:2]
    flux = {f"transformer.single_transformer_blocks.{i}.attn.to_q.{end}": _draw(8, 8)
            for i in range(3) for end in ("lora_A.weight", "lora_B.weight")}  # fmt: skip
    larger = {f"blocks.{i}.attn1.to_q.{end}": _draw(*shape) for i in range(2)
              for end, shape in (("lora_A.weight", (4, 128)), ("lora_B.weight", (128, 4)))}  # fmt: skip
    deeper = {"blocks.77.attn1.to_q.diff": _draw(96, 96)}
    half = {"transformer.blocks.0.attn1.to_q.lora_A.weight": _draw(4, 96)}
    for tensors, words in (
        (flux, ("0 of its 3 layers", "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight")),
        (larger, ("0 of its 2 layers", "blocks.0.attn1.to_q.lora_", "128 x 128", "96 x 96")),
        (deeper, ("0 of its 1 layers", "blocks.77.attn1.to_q.diff")),
        (half, ("0 of its 1 layers", "lora_B.weight is missing".replace("lora_B", "lora_up"))),
    ):
        with lora_file(tensors) as name:
            for load_it in (
                lambda name=name: with_lora(model, name),
                lambda name=name: node("LoraLoader", model=model, clip=clip, lora_name=name, strength_model=1.0,
                                       strength_clip=1.0),
            ):  # fmt: skip
                text = raised(load_it)
                assert all(word in text for word in words), text


def check_lora_that_fits_in_part_says_what_does_not() -> dict[str, int]:
    """An image-to-video LoRA has layers that this model has not; the rest acts."""
    pairs = change(_shapes())
    tensors = LAYOUTS["diffusers"](pairs)
    tensors |= {"transformer.blocks.0.attn2.add_k_proj.lora_A.weight": _draw(4, 96),
                "transformer.blocks.0.attn2.add_k_proj.lora_B.weight": _draw(96, 4),
                "transformer.blocks.1.attn2.to_q.diff_b": _draw(64)}  # fmt: skip
    with warnings() as said:
        model = patched(tensors)
    told = [text for text in said if text.startswith("LightFusion: ")]
    assert len(told) == 1, said
    assert f"{len(pairs)} act and 2 do not" in told[0], told
    assert "transformer.blocks.1.attn2.to_q.diff_b" in told[0] and "64" in told[0], told
    assert len(model.patches) == len(pairs)
    return {"layers": len(pairs)}


def check_lora_with_two_names_for_one_weight_is_refused() -> None:
    """The host would take one of them, and nobody would know which."""
    text = raised(lambda: patched({"diffusion_model.blocks.0.self_attn.q.diff": _draw(96, 96),
                                   "transformer.blocks.0.attn1.to_q.diff": _draw(96, 96)}))  # fmt: skip
    assert "blocks.0.self_attn.q.diff" in text and "blocks.0.attn1.to_q.diff" in text


def check_lora_of_the_understanding_side_acts_through_the_clip() -> dict[str, float]:
    """The names of Qwen2.5-VL, old and new; the picture is drawn from other states then."""
    up, down = _draw(128, 4), _draw(4, 128)
    layer = "layers.1.self_attn.q_proj"
    plain, found = encode(PROMPT)[0][0].lightfusion.branch, []
    for name in (
        f"base_model.model.model.{layer}", f"base_model.model.model.language_model.{layer}",
        f"model.language_model.{layer}", f"vision_language_model.model.language_model.{layer}",
        f"text_encoders.qwen25_7b.transformer.model.{layer}", f"lora_te_{layer.replace('.', '_')}",
        f"text_encoders.tower.model.language_model.{layer}", f"language_model.model.{layer}",
    ):  # fmt: skip
        with lora_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}) as file, warnings() as said:
            model, clip = node("LoraLoader", model=load()[0], clip=load()[1], lora_name=file, strength_model=1.0,
                               strength_clip=1.0)  # fmt: skip
        assert not said, said
        assert not model.patches and len(clip.patcher.patches) == 1, name
        found.append(node("CLIPTextEncode", clip=clip, text=PROMPT)[0][0][0].lightfusion.branch.segments[0].hidden)
        with lora_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}) as file:
            assert "CLIP" in raised(lambda file=file: with_lora(load()[0], file))
    assert all(torch.equal(states, found[0]) for states in found)
    again = node("CLIPTextEncode", clip=load()[1], text=PROMPT)[0][0][0].lightfusion.branch
    assert torch.equal(again.segments[0].hidden, plain.segments[0].hidden)
    return {"change": largest(found[0] - plain.segments[0].hidden)}


def check_one_file_for_both_sides_patches_both() -> None:
    both = {
        "transformer.blocks.0.attn1.to_q.diff": _draw(96, 96),
        "model.layers.0.self_attn.q_proj.diff": _draw(128, 128),
    }
    with lora_file(both) as file, warnings() as said:
        model, clip = node("LoraLoader", model=load()[0], clip=load()[1], lora_name=file, strength_model=1.0,
                           strength_clip=1.0)  # fmt: skip
    assert not said, said
    assert len(model.patches) == 1 and len(clip.patcher.patches) == 1
    with warnings() as said:
        alone = patched(both)
    assert len(alone.patches) == 1 and "CLIP" in said[0], said


def check_stacked_loras_add_up() -> dict[str, float]:
    """Two files of different layouts, in either order, are their sum; and strength 0, 1, 0 leaves nothing."""
    pairs = change(_shapes())
    first, second = LAYOUTS["diffusers"](pairs), LAYOUTS["LyCORIS"](pairs)
    both = ksample(patched(second, 0.5, patched(first, 0.25)))
    turned = ksample(patched(first, 0.25, patched(second, 0.5)))
    once = ksample(patched(first, 0.75))
    found = {"order": largest(both - turned), "sum": largest(both - once)}
    assert max(found.values()) <= 1e-4 * largest(once), found
    plain = ksample()
    assert torch.equal(ksample(patched(first, 0.0)), plain)
    assert largest(ksample(patched(first)) - plain) > 1e-2
    assert torch.equal(ksample(patched(first, 0.0)), plain)
    return found


def check_any_layout_on_partly_loaded_and_fp8_weights() -> dict[str, float]:
    """Patches are applied as weights are cast there, the reordered ones too."""
    from check_fp8 import load_as

    rows, _, conv = _conv()
    tensors = LAYOUTS["diffusers"](change(_shapes()))
    tensors |= {"transformer.patch_embedding.lora_A.weight": _draw(4, *conv),
                "transformer.patch_embedding.lora_B.weight": _draw(rows, 4, 1, 1, 1)}  # fmt: skip
    model, found = patched(tensors, 0.5, load_again()[0]), {}
    whole = ksample(model)
    for share in (0.5, 0.1):
        with weight_budget(share):
            found[f"partly loaded, {share}"] = largest(ksample(model) - whole) / largest(whole)
            assert found[f"partly loaded, {share}"] <= 1e-5, found
    small = patched(tensors, 0.5, load_as("fp8_e4m3fn")[0])
    found["fp8"] = float((ksample(small) - whole).norm() / whole.norm())
    assert found["fp8"] <= 0.25, found
    return found


def check_hooked_lora_of_any_layout_acts() -> dict[str, float]:
    """A LoRA that only one condition brings along, by the stock hook nodes."""
    pairs, found = change(_shapes()), {}
    for name in (REFERENCE, "diffusers", "the authors'"):
        with lora_file(LAYOUTS[name](pairs)) as file:
            hooks = node("CreateHookLoraModelOnly", lora_name=file, strength_model=1.0)[0]
            positive = node("SetConditionHooks" if "SetConditionHooks" in nodes.NODE_CLASS_MAPPINGS else
                            "ConditioningSetProperties", cond_NEW=encode(PROMPT), strength=1.0,
                            set_cond_area="default", hooks=hooks)[0]  # fmt: skip
            found[name] = ksample(positive=positive)
    plain = ksample()
    assert largest(found[REFERENCE] - plain) > 1e-2
    differences = {name: largest(drawn - found[REFERENCE]) for name, drawn in found.items()}
    assert max(differences.values()) <= 1e-4, differences
    assert torch.equal(ksample(), plain), "a hook left a trace"
    with lora_file({"double_blocks.0.img_attn.qkv.diff": _draw(4, 4)}) as file:
        hooks = node("CreateHookLoraModelOnly", lora_name=file, strength_model=1.0)[0]
        positive = node("ConditioningSetProperties", cond_NEW=encode(PROMPT), strength=1.0, set_cond_area="default",
                        hooks=hooks)[0]  # fmt: skip
        assert "double_blocks" in raised(lambda: ksample(positive=positive))
    return differences


def check_bypass_mode_takes_any_layout() -> dict[str, float]:
    """There the host adds a LoRA beside the layer; what it does not know by name is patched as usual."""
    bypass = getattr(comfy.sd, "load_bypass_lora_for_models", None)
    if bypass is None:
        return {}
    pairs = change(_shapes())
    wanted, found = ksample(patched(LAYOUTS[REFERENCE](pairs)), steps=2), {}
    for name in (REFERENCE, "diffusers", "LyCORIS"):
        model = bypass(load()[0], None, LAYOUTS[name](pairs), 1.0, 0.0)[0]
        found[name] = largest(ksample(model, steps=2) - wanted) / largest(wanted)
    mixed = {
        **LAYOUTS[REFERENCE](dict(list(pairs.items())[::2])),
        **LAYOUTS["diffusers"](dict(list(pairs.items())[1::2])),
    }
    found["mixed"] = largest(ksample(bypass(load()[0], None, mixed, 1.0, 0.0)[0], steps=2) - wanted) / largest(wanted)
    assert max(found.values()) <= 1e-4, found
    rows, _, conv = _conv()
    embed = {"diffusion_model.patch_embedding.lora_A.weight": _draw(4, *conv),
             "diffusion_model.patch_embedding.lora_B.weight": _draw(rows, 4, 1, 1, 1)}  # fmt: skip
    assert "bypass" in raised(lambda: bypass(load()[0], None, embed, 1.0, 0.0))
    return found


def check_picking_layers_is_left_to_who_picks() -> None:
    """Packs with a strength for each block hand our patcher one of the host's patches at a time."""
    tensors = LAYOUTS[REFERENCE](change(_shapes()))
    model = load()[0].clone()
    names = comfy.lora.model_lora_keys_unet(model.model, {})
    for key, patch in comfy.lora.load_lora(tensors, names).items():
        model.add_patches({key: patch}, 0.5)
    assert all(len(patches) == 1 for patches in model.patches.values())
    assert len(model.patches) == len(change(_shapes()))


def check_clones_of_every_class_read_loras() -> None:
    """The host makes some copies in a class of its own; a LoRA after such a node would be lost again."""
    reads = pack("nodes.native.lora")
    for patcher in (load()[0], load()[1].patcher):
        assert isinstance(patcher.clone().clone(), reads._ReadsLoras)
        assert type(patcher.clone()) is type(patcher)

    class Delegating(comfy.model_patcher.ModelPatcher):
        """As dynamic VRAM's patcher where a copy must not be dynamic."""

        def clone(self) -> Any:
            return comfy.model_patcher.ModelPatcher(self.model, self.load_device, self.offload_device)

    given = load()[0]
    other = reads.reads_loras(Delegating(given.model, given.load_device, given.offload_device), reads.GENERATION)
    assert len(patched(LAYOUTS["diffusers"](change(_shapes())), model=other.clone()).patches) > 0


def check_other_models_loras_are_none_of_our_business() -> None:
    """Our question in the host's loader answers at names of our own alone."""
    kinds: list[Callable[..., Any]] = [kind for kind in _adapters() if kind.__module__.endswith("native.lora")]
    assert len(kinds) == 1, "registered twice, or not at all"
    tensors = {"diffusion_model.blocks.0.self_attn.q.diff": _draw(4, 4)}
    weight = "diffusion_model.blocks.0.self_attn.q.weight"
    found = comfy.lora.load_lora(tensors, {weight.removesuffix(".weight"): weight}, log_missing=False)
    assert list(found) == [weight] and isinstance(found[weight], tuple)


def _adapters() -> list[Any]:
    import comfy.weight_adapter

    return comfy.weight_adapter.adapters


def check_extracted_lora_loads_again() -> dict[str, float]:
    """The stock node that saves the difference of two models as a LoRA, in both of its kinds."""
    model, found = load()[0], {}
    pairs = {name: pair for name, pair in change(_shapes()).items() if name.startswith("blocks.0.self_attn")}
    strong = patched(LAYOUTS["diffusers"](pairs))
    difference = node("ModelMergeSubtract", model1=strong, model2=model, multiplier=1.0)[0]
    wanted = ksample(strong)
    for kind in ("standard", "full_diff"):
        prefix = f"loras/check_{kind}"
        node("LoraSave", filename_prefix=prefix, rank=4, lora_type=kind, bias_diff=True, model_diff=difference)
        folder = os.path.join(folder_paths.get_output_directory(), "loras")
        (file,) = [name for name in os.listdir(folder) if name.startswith(f"check_{kind}")]
        from safetensors.torch import load_file

        tensors = load_file(os.path.join(folder, file))
        os.remove(os.path.join(folder, file))
        found[kind] = float((ksample(patched(tensors)) - wanted).norm() / wanted.norm())
    assert found["full_diff"] <= 0.02, found
    return found
