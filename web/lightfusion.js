// What the pack's nodes show of their results: text while it is written, before and after, what was loaded.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import * as badge from "./badge.js";
import * as compare from "./compare.js";
import * as fold from "./fold.js";
import { allNodes, nodeOfExecution } from "./graph.js";
import * as text from "./text.js";
import * as wires from "./wires.js";

const VIEWS = {
  LightFusionLoad: badge,
  LightFusionEdit: compare,
  LightFusionEdits: compare,
  LightFusionRestore: compare,
  LightFusionAsk: text,
  LightFusionThink: text,
};

function addStyle() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("./lightfusion.css", import.meta.url).href;
  document.head.append(link);
}

function showStreamed({ detail }) {
  const node = nodeOfExecution(app.graph, detail.node);
  if (node && VIEWS[node.comfyClass] === text) text.show(node, { text: [detail.text] });
}

// The host shows the present step below all else, where the last result still stands.
function showPreview({ detail }) {
  const node = nodeOfExecution(app.graph, detail.displayNodeId);
  if (node && VIEWS[node.comfyClass] === compare) compare.makeRoom(node);
}

function showResults() {
  for (const [, node] of allNodes(app.graph)) {
    if (VIEWS[node.comfyClass] === compare) compare.takeRoom(node);
  }
}

function foldAnew() {
  for (const [, node] of allNodes(app.graph)) fold.arrange(node);
}

app.registerExtension({
  name: "lightfusion.results",

  setup() {
    addStyle();
    api.addEventListener("lightfusion.text", showStreamed);
    api.addEventListener("b_preview_with_metadata", showPreview);
    for (const end of ["success", "error", "interrupted"]) api.addEventListener(`execution_${end}`, showResults);
    app.ui.settings.addEventListener("Comfy.VueNodes.Enabled.change", () => setTimeout(foldAnew));
  },

  nodeCreated(node) {
    if (node.comfyClass?.startsWith("LightFusion")) {
      wires.prepare(node);
      fold.prepare(node);
    }
    const view = VIEWS[node.comfyClass];
    if (!view) return;
    view.prepare(node);
    const onExecuted = node.onExecuted;
    node.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      view.show(node, output ?? {});
    };
  },

  // Called when a file is open, links and all.
  loadedGraphNode(node) {
    fold.openIfUsed(node);
  },

  // Called when results are put back: another tab's workflow, or one out of the history.
  onNodeOutputsUpdated(outputs) {
    for (const [key, node] of allNodes(app.graph)) {
      const view = VIEWS[node.comfyClass];
      if (!view) continue;
      // The nodes that an Edit stood for are known by its id, a dot and more.
      for (const [name, output] of Object.entries(outputs)) {
        if (output && (name === key || name.startsWith(`${key}.`))) view.show(node, output);
      }
    }
  },
});
