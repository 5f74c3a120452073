"""Edit, Ask and Think in a real server: what is run again, what a client is told, and stopping."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from driving import count
from graphs import SAVE, loader, node
from host import Client, Graph, Result
from object_info import lists_grow
from PIL import Image

pytestmark = pytest.mark.comfy
EDIT, ASK = "edit", "ask"


def picture(client: Client, name: str, size: tuple[int, int] = (100, 75), seed: int = 0) -> dict[str, Any]:
    """A LoadImage node of an uploaded picture."""
    numbers = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return node("LoadImage", image=client.upload(name, Image.fromarray(numbers).resize(size, Image.Resampling.BICUBIC)))


def edit_graph(client: Client, model: str = "tiny/", seed: int = 1, frames: int = 1, **inputs: Any) -> Graph:
    """LoadImage, as often as there are frames, Edit, SaveImage."""
    graph = {
        "load": loader(model),
        "image": picture(client, "first.png"),
        "other": picture(client, "other.png", seed=1),
    }
    image = ["image", 0]
    for k in range(1, frames):
        graph[f"image {k}"] = picture(client, f"frame{k}.png", seed=10 + k)
        graph[f"batch {k}"] = node("ImageBatch", image1=image, image2=[f"image {k}", 0])
        image = [f"batch {k}", 0]
    settings = {
        "instruction": "make it blue", "seed": seed, "steps": 3, "text_guidance": 3.0, "image_guidance": 1.5,
        "size": "automatic", "image_2": ["other", 0], **inputs,
    }  # fmt: skip
    graph[EDIT] = node(
        "LightFusionEdit", model=["load", 0], clip=["load", 1], vae=["load", 2], image_1=image, **settings
    )
    graph[SAVE] = node("SaveImage", images=[EDIT, 0], filename_prefix="edit")
    return graph


def ask_graph(question: str = "What is it?", length: int = 16, temperature: float = 1.0, **inputs: Any) -> Graph:
    """Load and Ask."""
    settings = {"question": question, "length": length, "temperature": temperature, "seed": 3, **inputs}
    return {"load": loader("tiny/"), ASK: node("LightFusionAsk", clip=["load", 1], **settings)}


def run(client: Client, graph: Graph, **options: Any) -> Result:
    result = client.run(graph, **options)
    if result.failure is not None:
        pytest.fail(str(result.failure), pytrace=False)
    return result


def passes_of(client: Client) -> dict[str, int]:
    """What the understanding tower did for each prompt since counting began, a segment and a look each as one."""
    return {prompt: counts["segments"] + counts["pictures"] for prompt, counts in count(client, "read").items()}


@pytest.mark.parametrize("frames", [1, 3])
def test_an_edit_encodes_once(client: Client, frames: int) -> None:
    """A host that does not know an expanded node again encodes all pictures for every seed."""
    count(client, "start")
    first = run(client, edit_graph(client, frames=frames))
    changes = {"seed": 2, "steps": 2, "text_guidance": 2.0, "image_guidance": 1.0}
    again = {name: run(client, edit_graph(client, frames=frames, **{name: value})) for name, value in changes.items()}
    other = run(client, edit_graph(client, frames=frames, instruction="make it red"))
    passes = passes_of(client)
    assert passes[first.prompt] >= 4 * frames
    assert {name: passes.get(result.prompt, 0) for name, result in again.items()} == dict.fromkeys(changes, 0)
    assert passes[other.prompt] > 0
    assert first.progress() and len(again["seed"].executed) < len(first.executed)


@pytest.mark.parametrize("kind", ["LightFusionEdit", "LightFusionEdits"])
def test_a_list_that_grows_is_references_behind_the_fourth(client: Client, kind: str) -> None:
    """The same picture as of a batch on the fourth socket, though Edit stands for nodes of its own; and only the new
    seed's drawing is run again."""
    if not lists_grow(client.object_info()):
        pytest.skip("this host has no inputs that come as they are wired")

    def drawn(seed: int, **inputs: Any) -> tuple[Result, bytes]:
        graph = edit_graph(client, seed=seed, **inputs)
        text = "instruction" if kind == "LightFusionEdit" else "instructions"
        graph[EDIT]["class_type"] = kind
        graph[EDIT]["inputs"][text] = graph[EDIT]["inputs"].pop("instruction")
        graph |= {f"more {k}": picture(client, f"more{k}.png", seed=20 + k) for k in range(3)}
        graph["two"] = node("ImageBatch", image1=["more 0", 0], image2=["more 1", 0])
        graph["three"] = node("ImageBatch", image1=["two", 0], image2=["more 2", 0])
        result = run(client, graph)
        return result, client.images(result, SAVE)[0].tobytes()

    grown = {f"more_images.image_{5 + k}": [f"more {1 + k}", 0] for k in range(2)}
    count(client, "start")
    _, listed = drawn(1, image_4=["more 0", 0], **grown)
    again, other = drawn(2, image_4=["more 0", 0], **grown)
    assert passes_of(client).get(again.prompt, 0) == 0 and other != listed
    assert listed == drawn(1, image_4=["three", 0])[1]
    assert listed != drawn(1, image_4=["more 0", 0])[1]


