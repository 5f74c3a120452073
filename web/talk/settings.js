// The model and the main settings, as the nodes themselves describe them.

import { api } from "../../../scripts/api.js";
import { element } from "./element.js";
import { inputTexts, text } from "./texts.js";

const ROWS = [
  ["LightFusionLoad", "model"],
  ["LightFusionLoad", "understanding"],
  ["LightFusionLoad", "vae"],
  ["LightFusionLoad", "weight_dtype"],
  ["LightFusionEncode", "width"],
  ["LightFusionEncode", "height"],
  ["LightFusionSampler", "steps"],
  ["LightFusionSampler", "text_guidance"],
  ["LightFusionSampler", "image_guidance"],
  ["LightFusionSampler", "seed"],
];
const KEEP = "keep_seed";
const SEEDS = 2 ** 32; // more than anyone tries, and few enough digits to be read out

/** Another seed. */
export function newSeed() {
  return Math.floor(Math.random() * SEEDS);
}

/** The form; `changed` is called when a value changes. */
export class Settings {
  constructor(changed) {
    this.rows = new Map();
    this.title = element("summary");
    this.element = element("details", { className: "settings", "aria-label": text("settingsName") }, this.title);
    this.element.addEventListener("change", () => {
      this.#summarise();
      changed();
    });
  }

  /** Make the rows out of the nodes' descriptions. */
  async read() {
    const names = [...new Set(ROWS.map(([node]) => node))];
    const found = await Promise.all(names.map(async (name) => (await api.fetchApi(`/object_info/${name}`)).json()));
    const infos = Object.assign({}, ...found);
    for (const [node, input] of ROWS) this.#add(node, input, { ...infos[node].input.required, ...infos[node].input.optional }[input]);
    this.rows.set(KEEP, element("input", { type: "checkbox", name: KEEP }));
    this.element.append(element("label", { className: "check" }, this.rows.get(KEEP), text("keepSeed")));
    this.#summarise();
  }

  /** Take over values of the same names; those that are not offered here are left. */
  set(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = this.rows.get(name);
      if (!field) continue;
      if (field.type === "checkbox") field.checked = value;
      else if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
    }
    this.#summarise();
  }

  /** All of them, to be kept. */
  values() {
    return Object.fromEntries([...this.rows].map(([name, field]) => [name, valueOf(field)]));
  }

  /** What the next turn is made with: `{settings, seed}`; another seed each time unless the person keeps it. */
  next() {
    const { seed, [KEEP]: keep, ...settings } = this.values();
    if (!keep) this.set({ seed: newSeed() });
    return { settings, seed: keep ? seed : this.values().seed };
  }

  #add(node, input, [type, options = {}]) {
    const { name, tooltip } = inputTexts(node, input);
    const choices = Array.isArray(type) ? type : options.options;
    const field = choices ? choice(choices, options.default) : number(type, options);
    field.name = input;
    this.rows.set(input, field);
    this.element.append(element("label", { title: tooltip }, element("span", {}, name), field));
  }

  #summarise() {
    const { model, steps, width, height } = this.values();
    const size = width && height ? `, ${width}×${height}` : "";
    this.title.textContent = text("settings", { model, steps }) + size;
  }
}

function choice(choices, usual) {
  const field = element("select", {}, ...choices.map((value) => element("option", { value }, value)));
  if (usual !== undefined) field.value = usual;
  return field;
}

function number(type, { default: usual, min, max, step }) {
  const most = Math.min(max, Number.MAX_SAFE_INTEGER);
  return element("input", { type: "number", min, max: most, step: step ?? (type === "INT" ? 1 : "any"), value: usual });
}

function valueOf(field) {
  if (field.type === "checkbox") return field.checked;
  if (field.type !== "number") return field.value;
  return field.validity.valid && field.value !== "" ? field.valueAsNumber : Number(field.defaultValue);
}
