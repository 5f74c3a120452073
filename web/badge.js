// What a loader has loaded: name, size, dtype and kind.

import { elementOf } from "./widget.js";

const NAME = "lightfusion_model";
const UNITS = ["bytes", "kB", "MB", "GB"];

function size(bytes) {
  const step = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), UNITS.length - 1);
  const value = bytes / 1000 ** step;
  return `${value.toFixed(value < 10 && step > 0 ? 1 : 0)} ${UNITS[step]}`;
}

function make() {
  const line = document.createElement("div");
  line.className = "lightfusion-badge";
  line.setAttribute("role", "status");
  return line;
}

/** Nothing shows before a model is loaded. */
export function prepare() {}

/** Show `output.lightfusion_model`. */
export function show(node, output) {
  const model = output.lightfusion_model?.[0];
  if (!model) return;
  const parts = [model.name, size(model.bytes), model.dtype];
  if (model.coupled) parts.push("coupled");
  if (model.nano) parts.push("small model of shapes");
  const line = elementOf(node, NAME, make, { height: 58, grows: false });
  line.replaceChildren(
    ...parts.map((part) => {
      const span = document.createElement("span");
      span.textContent = part;
      return span;
    }),
  );
  line.title = parts.join(", ");
}
