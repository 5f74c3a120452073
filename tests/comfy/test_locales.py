"""The translations name every node, input and output, and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from host import Client
from object_info import RECORD, SNAPSHOT, lists_grow, own
from texts import english, file_of, paths

from tools.comfyui import PACK

GROWING_LIST = "more_images"
LANGUAGES = sorted(folder.name for folder in (PACK / "locales").iterdir())
NODES = json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def read(language: str) -> dict[str, dict[str, Any]]:
    return json.loads(file_of(language).read_text(encoding="utf-8"))


def without_list(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: text for name, text in inputs.items() if name != GROWING_LIST}


def test_languages_are_those_that_the_project_keeps() -> None:
    assert LANGUAGES == ["en", "zh"]


@pytest.mark.comfy
def test_english_is_what_the_nodes_say(client: Client) -> None:
    """The frontend prefers the translation: English that is out of date hides the node's own text."""
    known, texts = client.object_info(), read("en")
    if not lists_grow(known):
        texts = {name: {**text, "inputs": without_list(text["inputs"])} for name, text in texts.items()}
    assert texts == english(own(known)), f"record it anew with `{RECORD}`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_input_and_output_has_a_name(language: str) -> None:
    """A text without a translation shows in English amid the others; one left over is never seen."""
    texts = read(language)
    assert list(texts) == list(NODES)
    for name, info in NODES.items():
        given = info["input"]["required"] | info["input"]["optional"]
        control = {"control_after_generate"} if any("control_after_generate" in i[1] for i in given.values()) else set()
        assert set(texts[name]["inputs"]) == set(given) | control, name
        assert list(texts[name]["outputs"]) == [str(index) for index in range(len(info["output"]))], name


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_there_in_every_language(language: str) -> None:
    texts = read(language)
    assert set(paths(texts)) == set(paths(read("en")))
    assert all(text.strip() for text in _values(texts))


@pytest.mark.parametrize("language", LANGUAGES)
def test_categories_are_named(language: str) -> None:
    """The menu's folders."""
    assert set(main(language)["nodeCategories"]) == {"LightFusion", "custom sampling"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_panel_has_its_texts(language: str) -> None:
    """All that its scripts ask for and no others, with the same places for values in every language."""
    scripts = "".join(file.read_text(encoding="utf-8") for file in (PACK / "web" / "talk").glob("*.js"))
    texts, english_texts = main(language)["lightfusion"]["talk"], main("en")["lightfusion"]["talk"]
    asked = set(re.findall(r'\btext\("(\w+)"', scripts))
    assert asked <= set(texts) == set(english_texts)
    assert [key for key in texts if not re.search(rf'["\s]{key.removesuffix("Line")}\b', scripts)] == []
    for key, text in texts.items():
        assert text.strip() and _places(text) == _places(english_texts[key]), key


@pytest.mark.parametrize("page", ["{node}.md", "{node}/zh.md"])
def test_every_node_has_a_help_page(page: str) -> None:
    """It names every input and output."""
    for name, info in NODES.items():
        text = (PACK / "web" / "docs" / page.format(node=name)).read_text(encoding="utf-8")
        for given in [*info["input"]["required"], *info["input"]["optional"], *info["output_name"]]:
            assert f"`{given}`" in text, f"{page.format(node=name)} does not name {given}"


def test_help_pages_are_of_nodes() -> None:
    """A page of a node that is gone stays unseen."""
    docs = PACK / "web" / "docs"
    assert {file.stem for file in docs.glob("*.md")} == set(NODES)
    assert {file.parent.name for file in docs.glob("*/*")} == set(NODES)


def main(language: str) -> dict[str, dict[str, Any]]:
    """The texts beside those of nodes."""
    return json.loads((PACK / "locales" / language / "main.json").read_text(encoding="utf-8"))


def _places(text: str) -> set[str]:
    return set(re.findall(r"\{\w+\}", text))


def _values(texts: object) -> list[str]:
    if isinstance(texts, str):
        return [texts]
    return [text for value in texts.values() for text in _values(value)]
