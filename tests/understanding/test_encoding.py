"""Encoding a request: what is run, what is kept, what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from samples import ids, reference, references, relative_error
from torch import Tensor, nn

from lightfusion_core import Conditioning, InputError, LightFusion, Reference
from lightfusion_core.config import TextConfig
from lightfusion_core.layout import Split, TokenKind
from lightfusion_core.understanding.chat import USER, Message
from lightfusion_core.understanding.passes import Pass, Prefix, packed, thrown_away

PROMPT, OTHER, NEGATIVE = ids("a red circle"), ids("a blue square on top"), ids("blurred")


@contextmanager
def counted(module: nn.Module) -> Iterator[list[int]]:
    """The number of tokens of every call of a module."""
    calls: list[int] = []
    hook = module.register_forward_hook(lambda _, args, out: calls.append(args[0].shape[-2]))
    try:
        yield calls
    finally:
        hook.remove()


def vision(model: LightFusion) -> nn.Module:
    return model.understanding.model.visual.patch_embed


def decoder(model: LightFusion) -> nn.Module:
    return model.understanding.model.language_model.layers[0]


def test_images_run_once_for_all_branches_and_requests(frozen: LightFusion) -> None:
    """Guards the shared prefix: three branches and the next prompt must not pay for the images again."""
    frozen.encoder.forget()
    images, pairs = references(2), 2 * frozen.config.max_extent
    with counted(vision(frozen)) as seen, counted(decoder(frozen)) as run:
        frozen.encoder.encode([PROMPT], images, [NEGATIVE])
    assert len(seen) == 2
    # each image: two markers, then the ViT tokens in theirs; then texts and markers of the branches
    assert run == [2 + 12 + 2 + 2 + 4 + 2, len(PROMPT) + pairs + len(NEGATIVE) + pairs + len(PROMPT) + pairs]
    with counted(vision(frozen)) as seen, counted(decoder(frozen)) as run:
        frozen.encoder.encode([OTHER], images, [NEGATIVE])
    assert seen == []
    assert run == [len(OTHER) + pairs + len(NEGATIVE) + pairs + len(OTHER) + pairs]


def test_a_request_passes_each_layer_once(frozen: LightFusion) -> None:
    """Guards weights larger than memory: an edit read them eight times, a layer of one segment after another; and a
    GPU's idle time: it started a layer's kernels twelve times for this request."""
    frozen.encoder.forget()
    order: list[int] = []
    layers = frozen.understanding.model.language_model.layers
    hooks = [
        layer.register_forward_hook(lambda *_, index=index: order.append(index)) for index, layer in enumerate(layers)
    ]
    frozen.encoder.encode([PROMPT, OTHER], references(2), [NEGATIVE])
    for hook in hooks:
        hook.remove()
    assert order == sorted(order)
    assert len(order) == len(layers) * 2  # the images, and what is behind them


@pytest.mark.parametrize("count", [1, 2])
def test_a_kept_picture_changes_no_bit(frozen: LightFusion, count: int) -> None:
    """Guards one seed, one picture: whoever repeats a request must get what it gave at first."""
    images = references(count)

    def states() -> list[Tensor]:
        made = frozen.encoder.encode([PROMPT, OTHER], images, [NEGATIVE])
        branches = [made.full, made.negative, made.no_image]
        return [part for one in branches for part in (*(segment.hidden for segment in one.segments), one.markers)]

    frozen.encoder.forget()
    fresh = states()
    kept = states()  # of the same request
    frozen.encoder.forget()
    frozen.encoder.images(images)
    read = states()  # of an answer about the pictures
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(fresh, kept, read, strict=True))


def test_branches_side_by_side_see_nothing_of_each_other(frozen: LightFusion) -> None:
    """Guards the mask of a call that many segments share: each branch is what it is alone, up to rounding."""
    images = references(2)
    request = frozen.encoder.encode([PROMPT, OTHER], images, [NEGATIVE])
    asked = [(images, [PROMPT, OTHER]), (images, [NEGATIVE]), ((), [PROMPT, OTHER])]
    for together, one in zip((request.full, request.negative, request.no_image), asked, strict=True):
        end = Prefix()
        for image in one[0]:  # a pass at a time
            for plan, part in (frozen.encoder.plan_latent, image.latent), (frozen.encoder.plan_vit, image.vit_pixels):
                passes: list[Pass] = []
                end = frozen.encoder.run(plan(end, part, passes), passes)
        for text in one[1]:
            end = frozen.encoder.extend(end, [text])
        alone = [segment.hidden for segment in end.segments]
        errors = [relative_error(a.hidden, b) for a, b in zip(together.segments, alone, strict=True)]
        assert max(errors) <= 2e-6
        (again,) = frozen.encoder.branches([one])
        assert relative_error(together.markers, again.markers) <= 2e-6


def test_what_a_pack_throws_away(frozen: LightFusion) -> None:
    """Guards the work of many pictures: one call for all of them must not cost more than a call for each."""
    tower, large = frozen.understanding, TextConfig()

    def pictures(count: int, side: int) -> list[Pass]:
        passes: list[Pass] = []
        end: Prefix | Pass = Prefix()
        for _ in range(count):
            split = Split(TokenKind.VIT, end.next_start, side, side)
            own, hidden = torch.ones(split.length, split.length).bool(), torch.zeros(1, split.length, 128)
            end = Pass(end, split, hidden, own, split.position_ids())
            passes.append(end)
        return passes

    assert thrown_away(pictures(1, 26), large) == 0
    assert 0.02 < thrown_away(pictures(4, 26), large) < 0.04  # four references of 728 pixels
    assert thrown_away(pictures(60, 26), large) > 0.25
    packs = packed(tower, passes := pictures(12, 10))
    assert [one for pack in packs for one in pack.passes] == passes
    assert 1 < len(packs) < 12
    assert all(thrown_away(pack.passes, tower.config.text) <= 0.25 for pack in packs)
    n, first = 102, len(packs[0].passes)
    sees = packs[1].mask[:n]  # the first picture of the second pack: all of the first, itself, and no other
    assert sees[:, : (first + 1) * n].all() and not sees[:, (first + 1) * n :].any()


@pytest.mark.parametrize("kind", ["images", "answers"])
def test_a_thread_gets_no_other_threads_picture(frozen: LightFusion, kind: str) -> None:
    """Guards what is kept for the next request, which another thread may put its own in the place of at any time."""
    kept = frozen.encoder if kind == "images" else frozen.answerer.reader
    one, two = references(2)

    def read(reference: Reference) -> Prefix:
        if kind == "images":
            return frozen.encoder.images([reference])
        return kept.read([Message(USER, "what?", (reference,))])[0]

    with torch.no_grad():
        other = kept._kept if read(two) else None
        wanted = read(one)
        mine = kept._kept

        class Interrupted(type(kept)):
            """What is kept changes as soon as it was read."""

            reads = 0

            @property
            def _kept(self) -> object:
                self.reads += 1
                return mine if self.reads == 1 else other

            @_kept.setter
            def _kept(self, value: object) -> None: ...

        original = type(kept)
        kept.__class__ = Interrupted
        try:
            found = read(one)
            pairs = zip(found.memory, wanted.memory, strict=True)
            assert all(torch.equal(mine, theirs) for pair in pairs for mine, theirs in zip(*pair, strict=True))
        finally:
            kept.__class__ = original


def test_what_is_returned_is_not_what_is_kept(model: LightFusion) -> None:
    """Guards the next request from whoever writes into a conditioning, or into a reference after its use."""
    model.encoder.forget()
    image = reference()
    before = model.encoder.encode([PROMPT], [image], [NEGATIVE])
    wanted = [segment.hidden.clone() for segment in before.full.segments]
    latent = before.full.segments[0].latent.clone()
    for branch in (before.full, before.negative):
        for segment in branch.segments:
            segment.hidden.data.fill_(7.0)
            if segment.latent is not None:
                segment.latent.numpy()[:] = 7.0
    assert torch.equal(image.latent, latent)
    after = model.encoder.encode([PROMPT], [image], [NEGATIVE]).full.segments
    assert all(torch.equal(segment.hidden, hidden) for segment, hidden in zip(after, wanted, strict=True))
    assert torch.equal(after[0].latent, latent)
    image.latent.fill_(7.0)  # another picture now, whose key is another
    same = reference()
    again = model.encoder.encode([PROMPT], [same]).full.segments
    assert torch.equal(again[0].latent, latent)


def test_equal_images_are_known_by_their_content(model: LightFusion) -> None:
    """Guards hosts that hand over a copy of the same picture with every request."""
    model.encoder.encode([PROMPT], [reference()])
    with counted(vision(model)) as seen:
        model.encoder.encode([PROMPT], [reference()])
    assert seen == []


@pytest.mark.parametrize("change", ["pixels", "latent", "order", "fewer", "no latent"])
def test_other_images_are_encoded_anew(model: LightFusion, change: str) -> None:
    """Guards a key that is too coarse: an edit of the wrong picture."""
    one, two = references(2)
    other = {
        "pixels": [Reference(one.vit_pixels + 1e-3, one.latent), two],
        "latent": [Reference(one.vit_pixels, one.latent + 1e-3), two],
        "order": [two, one],
        "fewer": [one],
        "no latent": [Reference(one.vit_pixels), two],
    }[change]
    before = model.encoder.encode([PROMPT], [one, two]).full
    with counted(vision(model)) as seen:
        after = model.encoder.encode([PROMPT], other).full
    assert len(seen) == len(other)
    assert all(mine is not old for mine, old in zip(after.segments, before.segments, strict=False))


def test_forgetting_drops_the_images(frozen: LightFusion) -> None:
    """Guards memory: a host that unloads the model must get the prefix back."""
    frozen.encoder.encode([PROMPT], [reference()])
    frozen.encoder.forget()
    with counted(vision(frozen)) as seen:
        frozen.encoder.encode([PROMPT], [reference()])
    assert len(seen) == 1


def test_the_order_of_segments(model: LightFusion) -> None:
    """Guards rule B4 for every branch, and the branches' shared segments."""
    images = references(2)
    conditioning = model.encoder.encode([PROMPT, OTHER], images, [NEGATIVE])
    clean, vit, text = TokenKind.CLEAN, TokenKind.VIT, TokenKind.TEXT

    def kinds(name: str) -> list[TokenKind]:
        return [segment.split.kind for segment in getattr(conditioning, name).segments]

    assert kinds("full") == [clean, vit, clean, vit, text, text]
    assert kinds("negative") == [clean, vit, clean, vit, text]
    assert kinds("no_image") == [text, text]
    assert conditioning.no_image.segments[0].split.start == 0
    full, negative = conditioning.full.segments, conditioning.negative.segments
    assert all(mine is other for mine, other in zip(full[:4], negative[:4], strict=True))
    assert conditioning.full.has_reference
    assert not conditioning.no_image.has_reference


