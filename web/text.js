// The text that a node has written, or is writing.

import { elementOf } from "./widget.js";

const NAME = "lightfusion_text";

function make() {
  const area = document.createElement("textarea");
  area.className = "comfy-multiline-input lightfusion-text";
  area.readOnly = true;
  area.placeholder = "What is written shows here.";
  area.setAttribute("aria-label", "Written text");
  area.dataset.captureWheel = "true"; // lets it scroll where nodes are not drawn on the canvas
  return area;
}

/** Give a new node its empty field. */
export function prepare(node) {
  elementOf(node, NAME, make, { height: 90 });
}

/** Show `output.text`; the end stays in view if it was. */
export function show(node, output) {
  if (!Array.isArray(output.text)) return;
  const area = elementOf(node, NAME, make, { height: 90 });
  const atEnd = area.scrollTop + area.clientHeight >= area.scrollHeight - 4;
  area.value = output.text.join("\n");
  if (atEnd) area.scrollTop = area.scrollHeight;
}