def test_an_unchanged_edit_executes_nothing(client: Client) -> None:
    """An expansion with a value in it that the host cannot compare is run again each time."""
    graph = edit_graph(client, frames=2)
    run(client, graph)
    result = run(client, graph)
    assert result.executed == [] and result.cached == set(graph)


def test_an_edit_with_a_mask_encodes_once(client: Client) -> None:
    """The mask is no part of what the understanding tower sees."""
    graph = edit_graph(client)
    graph["mask"] = node("SolidMask", value=1.0, width=100, height=75)
    graph[EDIT]["inputs"]["mask"] = ["mask", 0]
    count(client, "start")
    first = run(client, graph)
    graph["mask"]["inputs"]["value"] = 0.5
    second = run(client, graph)
    passes = passes_of(client)
    assert passes[first.prompt] > 0 == passes.get(second.prompt, 0)
    pictures = [client.images(result, SAVE)[0] for result in (first, second)]
    assert pictures[0].size == (100, 75) and pictures[0].tobytes() != pictures[1].tobytes()


def test_frames_come_back_in_their_size_with_a_seed_each(client: Client) -> None:
    """What a client saves of a batch is what it saves of the frames one by one, up to rounding."""
    together = client.images(run(client, edit_graph(client, frames=2, seed=7)), SAVE)
    assert [image.size for image in together] == [(100, 75)] * 2
    graph = edit_graph(client, seed=8)
    graph["image"] = picture(client, "frame1.png", seed=11)
    (alone,) = client.images(run(client, graph), SAVE)
    difference = np.asarray(together[1], dtype=int) - np.asarray(alone, dtype=int)
    assert np.abs(difference).max() <= 1
    assert np.abs(np.asarray(together[0], dtype=int) - np.asarray(alone, dtype=int)).max() > 5


def test_before_and_after_are_shown_on_the_edit(client: Client) -> None:
    """The nodes that an Edit stands for are no nodes of the user's graph: what they show belongs to it."""
    graph = edit_graph(client, frames=5)
    result = run(client, graph)
    (data,) = [data for data in result.of("executed") if "lightfusion_before_after" in (data["output"] or {})]
    assert data["display_node"] == EDIT
    pairs = data["output"]["lightfusion_before_after"]
    assert len(pairs) == 4
    shown = [client.view(pairs[0][side]) for side in ("before", "after")]
    (before, after) = (np.asarray(image.convert("RGB"), dtype=int) for image in shown)
    saved = np.asarray(client.images(result, SAVE)[0].convert("RGB"), dtype=int)
    assert np.abs(after - saved).max() <= 1 and np.abs(after - before).max() > 5
    assert all(data["display_node"] == EDIT for data in result.of("executing") if str(data["node"]).startswith("edit."))


def test_a_list_of_pictures_is_edited_one_by_one(client: Client) -> None:
    """The host hands a list's items to a node one at a time, but a link still stands for the whole list."""
    graph = edit_graph(client, frames=2)
    graph["list"] = node("RebatchImages", images=["batch 1", 0], batch_size=1)
    graph[EDIT]["inputs"]["image_1"] = ["list", 0]
    listed = client.images(run(client, graph), SAVE)
    assert len(listed) == 2
    alone = client.images(run(client, edit_graph(client)), SAVE)[0]
    assert np.array_equal(np.asarray(listed[0]), np.asarray(alone))
    assert not np.array_equal(np.asarray(listed[0]), np.asarray(listed[1]))


def test_a_cancelled_batch_goes_on_where_it_was(client: Client) -> None:
    """Frames that were drawn before a cancel are not drawn again."""
    graph = edit_graph(client, frames=3, steps=8)
    graph["slow"] = node("LightFusionSlow", model=["load", 0], seconds=0.1)
    graph[EDIT]["inputs"]["model"] = ["slow", 0]
    finished = 0

    def cancel_in_the_second(event: Any) -> None:
        nonlocal finished
        if event.kind == "progress" and event.data["value"] == event.data["max"]:
            finished += 1
        elif event.kind == "progress" and finished == 1 and event.data["value"] == 2:
            client.interrupt()

    cancelled = client.run(graph, on_event=cancel_in_the_second)
    assert cancelled.status == "interrupted" and cancelled.failure is None
    rest = run(client, graph)
    drawn = {data["node"] for data in rest.of("progress")}
    assert len(drawn) == 2, drawn
    assert len(client.images(rest, SAVE)) == 3