def test_branches_that_nobody_asked_for_are_not_there(model: LightFusion) -> None:
    """Guards cost: a branch that is made is a branch that is run."""
    assert model.encoder.encode([PROMPT]).negative is None
    assert model.encoder.encode([PROMPT]).no_image is None
    assert model.encoder.encode([PROMPT], negative_texts=[]).negative.segments == ()


def test_a_coupled_model_encodes_without_the_decoder(coupled: LightFusion) -> None:
    """Guards the two builders: a coupled conditioning holds inputs, whose states fusion will change."""
    with counted(decoder(coupled)) as run:
        conditioning = coupled.encoder.encode([PROMPT], references(1), [NEGATIVE])
    assert run == []
    text = conditioning.full.segments[-1]
    assert torch.equal(text.hidden, coupled.understanding.embed(PROMPT))


def test_states_hold_every_layer(frozen: LightFusion) -> None:
    """Guards what the fusion layers read: the raw output of each VLM layer."""
    segment = frozen.encoder.encode([PROMPT]).full.segments[0]
    tower, n = frozen.understanding, len(PROMPT)
    rotary, hidden, states = tower.rotary(segment.split.position_ids()), tower.embed(PROMPT), []
    for index in range(tower.num_layers):
        hidden, _ = tower.layer(index, hidden, rotary, torch.ones(n, n).tril().bool(), None)
        states.append(hidden)
    assert segment.hidden.shape == (4, n, 128)
    assert relative_error(segment.hidden, torch.cat(states)) <= 1e-6
    assert min(relative_error(a, b) for a, b in itertools.pairwise(states)) > 0.1


