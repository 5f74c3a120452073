// The panel's texts in the editor's language, out of the pack's locales, which the server hands to the editor.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const ENGLISH = "en";
let languages = [];

/** Read the texts; once is enough. */
export async function readTexts() {
  if (languages.length) return;
  const all = await (await api.fetchApi("/i18n")).json();
  const chosen = app.extensionManager.setting.get("Comfy.Locale");
  languages = [all[chosen], all[ENGLISH]].filter((known) => known?.lightfusion);
}

/** A text of the panel; `{name}` in it becomes the value of that name. */
export function text(key, values = {}) {
  const found = languages.map((known) => known.lightfusion.talk[key]).find(Boolean) ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** The name and the hint that an input of a node has. */
export function inputTexts(node, input) {
  const known = languages.map((language) => language.nodeDefs?.[node]?.inputs?.[input]).find(Boolean);
  return { name: known?.name ?? input, tooltip: known?.tooltip ?? "" };
}
