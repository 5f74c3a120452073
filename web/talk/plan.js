// The nodes that turns stand for: what each is set to, and what is wired into it.

import { loadedName } from "./pictures.js";

const REFERENCES = ["image_1", "image_2", "image_3", "image_4"];

/** How many pictures a turn takes. */
export const MOST_PICTURES = REFERENCES.length;

/**
 * The nodes of turns, which stand in their order, as `{groups, nodes}`.
 *
 * A group is `{name, turn}`; a node is `{key, type, group, column, values, wires}`, where a wire is `[key, output]`.
 * A picture that one of these turns made is wired into the later ones, by way of eight bits, as its file has it; others
 * are loaded by their names.
 */
export function planOf(turns) {
  const plan = { groups: [], nodes: [], keys: new Set(), histories: new Map() };
  const made = new Map();
  for (const turn of turns) {
    const model = loader(plan, turn);
    plan.groups.push({ name: `turn ${turn.number}`, turn });
    const wired = picturesFor(plan, turn).map((picture) => pictureWire(plan, turn, picture, made));
    const images = Object.fromEntries(wired.map((wire, index) => [REFERENCES[index], wire]));
    ({ draw, edit, ask })[turn.kind](plan, turn, model, images, made);
  }
  return plan;
}

// A history names the pictures that were shown; the host forgets them when it starts anew, and takes them again.
function picturesFor(plan, { given, said, earlier = [] }) {
  const needed = said && !plan.histories.has(said) ? [...given, ...earlier] : given;
  return [...new Map(needed.map((picture) => [loadedName(picture), picture])).values()].slice(0, MOST_PICTURES);
}

function add(plan, turn, node) {
  const group = plan.groups.at(-1).name;
  plan.nodes.push({ group, values: {}, wires: {}, ...node, key: `${turn.number} ${node.key}` });
  return `${turn.number} ${node.key}`;
}

function loader(plan, { settings }) {
  const { model, understanding, vae, weight_dtype } = settings;
  const key = `load ${JSON.stringify([model, understanding, vae, weight_dtype])}`;
  if (!plan.keys.has(key)) {
    plan.keys.add(key);
    plan.groups.push({ name: key, turn: null });
    const values = { model, understanding, vae, weight_dtype };
    plan.nodes.push({ key, type: "LightFusionLoad", group: key, column: 0, values, wires: {} });
  }
  return { model: [key, 0], clip: [key, 1], vae: [key, 2] };
}

function pictureWire(plan, turn, picture, made) {
  const source = made.get(picture.turn);
  if (!source) {
    const name = loadedName(picture);
    const known = plan.nodes.find((node) => node.type === "LoadImage" && node.values.image === name);
    return [known?.key ?? add(plan, turn, { key: name, type: "LoadImage", column: 0, values: { image: name } }), 0];
  }
  const { wire, group, column } = source;
  const key = `${picture.turn} as saved`;
  if (!plan.keys.has(key)) {
    plan.keys.add(key);
    // a scale of 1 in this manner is the rounding to eight bits that saving a file is, and nothing else
    const values = { upscale_method: "lanczos", scale_by: 1 };
    plan.nodes.push({ key, type: "ImageScaleBy", title: "asSaved", group, column, values, wires: { image: wire } });
  }
  return [key, 0];
}

function draw(plan, turn, { model, clip, vae }, images, made) {
  const { width, height, steps, text_guidance, image_guidance } = turn.settings;
  const needed = Object.keys(images).length ? { vae, ...images } : {};
  const encode = add(plan, turn, {
    key: "encode", type: "LightFusionEncode", column: 1,
    values: { prompt: turn.text, width, height }, wires: { clip, ...needed },
  });
  const sampler = add(plan, turn, {
    key: "sampler", type: "LightFusionSampler", column: 2,
    values: { seed: turn.seed, steps, text_guidance, image_guidance },
    wires: { model, positive: [encode, 0], negative: [encode, 1], no_image: [encode, 2], latent: [encode, 3] },
  });
  const decode = add(plan, turn, { key: "decode", type: "VAEDecode", column: 3, wires: { samples: [sampler, 0], vae } });
  savePicture(plan, turn, [decode, 0], 3, made);
}

function edit(plan, turn, { model, clip, vae }, images, made) {
  const { steps, text_guidance, image_guidance } = turn.settings;
  const key = add(plan, turn, {
    key: "edit", type: "LightFusionEdit", column: 1,
    values: { instruction: turn.text, seed: turn.seed, steps, text_guidance, image_guidance },
    wires: { model, clip, vae, ...images },
  });
  savePicture(plan, turn, [key, 0], 2, made);
}

function savePicture(plan, turn, wire, column, made) {
  add(plan, turn, {
    key: "save", type: "SaveImage", column,
    values: { filename_prefix: "LightFusion/talk" }, wires: { images: wire },
  });
  made.set(turn.number, { wire, group: plan.groups.at(-1).name, column });
}

function ask(plan, turn, { clip }, images) {
  const values = { question: turn.text, seed: turn.seed };
  const wires = { clip, ...images, ...historyWire(plan, turn) };
  const key = add(plan, turn, { key: "ask", type: "LightFusionAsk", column: 1, values, wires });
  add(plan, turn, { key: "answer", type: "PreviewAny", column: 2, wires: { source: [key, 0] } });
  if (turn.history) plan.histories.set(turn.history, [key, 1]);
}

// From the question before it if that is among the nodes, else as text.
function historyWire(plan, turn) {
  if (!turn.said) return {};
  const values = { value: turn.said };
  const wire = plan.histories.get(turn.said)
    ?? [add(plan, turn, { key: "history", type: "PrimitiveStringMultiline", column: 0, values }), 0];
  return { history: wire };
}