def row_graph(client: Client, *lines: str, **inputs: Any) -> Graph:
    """LoadImage, Edits with one instruction a line, and both of its pictures saved."""
    graph = edit_graph(client, seed=4, steps=1, **inputs)
    settings = {name: value for name, value in graph[EDIT]["inputs"].items() if name != "instruction"}
    graph["row"] = node("LightFusionEdits", instructions="\n".join(lines), **settings)
    graph |= {
        name: node("SaveImage", images=["row", k], filename_prefix=name) for k, name in enumerate(("last", "each"))
    }
    return {name: part for name, part in graph.items() if name not in (EDIT, SAVE)}


def drawn_steps(result: Result) -> set[str]:
    """The steps of a row that drew something."""
    return {str(data["node"]).split(".")[3] for data in result.of("progress")}


def test_edits_in_a_row_are_edits_wired_by_hand_and_keep_their_first_steps(client: Client) -> None:
    """Of a changed line the steps before it are not run again, nor read; an unchanged row runs nothing."""
    lines = ("make it blue", "add a star", "remove it")
    count(client, "start")
    first = run(client, row_graph(client, *lines))
    assert drawn_steps(first) == {"step 1", "step 2", "step 3"}
    pictures = [np.asarray(image) for image in client.images(first, "each")]
    assert len(pictures) == 3 and np.array_equal(pictures[2], np.asarray(client.images(first, "last")[0]))

    changed = run(client, row_graph(client, lines[0], "", "  add a circle", lines[2]))
    assert drawn_steps(changed) == {"step 2", "step 3"}
    assert np.array_equal(np.asarray(client.images(changed, "each")[0]), pictures[0])
    assert drawn_steps(run(client, row_graph(client, *lines[:2], "another"))) == {"step 2", "step 3"}
    longer = run(client, row_graph(client, *lines[:2], "another", "and more"))
    assert drawn_steps(longer) == {"step 4"} and len(client.images(longer, "each")) == 4
    same = run(client, row_graph(client, *lines[:2], "another", "and more"))
    assert same.executed == []

    graph = edit_graph(client, seed=4, steps=1, instruction=lines[0])
    for k, line in enumerate(lines[1:], 2):
        graph[f"edit {k}"] = node(
            "LightFusionEdit",
            **{**graph[EDIT]["inputs"], "instruction": line, "image_1": [EDIT if k == 2 else "edit 2", 0]},
        )
    graph[SAVE]["inputs"]["images"] = ["edit 3", 0]
    (wired,) = client.images(run(client, graph), SAVE)
    assert np.array_equal(np.asarray(wired), pictures[2])


def test_a_row_without_an_instruction_says_so(client: Client) -> None:
    failure = client.run(row_graph(client, " ", "")).failure
    assert failure is not None and failure.node == "row" and "on each line" in failure.message


def test_the_empty_mask_of_an_opaque_picture_is_none(client: Client) -> None:
    """LoadImage gives one of 64x64 for a picture without transparency."""
    plain, masked = (run(client, edit_graph(client, **mask)) for mask in ({}, {"mask": ["image", 1]}))
    first, second = (np.asarray(client.images(result, SAVE)[0]) for result in (plain, masked))
    assert np.array_equal(first, second)


def test_wrong_masks_are_explained_on_the_edit(client: Client) -> None:
    graph = edit_graph(client, mask=["mask", 0])
    graph["mask"] = node("SolidMask", value=1.0, width=80, height=48)
    result = client.run(graph)
    assert result.failure is not None and result.failure.node == EDIT
    assert "80x48" in result.failure.message


def test_an_answer_is_told_as_it_grows(client: Client) -> None:
    """Text that comes at once after a minute of silence looks like a hang."""
    result = run(client, ask_graph(length=300, temperature=2.0))
    sent = result.of("lightfusion.text")
    assert {data["node"] for data in sent} == {ASK}
    texts = [data["text"] for data in sent]
    assert len(texts) > 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert result.outputs[ASK]["text"] == [texts[-1]]
    assert result.progress(ASK)[-1] == (300, 300)
    told = [(event.kind, event.data.get("node")) for event in result.events]
    assert max(k for k, (kind, _) in enumerate(told) if kind == "lightfusion.text") < told.index(("executed", ASK))


def test_a_model_that_converses_shows_a_history_to_go_on_from(client: Client) -> None:
    """The panel keeps it for the next question."""
    shown = run(client, ask_graph(length=4)).outputs[ASK]
    (history,) = shown["lightfusion_history"]
    asked, answered = json.loads(history)["messages"]
    assert (asked["text"], answered["text"]) == ("What is it?", shown["text"][0].strip())
    graph = ask_graph(length=4)
    graph["load"] = loader("nano (built in)")
    assert "lightfusion_history" in run(client, graph).outputs[ASK]


