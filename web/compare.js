// Before and after, one over the other, with a divider that is dragged or moved by the arrow keys.

import { api } from "../../scripts/api.js";
import { AWAY, elementOf } from "./widget.js";

const NAME = "lightfusion_before_after";
const LIVE_PREVIEW = "$$canvas-image-preview"; // the editor's name for what it shows of a running sampler
const KEYS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"]);

function create(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function picture(file, className) {
  const image = create("img", className);
  image.alt = className;
  image.draggable = false;
  image.src = api.apiURL(`/view?${new URLSearchParams(file)}`);
  return image;
}

// A range input over the whole picture: it brings dragging, keys and what screen readers say.
function divider(stage) {
  const range = create("input", "divider");
  Object.assign(range, { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  range.setAttribute("aria-label", "How much of the picture before the edit shows");
  range.addEventListener("input", () => stage.style.setProperty("--at", `${range.value}%`));
  range.addEventListener("keydown", (event) => {
    if (KEYS.has(event.key)) event.stopPropagation(); // they would move the node too
  });
  return range;
}

function stageOf({ before, after }) {
  const stage = create("div", "stage");
  const shown = picture(after, "after");
  shown.addEventListener("load", () => {
    stage.style.setProperty("--ratio", shown.naturalWidth / shown.naturalHeight);
  });
  const line = create("div", "line");
  const labels = [create("span", "before-label", "before"), create("span", "after-label", "after")];
  stage.append(shown, picture(before, "before"), divider(stage), line, ...labels);
  return stage;
}

function pageButtons(pairs, open) {
  const bar = create("div", "pages");
  const buttons = pairs.map((_, index) => {
    const button = create("button", "", String(index + 1));
    button.type = "button";
    button.addEventListener("click", () => turn(index));
    return button;
  });
  const turn = (index) => {
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
    open(index);
  };
  bar.append(...buttons);
  turn(0);
  return bar;
}

// On the canvas it takes all of the node below it, and would lie over the result. Of nodes that are made of elements
// lightfusion.css hides it.
function dropLivePreview(node) {
  node.imgs = undefined;
  const preview = node.widgets?.find((widget) => widget.name === LIVE_PREVIEW);
  if (preview) node.removeWidget(preview);
}

function boxOf(node) {
  return node.widgets?.find((widget) => widget.name === NAME)?.element;
}

/** While the node works again, the host's picture of the present step stands in the last result's place. */
export function makeRoom(node) {
  boxOf(node)?.classList.add(AWAY);
}

/** The last result again, once nothing works any more. */
export function takeRoom(node) {
  const box = boxOf(node);
  if (!box) return;
  box.classList.remove(AWAY);
  dropLivePreview(node);
}

/** Nothing shows before there is a result; once there is, no picture of a step that arrives late. */
export function prepare(node) {
  const draw = node.onDrawBackground;
  node.onDrawBackground = function () {
    const box = boxOf(this);
    if (box && !box.classList.contains(AWAY)) dropLivePreview(this);
    draw?.apply(this, arguments);
  };
}

/** Show `output.lightfusion_before_after`, frame by frame. */
export function show(node, output) {
  const pairs = output[NAME];
  if (!pairs?.length) return;
  dropLivePreview(node); // before there is more to find room for
  const box = elementOf(node, NAME, () => create("div", "lightfusion-compare"), { height: 220, hideOnZoom: false });
  const frame = create("div", "frame");
  const bar = pageButtons(pairs, (index) => frame.replaceChildren(stageOf(pairs[index])));
  box.replaceChildren(frame, ...(pairs.length > 1 ? [bar] : []));
  takeRoom(node);
}
