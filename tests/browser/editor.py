"""ComfyUI's editor in a page: graphs in and out of it, and what its nodes show."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chromium import Page

from tools.comfyui import PACK, PACK_NAME

SCREENSHOTS = PACK / "output" / "screenshots"
VUE = "Comfy.VueNodes.Enabled"
# a fresh editor puts its own first graph in last of all, over whatever is there by then
_READY = "return window.app?.graph?.nodes.length && app.extensionManager?.workflow?.activeWorkflow && true"
_MISSING = """
const graphs = [app.graph, ...(app.graph.subgraphs?.values() ?? [])];
const nodes = graphs.flatMap((graph) => graph.nodes);
return nodes.filter((node) => node.has_errors || !LiteGraph.registered_node_types[node.type]).map((node) => node.type);
"""
_WARNINGS = """
const places = ".p-toast-message-warn, .p-toast-message-error, [data-testid*=missing], [role=alert]";
return [...document.querySelectorAll(places)]
  .filter((place) => place.checkVisibility() && place.innerText.trim())
  .map((place) => place.innerText);
"""
_PLACE = """
const element = app.graph.getNodeById(id).widgets.find((widget) => widget.name === name)?.element;
const box = (inside ? element?.querySelector(inside) : element)?.getBoundingClientRect();
return box && box.width && [box.left, box.top, box.width, box.height];
"""

_LIBRARY = "Workspace.ToggleSidebarTab.node-library"
_SEARCH = """
const search = [...document.querySelectorAll("input")].find(({ placeholder }) => placeholder.startsWith("Search"));
if (!search) return false;
if (search.value !== title) {
  search.focus();
  document.execCommand("selectAll");
  document.execCommand("insertText", false, title);
}
const found = [...document.querySelectorAll("[role=treeitem]")].filter((leaf) => leaf.textContent.trim() === title);
found.at(-1)?.click();
return found.length > 0;
"""

_LISTEN = """
const api = comfyAPI.api.api;
window.end = null;
window.streamed = [];
for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
  api.addEventListener(kind, ({ detail }) => { window.end = { kind, ...detail }; }, { once: true });
