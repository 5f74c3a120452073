// Planned nodes in a graph: the one on the canvas, or one that is only queued.

import { app } from "../../../scripts/app.js";
import { text } from "./texts.js";

const NAME = "lightfusion-talk-"; // and a number
const GAP = 40;
const [MARGIN, HEAD, TITLE] = [20, 60, 30];
const WIDTH = 340;
/** The height that a node takes once it shows what it made, beyond its rows. */
const SHOWN = {
  LightFusionAsk: 110, LightFusionEdit: 300, LightFusionLoad: 70, LightFusionSampler: 300, LoadImage: 320,
  PreviewAny: 120, SaveImage: 320,
};
const MADE_OF_ELEMENTS = 1.2; // rows that are elements are so much higher than those on the canvas

/**
 * Put a plan's nodes into a graph, wired and in frames; gives the nodes.
 *
 * `left` and `top` are where the frames begin; `named` gives a node's id by its number from 1 on, else the graph does.
 */
function place(graph, plan, { left = 0, top = 0, named }) {
  const nodes = new Map(plan.nodes.map((planned, index) => [planned.key, make(graph, planned, named?.(index + 1))]));
  for (const { key, wires } of plan.nodes) {
    for (const [input, [from, output]] of Object.entries(wires)) {
      const target = nodes.get(key);
      nodes.get(from).connect(output, target, target.inputs.findIndex(({ name }) => name === input));
    }
  }
  let x = left;
  for (const group of plan.groups) x = frame(graph, plan, group, nodes, [x, top]) + GAP;
  return [...nodes.values()];
}

function make(graph, { type, title, values }, id) {
  const node = LiteGraph.createNode(type);
  if (id) node.id = id;
  if (title) node.title = text(title);
  graph.add(node);
  for (const widget of node.widgets ?? []) {
    if (widget.name === "control_after_generate") widget.value = "fixed"; // else the next run draws something else
    if (values[widget.name] === undefined) continue;
    widget.value = values[widget.name];
    widget.callback?.(widget.value);
  }
  return node;
}

// Columns from left to right; gives where the frame ends.
function frame(graph, plan, group, nodes, [left, top]) {
  const own = plan.nodes.filter((planned) => planned.group === group.name);
  let [x, bottom] = [left + MARGIN, top];
  for (const column of [...new Set(own.map((planned) => planned.column))].sort()) {
    let y = top + HEAD;
    for (const planned of own.filter((one) => one.column === column)) {
      const node = nodes.get(planned.key);
      node.pos = [x, y + TITLE];
      node.setSize([WIDTH, MADE_OF_ELEMENTS * node.computeSize()[1] + (SHOWN[planned.type] ?? 0)]);
      y += TITLE + node.size[1] + GAP;
    }
    [x, bottom] = [x + WIDTH + GAP, Math.max(bottom, y)];
  }
  const box = new LiteGraph.LGraphGroup(titleOf(group));
  box.pos = [left, top];
  box.size = [x - GAP + MARGIN - left, bottom - GAP + MARGIN - top];
  graph.add(box);
  return x - GAP + MARGIN;
}

function titleOf({ turn }) {
  return turn ? `${turn.number} · ${text(turn.kind)}: ${turn.text}` : text("model");
}

/**
 * A plan as the host queues it, `{output, workflow}`.
 *
 * Its nodes are named by no numbers: what the host, or a node of its own, tells of them would else show on the canvas's
 * nodes of these numbers. The workflow, which is there to be opened, has numbers.
 */
export async function promptOf(plan) {
  const graph = new LiteGraph.LGraph();
  graph.id = LiteGraph.uuidv4(); // older editors leave it zero, and then take two opened files for one
  place(graph, plan, { named: (number) => `${NAME}${number}` });
  const { output, workflow } = await app.graphToPrompt(graph);
  graph.clear();
  return { output, workflow: numbered(workflow) };
}

/** Whether the host means a node of a queued turn by a name. */
export function isOfTurn(name) {
  return String(name).startsWith(NAME);
}

function numbered(workflow) {
  const numbers = new Map(workflow.nodes.map(({ id }, index) => [id, index + 1]));
  const nodes = workflow.nodes.map((node) => ({ ...node, id: numbers.get(node.id) }));
  const links = workflow.links.map(([id, from, output, to, ...rest]) => [
    id, numbers.get(from), output, numbers.get(to), ...rest,
  ]);
  return { ...workflow, nodes, links, last_node_id: nodes.length };
}

/** Put a plan's nodes beside what stands on the canvas, select them and bring them into view. */
export function putOnCanvas(plan) {
  const { graph } = app.canvas;
  const boxes = [...graph.nodes, ...graph.groups];
  const left = Math.max(0, ...boxes.map(({ pos, size }) => pos[0] + size[0] + 2 * GAP));
  graph.beforeChange();
  const nodes = place(graph, plan, { left, top: boxes.length ? Math.min(...boxes.map(({ pos }) => pos[1])) : 0 });
  graph.afterChange();
  app.canvas.deselectAll();
  app.canvas.selectItems(nodes);
  // where the nodes stand is worked out as they are drawn
  requestAnimationFrame(() => requestAnimationFrame(() => app.extensionManager.command.execute("Comfy.Canvas.FitView")));
  return nodes;
}