def test_an_unchanged_question_executes_nothing(client: Client) -> None:
    """An answer is kept by the host like any picture."""
    graph = ask_graph()
    first = run(client, graph)
    again = run(client, graph)
    assert again.executed == [] and again.outputs.get(ASK, first.outputs[ASK]) == first.outputs[ASK]
    assert run(client, ask_graph(seed=4)).executed == [ASK]


def test_another_question_does_not_look_again(client: Client) -> None:
    """The picture's prefix is kept with the model, from one graph to the next."""
    count(client, "start")
    results = []
    for question in ("What is it?", "And what is behind it?"):
        graph = ask_graph(question, length=1, image_1=["image", 0])
        graph["image"] = picture(client, "asked.png")
        results.append(run(client, graph))
    passes = passes_of(client)
    # template, a look and its tokens, the question, the first token; then the last two alone
    assert [passes[result.prompt] for result in results] == [5, 2]


def test_a_chain_of_questions_looks_once(client: Client) -> None:
    """History from node to node in one graph; a history that was saved as text is the same."""
    count(client, "start")
    graph = ask_graph(length=2, image_1=["image", 0])
    graph["image"] = picture(client, "talked.png")
    more = {"length": 2, "temperature": 0.0, "seed": 3}
    graph["next"] = node(
        "LightFusionAsk", clip=["load", 1], question="And what is behind it?", history=[ASK, 1], **more
    )
    graph["last"] = node("LightFusionAsk", clip=["load", 1], question="And?", history=["next", 1], **more)
    graph["shown"] = node("PreviewAny", source=["next", 1])
    chained = run(client, graph)
    assert count(client, "read")[chained.prompt]["pictures"] == 1
    (saved,) = chained.outputs["shown"]["text"]
    alone = {"load": graph["load"], "last": graph["last"]}
    alone["last"]["inputs"]["history"] = saved
    assert run(client, alone).outputs["last"]["text"] == chained.outputs["last"]["text"]


def test_a_cancelled_answer_leaves_everything_usable(client: Client) -> None:
    """A cancel that is swallowed is shown as an answer."""
    before = run(client, ask_graph()).outputs[ASK]["text"]
    cancelled = client.run(ask_graph(length=400, temperature=2.0), cancel_at=5)
    assert cancelled.status == "interrupted" and cancelled.failure is None
    assert ASK not in cancelled.outputs
    assert cancelled.progress(ASK)[-1][0] < 400
    run(client, ask_graph(question="another"))
    assert run(client, ask_graph()).outputs[ASK]["text"] == before


@pytest.mark.parametrize("mode", ["rewrite", "think"])
def test_a_thought_is_drawn(client: Client, mode: str) -> None:
    """Think's three texts into Encode, in one graph."""
    links = {"prompt": ["think", 0], "thought": ["think", 1], "system": ["think", 2]}
    graph = {
        "load": loader("tiny/"),
        "think": node(
            "LightFusionThink", clip=["load", 1], prompt="a star", mode=mode, length=12, temperature=0.3, seed=1
        ),
        "encode": node(
            "LightFusionEncode", clip=["load", 1], negative_prompt="", width=64, height=64, batch_size=1, **links
        ),
        "sampler": node(
            "LightFusionSampler", model=["load", 0], positive=["encode", 0], negative=["encode", 1],
            latent=["encode", 3], seed=1, steps=2, text_guidance=3.0, image_guidance=1.0, shift=4.0, solver="unipc",
            denoise=1.0, renorm="none", renorm_min=0.0, interval_start=0.0, interval_end=1.0,
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["load", 2]),
        SAVE: node("SaveImage", images=["decode", 0], filename_prefix="thought"),
    }  # fmt: skip
    result = run(client, graph)
    assert client.images(result, SAVE)[0].size == (64, 64)
    assert result.of("lightfusion.text")[-1]["text"] == result.outputs["think"]["text"][0] != ""


@pytest.mark.parametrize(
    ("model", "weights", "dtype"), [("tiny/", "default", "float32"), ("coupled/", "fp8_e4m3fn", "float8_e4m3fn")]
)
def test_the_loader_says_what_it_loaded(client: Client, model: str, weights: str, dtype: str) -> None:
    """The badge on the node."""
    graph = ask_graph()
    graph["load"]["inputs"] |= {"model": model, "weight_dtype": weights}
    graph[ASK]["inputs"]["manner"] = "chat"
    (said,) = run(client, graph).outputs["load"]["lightfusion_model"]
    size = said.pop("bytes")
    assert said == {"name": said["name"], "dtype": dtype, "coupled": model == "coupled/", "nano": False}
    assert 1_000_000 < size < 20_000_000
