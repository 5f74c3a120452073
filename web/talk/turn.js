// One turn in the list: what was said, and what came of it.

import { isPending } from "./conversation.js";
import { element, iconButton } from "./element.js";
import { addressOf } from "./pictures.js";
import { text } from "./texts.js";

/** A picture as a small or a large image; without its file, a sentence. */
export function image(picture, alt, className = "") {
  const shown = element("img", { className, alt, src: addressOf(picture), title: picture.filename });
  shown.addEventListener("error", () => shown.replaceWith(text("missing", { name: picture.filename })), { once: true });
  return shown;
}

/** What a turn shows; `actions` has `cancel`, `use`, `goOn`, `again` and `place`, each called with the turn. */
export class TurnView {
  constructor(turn, actions) {
    this.turn = turn;
    const kind = element("span", { className: "kind" }, text(turn.kind));
    const given = turn.given.map((picture) => image(picture, text("given"), "small"));
    this.result = element("div", { className: "result" });
    const button = (icon, name) => iconButton(icon, text(name), () => actions[name](turn));
    this.buttons = Object.fromEntries(
      Object.entries({ cancel: "times", use: "image", again: "refresh", goOn: "reply", place: "sitemap" }).map(
        ([name, icon]) => [name, button(icon, name)],
      ),
    );
    const bar = { className: "bar", role: "group", "aria-label": text("turnActions", { number: turn.number }) };
    this.element = element(
      "li", { className: "turn" },
      element("div", { className: "said" }, kind, element("p", {}, turn.text), ...given),
      this.result,
      element("div", bar, ...Object.values(this.buttons)),
    );
    this.update(true);
  }

  /** Show the turn as it is now; `aside` is one that the conversation has left, `shown` what there is meanwhile. */
  update(active, shown = {}) {
    const { turn, buttons } = this;
    this.element.dataset.state = turn.state;
    this.element.classList.toggle("aside", !active);
    buttons.cancel.hidden = !isPending(turn);
    buttons.use.hidden = !turn.picture;
    buttons.again.hidden = isPending(turn) || turn.kind === "ask";
    buttons.goOn.hidden = isPending(turn);
    buttons.place.hidden = turn.state !== "done";
    if (isPending(turn)) this.#meanwhile(shown);
    else if (this.ended !== turn.state) this.result.replaceChildren(...this.#outcome());
  }

  #meanwhile({ value, max, preview, written }) {
    if (!this.meter) {
      this.meter = element("progress", { "aria-label": text("atWork") });
      this.words = element("span", { className: "state" });
      this.result.replaceChildren(this.words, this.meter);
    }
    this.words.textContent = text(this.turn.state);
    if (max) Object.assign(this.meter, { value, max });
    if (preview) this.#preview(preview);
    if (written) this.#written(written);
  }

  #preview(blob) {
    this.step ??= element("img", { className: "step", alt: "" });
    URL.revokeObjectURL(this.step.src);
    this.step.src = URL.createObjectURL(blob);
    this.result.append(this.step);
  }

  #written(written) {
    this.answer ??= element("p", { className: "answer" });
    this.answer.textContent = written;
    this.result.append(this.answer);
  }

  #outcome() {
    const { state, picture, answer, error, text: said } = this.turn;
    if (this.step) URL.revokeObjectURL(this.step.src);
    this.ended = state;
    if (state === "done" && picture) return [image(picture, said)];
    if (state === "done") return [element("p", { className: "answer" }, answer)];
    if (state === "failed") return [element("p", { className: "error" }, error ?? text("nothingCame"))];
    return [element("p", { className: "state" }, text("cancelled"))];
  }
}
