// The line to type in, the choice of what a turn is to be, and the pictures that go with it.

import { KINDS } from "./conversation.js";
import { element, iconButton } from "./element.js";
import { MOST_PICTURES } from "./plan.js";
import { maybePictures, NoPictureError, picturesOf, selectedPictures, upload } from "./pictures.js";
import { text } from "./texts.js";
import { image } from "./turn.js";

/** The form; `send({kind, text, given})` is called with each turn, `say(text)` with what a person should know. */
export class Composer {
  constructor(send, say) {
    this.send = send;
    this.say = say;
    this.given = [];
    this.last = null;
    this.chosen = false;
    this.kinds = KINDS.map((value) => element("input", { type: "radio", name: "lightfusion-talk-kind", value }));
    this.pictures = element("div", { className: "given", role: "group", "aria-label": text("pictures") });
    this.line = element("textarea", { rows: 3, "aria-label": text("line"), keydown: (event) => this.#key(event) });
    const pick = element("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
    pick.addEventListener("change", async () => {
      await this.#take(() => Promise.all([...pick.files].map(upload)));
      pick.value = "";
    });
    this.element = element(
      "form", { className: "composer", submit: (event) => this.#submit(event) },
      element(
        "div", { className: "kinds", role: "radiogroup", "aria-label": text("kind") },
        ...this.kinds.map((radio) => element("label", {}, radio, element("span", {}, text(radio.value)))),
      ),
      this.pictures,
      this.line,
      element(
        "div", { className: "bar" },
        pick,
        iconButton("paperclip", text("pick"), () => pick.click()),
        iconButton("clone", text("fromGraph"), () => this.#fromGraph()),
        element("button", { type: "submit", className: "send" }, text("send")),
      ),
    );
    for (const radio of this.kinds) radio.addEventListener("change", () => this.#choose(true));
    this.show(null);
  }

  get kind() {
    return this.kinds.find((radio) => radio.checked).value;
  }

  /** The conversation's last picture has changed: it is what is edited or asked about unless others are given. */
  show(last) {
    this.last = last;
    if (!this.chosen) this.#pick(last || this.given.length ? "edit" : "draw");
    this.#render();
  }

  /** Begin anew: nothing typed, given or chosen. */
  begin() {
    this.#clear("");
  }

  /** Add pictures to the next turn. */
  give(pictures) {
    const all = [...this.given, ...pictures];
    this.given = all.slice(0, MOST_PICTURES);
    if (all.length > MOST_PICTURES) this.say(text("tooMany", { most: MOST_PICTURES }));
    this.show(this.last);
    this.line.focus();
  }

  /** Take what was dropped or pasted, if it can be pictures; whether it was taken. */
  receive(event, transfer) {
    if (!maybePictures(transfer)) return false;
    event.preventDefault();
    event.stopPropagation(); // the editor would open it as a workflow, or make a node of it
    this.#take(() => picturesOf(transfer));
    return true;
  }

  async #take(read) {
    try {
      this.give(await read());
    } catch (error) {
      if (!(error instanceof NoPictureError)) throw error;
      this.say(text("noPicture", { name: error.message }));
    }
  }

  #fromGraph() {
    const found = selectedPictures();
    if (found.length) this.give(found);
    else this.say(text("noneSelected"));
  }

  #pick(kind) {
    this.kinds.find((radio) => radio.value === kind).checked = true;
  }

  #choose(chosen) {
    this.chosen = chosen;
    this.#render();
  }

  #render() {
    this.line.placeholder = text(`${this.kind}Line`);
    const own = this.given.map((picture, index) => {
      const remove = iconButton("times", text("remove", { name: picture.filename }), () => {
        this.given.splice(index, 1);
        this.show(this.last);
        this.line.focus();
      });
      return element("span", { className: "picture" }, image(picture, picture.filename, "small"), remove);
    });
    const last = this.last && !own.length && this.kind !== "draw" ? [image(this.last, text("lastPicture"), "small")] : [];
    const hint = last.length ? [element("span", { className: "hint" }, text("lastPicture"))] : [];
    this.pictures.replaceChildren(...own, ...last, ...hint);
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.element.requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    const { kind } = this;
    const said = this.line.value.trim();
    const last = this.last && kind !== "draw" ? [this.last] : [];
    const given = this.given.length ? this.given : last;
    if (!said) this.say(text("emptyLine"));
    else if (kind === "edit" && !given.length) this.say(text("nothingToEdit"));
    else if (this.send({ kind, text: said, given })) this.#clear(kind);
  }

  #clear(kind) {
    this.line.value = "";
    this.given = [];
    this.chosen = kind === "ask"; // questions come in a row, the rest follows from whether there is a picture
    this.show(this.last);
  }
}