api.addEventListener("lightfusion.text", ({ detail }) => window.streamed.push(detail));
api.queuePrompt = async function () { // what the server does not take, no event tells of
  try {
    return await api.constructor.prototype.queuePrompt.apply(this, arguments);
  } catch (error) {
    window.end = { kind: "refused", exception_message: `${error}: ${JSON.stringify(error.response)}` };
    throw error;
  }
};
"""

# not the editor's own command: its view glides, and elements over the canvas follow later
_FIT = """
const nodes = app.canvas.graph.nodes.filter((node) => !ids || ids.some((id) => id == node.id));
const { groups, inputNode, outputNode } = app.canvas.graph;
const all = ids ? nodes : [...nodes, ...groups, inputNode, outputNode].filter(Boolean);
const [left, top] = [0, 1].map((axis) => Math.min(...all.map((node) => node.pos[axis])) - 60);
const [right, bottom] = [0, 1].map((axis) => Math.max(...all.map((node) => node.pos[axis] + node.size[axis])) + 60);
const room = [innerWidth - 160, innerHeight - 160];
const ds = app.canvas.ds;
ds.scale = Math.min(room[0] / (right - left), room[1] / (bottom - top), 1.2);
ds.offset = [80 / ds.scale - left, 100 / ds.scale - top];
app.canvas.setDirty(true, true);
return true;
"""


def change_settings(url: str, settings: Mapping[str, Any]) -> None:
    """Set a server's settings, which a page reads as it opens."""
    body = json.dumps({"Comfy.TutorialCompleted": True, "Comfy.InstalledVersion": "1.0.0", **settings}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/api/settings", body, headers), timeout=30).close()


class Editor:
    """The editor, open."""

    def __init__(self, page: Page, url: str, name: str, **settings: Any) -> None:
        self.page, self.url, self.name = page, url, name
        change_settings(url, {"Comfy.UseNewMenu": "Top", "Comfy.Graph.CanvasInfo": False, **settings})
        page.open(url)
        page.wait(_READY, 120)
        page.wait("document.querySelector('link[href*=lightfusion]') !== null", 60)

    def draw_with(self, *, elements: bool) -> None:
        """Have nodes made of elements, or drawn on the canvas."""
        script = "await app.extensionManager.setting.set(name, elements); return true"
        self.page.run(script, name=VUE, elements=elements)
        self.page.wait("Boolean(LiteGraph.vueNodesMode) === elements", 10, elements=elements)

    def load(self, workflow: Mapping[str, Any]) -> None:
        """Open a workflow file's content, as a graph though it may be a form too."""
        graph = {**workflow, "extra": {**workflow.get("extra", {}), "linearMode": False}}
        self.page.run("await app.loadGraphData(workflow); return true", workflow=graph)
        self.page.wait("app.graph.nodes.length === count", count=len(workflow["nodes"]))

    def open_form(self, workflow: Mapping[str, Any], name: str) -> str:
        """Open a workflow file's content as the file says, which is a form; what stands on the form."""
        self.page.run("await app.loadGraphData(workflow, true, true, name); return true", workflow=workflow, name=name)
        shown = self.page.wait("document.querySelector('[data-testid=linear-widgets]')?.innerText", 20)
        skip = "[...document.querySelectorAll('[data-testid=coach-landing] button')].find(isSkip)?.click()"
        self.page.run(f"const isSkip = (button) => button.innerText.trim() === 'Skip'; {skip}; return true")
        return shown

    def empty(self) -> None:
        """Take everything away."""
        self.page.run("app.graph.clear(); return true")

    def begin(self) -> None:
        """A new workflow. In one that was only emptied, older editors give a node inside of a blueprint the values of
        an earlier one with the same numbers."""
        blank = {"nodes": [], "links": [], "groups": [], "extra": {}, "config": {}, "version": 0.4}
        self.load({**blank, "id": str(uuid.uuid4()), "revision": 0, "last_node_id": 0, "last_link_id": 0})

    def add(self, kind: str, x: int = 100, y: int = 100) -> int:
        """A new node; returns its id."""
        script = """
        const node = LiteGraph.createNode(kind);
        node.pos = [x, y];
        app.graph.add(node);
        return node.id;
        """
        return self.page.run(script, kind=kind, x=x, y=y)

    def insert(self, title: str, x: int = 100, y: int = 100) -> int:
        """A blueprint out of the node library, as a person takes it: searched for, clicked, and put down; the id of
        its node."""
        before = self.page.run("app.graph.nodes.map((node) => node.id)")
        self.page.run("await app.extensionManager.command.execute(library); return true", library=_LIBRARY)
        self.page.wait(_SEARCH, 30, title=title)
        self.rest(0.3)
        place = (self.page.run("innerWidth") * 0.7, self.page.run("innerHeight") / 2)
        self.page.drag(place, place)  # newer ones hang it on the mouse
        self.page.run("await app.extensionManager.command.execute(library); return true", library=_LIBRARY)
        script = """
        const node = app.graph.nodes.find(({ id, title }) => title === wanted && !before.includes(id));
        if (!node || node.flags.ghost) return false;
        node.pos = [x, y];
        return node.id;
        """
        return self.page.wait(script, 10, wanted=title, before=before, x=x, y=y)

    def connect(self, origin: int, output: int, target: int, into: str) -> None:
        """Wire a node's output into the input of a name of another."""
        script = """
        const target = app.graph.getNodeById(to);
        const slot = target.inputs.findIndex(({ name }) => name === into);
        return Boolean(app.graph.getNodeById(origin).connect(output, target, slot));
        """
        assert self.page.run(script, origin=origin, output=output, to=target, into=into), f"{into} cannot be wired"

    def set(self, node: int, **values: Any) -> None:
        """What a node's widgets show."""
        script = """
        for (const [name, value] of Object.entries(values)) {
          const widget = app.graph.getNodeById(id).widgets.find((widget) => widget.name === name);
          widget.value = value;
          widget.callback?.(value);
        }
        return true;
        """
        self.page.run(script, id=node, values=values)

    def values(self, node: int) -> dict[str, Any]:
        """What a node's widgets show, by name."""
        script = "Object.fromEntries((app.graph.getNodeById(id).widgets ?? []).map(({ name, value }) => [name, value]))"
        return self.page.run(script, id=node)

    def ids(self, kind: str) -> list[int]:
        """The nodes of a type."""
        return self.page.run("app.graph.nodes.filter((node) => node.type === kind).map((node) => node.id)", kind=kind)

    def missing(self) -> list[str]:
        """The types of nodes that the editor does not know."""
        return self.page.run(_MISSING)

    def file(self) -> dict[str, Any]:
        """The graph as it would be saved."""
        return self.page.run("app.graph.serialize()")

    def prompt(self) -> dict[str, Any]:
        """The graph as it would be queued."""
        return self.page.run("return (await app.graphToPrompt()).output")

    def run(self, seconds: float = 240, press: str = "await app.queuePrompt(0, 1)") -> dict[str, Any]:
        """Queue the graph, or `press` what queues it, and wait for its end; the history's outputs. `window.streamed`
        then has what was written meanwhile. Fails with the error of a node, or of the server that refused the graph."""
        self.page.run(f"{_LISTEN}{press}; return true;")
        end = self.page.wait("window.end", seconds)
        assert end["kind"] == "execution_success", end.get("exception_message", end)
        with urllib.request.urlopen(f"{self.url}/history/{end['prompt_id']}", timeout=30) as answer:
            return json.load(answer)[end["prompt_id"]]["outputs"]

    def shown(self, node: int, name: str, what: str = "textContent", seconds: float = 30) -> str:
        """A property of a node's own element, once it is there and not empty."""
        script = (
            "return app.graph.getNodeById(id).widgets.find((widget) => widget.name === name)?.element[what] || null"
        )
        return self.page.wait(script, seconds, id=node, name=name, what=what)

    def place(self, node: int, name: str, inside: str | None = None) -> tuple[float, float, float, float]:
        """Left, top, width and height on the screen of a node's own element, or of what a selector finds in it,
        once it stands still."""
        values, last = {"id": node, "name": name, "inside": inside}, None
        for _ in range(50):
            place = self.page.wait(_PLACE, 20, **values)
            if place == last:
                return tuple(place)
            last = place
            self.rest(0.15)
        raise AssertionError(f"{name} of node {node} does not come to rest: {last}")

    def fit(self, nodes: list[int] | None = None) -> None:
        """Move and zoom so that the whole graph is seen, or these nodes of it."""
        self.page.run(_FIT, ids=nodes)

    def rest(self, seconds: float) -> None:
        """Let the page draw."""
        self.page.run("await new Promise((done) => setTimeout(done, ms)); return true", ms=1000 * seconds)

    def screenshot(self, name: str, nodes: list[int] | None = None) -> Path:
        """A picture of the whole graph in the editor, or of these nodes, under output/screenshots."""
        self.fit(nodes)
        self.rest(0.3)
        return self.page.screenshot(SCREENSHOTS / f"{self.name}-{name}.png")

    def warnings(self) -> list[str]:
        """What the editor itself complains of on the page."""
        return self.page.run(_WARNINGS)

    def complaints(self) -> list[str]:
        """What the page has complained of that is about us. Files of the host that are not there are its own affair."""
        return [error for error in self.page.errors if PACK_NAME in error or "lightfusion" in error.lower()]