def test_an_extent_beyond_the_encoded_is_refused_by_name(frozen: LightFusion) -> None:
    """Guards a picture drawn with the markers of a smaller one."""
    conditioning: Conditioning = frozen.encoder.encode([PROMPT], max_extent=3)
    assert conditioning.full.markers.shape[0] == 3
    conditioning.full.target_markers(3)
    with pytest.raises(InputError, match=r"up to 3 tokens.*has 4.*max_extent=4"):
        conditioning.full.target_markers(4)
    assert frozen.encoder.encode([PROMPT], max_extent=4).full.target_markers(4).shape == (4, 2, 128)
    assert len(frozen.encoder.encode([PROMPT]).full.markers) == frozen.config.max_extent


def test_a_coupled_model_draws_any_extent(coupled: LightFusion) -> None:
    """Guards the other kind, whose markers are embeddings and run with the picture."""
    branch = coupled.encoder.encode([PROMPT], max_extent=1).full
    assert torch.equal(branch.target_markers(50), torch.stack([coupled.understanding.embed([502, 503])[0]]))


@pytest.mark.parametrize("count", [0, 1])
def test_a_prompt_that_is_too_long_is_refused(model: LightFusion, count: int) -> None:
    """Guards positions beyond what the VLM knows; the references' positions count."""
    images = references(count)
    used = model.encoder.images(images).next_start
    room = model.config.text.max_position_embeddings - used
    model.encoder.encode([[65] * room], images, max_extent=1)
    with pytest.raises(InputError, match=f"{room + 1} tokens at position {used}.*512"):
        model.encoder.encode([[65] * (room + 1)], images, max_extent=1)


def test_a_reference_needs_content() -> None:
    with pytest.raises(InputError):
        Reference()


@pytest.mark.parametrize("beyond", [512, -1, 10**18])
def test_an_id_that_the_model_does_not_know(frozen: LightFusion, beyond: int) -> None:
    """Of a tokenizer that has more words than the model, or of a caller."""
    with pytest.raises(InputError, match=f"the id {beyond}, and this model knows 0 to 511"):
        frozen.encode([500, beyond, 501])
