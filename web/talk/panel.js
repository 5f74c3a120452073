// The conversation's panel: settings, turns, and the line to type in.

import { app } from "../../../scripts/app.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { ForeignError, keep, kept, onKeptElsewhere, read, save } from "./document.js";
import { element, iconButton } from "./element.js";
import { putOnCanvas } from "./place.js";
import { planOf } from "./plan.js";
import { newSeed, Settings } from "./settings.js";
import { text } from "./texts.js";
import { TurnView } from "./turn.js";
import { Work } from "./work.js";

const NEAR = 400; // pixels from the list's end, within which it follows what is added: a picture and a row of buttons

/** The panel, once `open` has been waited for; `element` stays the same however often the tab is opened. */
export class Panel {
  constructor() {
    this.views = new Map();
    this.settings = new Settings(() => this.#keep());
    this.status = element("p", { className: "status", role: "status", "aria-live": "polite" });
    this.list = element("ol", { className: "turns", "aria-label": text("turns"), tabIndex: 0 });
    this.composer = new Composer((asked) => this.#send(asked), (said) => this.#say(said));
    this.work = new Work((turn, shown) => this.#changed(turn, shown));
    this.undo = iconButton("undo", text("undo"), () => this.#goTo(this.conversation.turn(this.conversation.head).parent));
    this.element = element(
      "section", { className: "lightfusion-talk", "aria-label": text("panel") },
      this.#bar(), this.settings.element, this.list, this.status, this.composer.element,
    );
    this.list.addEventListener("load", () => this.#follow(), true); // a picture takes its room once it is there
    for (const kind of ["dragover", "drop"]) this.element.addEventListener(kind, (event) => this.#drop(event));
    this.element.addEventListener("paste", (event) => this.composer.receive(event, event.clipboardData));
  }

  /** Show what was kept. */
  async open() {
    await this.settings.read();
    this.#showKept();
    onKeptElsewhere(() => {
      if (!this.conversation.pending().length) this.#showKept();
    });
  }

  #showKept() {
    const { conversation, settings } = kept();
    this.#show(conversation, settings);
  }

  #bar() {
    const pick = element("input", { type: "file", accept: "application/json,.json", hidden: true });
    pick.addEventListener("change", async () => {
      await this.#openFile(pick.files[0]);
      pick.value = "";
    });
    return element(
      "div", { className: "bar", role: "toolbar", "aria-label": text("conversation") },
      pick,
      this.undo,
      iconButton("sitemap", text("placeAll"), () => this.#place(this.conversation.path())),
      iconButton("download", text("save"), () => save(this.conversation, this.settings.values())),
      iconButton("folder-open", text("open"), () => pick.click()),
      iconButton("plus", text("fresh"), () => this.#begin()),
    );
  }

  #show(conversation, settings) {
    this.conversation = conversation;
    this.settings.set(settings);
    this.views.clear();
    this.list.replaceChildren(...conversation.turns.map((turn) => this.#view(turn)));
    this.work.follow(conversation.turns);
    this.#update();
  }

  #view(turn) {
    const view = new TurnView(turn, {
      cancel: () => this.work.cancel(turn),
      use: () => this.composer.give([{ ...turn.picture, turn: turn.number }]),
      goOn: () => this.#goTo(turn.number),
      again: () => this.#add({ ...repeated(turn), seed: newSeed() }),
      place: () => this.#place([turn]),
    });
    this.views.set(turn.number, view);
    return view.element;
  }

  #update() {
    const { conversation } = this;
    const path = new Set(conversation.path());
    for (const turn of conversation.turns) this.views.get(turn.number).update(path.has(turn));
    this.undo.disabled = !conversation.head;
    this.composer.show(conversation.lastPicture());
    this.#keep();
  }

  #keep() {
    if (!keep(this.conversation, this.settings.values())) this.#say(text("notKept"));
  }

  #say(said) {
    this.status.textContent = said;
  }

  // Whether a turn could begin.
  #send(asked) {
    const before = asked.kind === "ask" ? this.conversation.sofar() : {};
    return this.#add({ ...asked, ...before, ...this.settings.next() });
  }

  #add(asked) {
    if (this.conversation.pending().length) {
      this.#say(text("busy"));
      return false;
    }
    const turn = this.conversation.add(asked);
    this.list.append(this.#view(turn));
    this.#update();
    this.list.scrollTop = this.list.scrollHeight;
    this.#say(text("sent", { kind: text(turn.kind) }));
    this.work.begin(turn);
    return true;
  }

  #changed(turn, shown) {
    const view = this.views.get(turn.number);
    if (view?.turn !== turn) return; // another conversation was opened meanwhile
    if (shown) {
      view.update(true, shown);
      this.#follow();
      return;
    }
    this.#update();
    this.#follow();
    const said = { done: turn.answer ?? text("drawn"), failed: text("failed"), cancelled: text("cancelled") }[turn.state];
    if (said) this.#say(said);
  }

  #follow() {
    const { scrollHeight, scrollTop, clientHeight } = this.list;
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.list.scrollTop = scrollHeight;
  }

  #goTo(number) {
    this.conversation.goTo(number);
    this.#update();
    this.#say(number ? text("wentTo", { number, text: this.conversation.turn(number).text }) : text("wentToStart"));
  }

  #place(turns) {
    const whole = turns.filter((turn) => turn.state === "done");
    if (!whole.length) {
      this.#say(text("nothingToPlace"));
      return;
    }
    this.#say(text("placed", { count: putOnCanvas(planOf(whole)).length }));
  }

  async #openFile(file) {
    try {
      const { conversation, settings } = read(await file.text());
      if (await this.#mayLeave()) this.#leaveFor(conversation, settings);
    } catch (error) {
      if (!(error instanceof ForeignError)) throw error;
      this.#say(text(error.reason, { name: file.name }));
    }
  }

  async #begin() {
    if (!(await this.#mayLeave())) return;
    this.#leaveFor(new Conversation(), {});
    this.#say(text("begun"));
  }

  #leaveFor(conversation, settings) {
    this.composer.begin();
    this.#show(conversation, settings);
  }

  #mayLeave() {
    if (!this.conversation.turns.length) return true;
    return app.extensionManager.dialog.confirm({ title: text("panel"), message: text("mayLeave") });
  }

  #drop(event) {
    if (event.type === "dragover") event.preventDefault();
    else this.composer.receive(event, event.dataTransfer);
  }
}

// The same question again, in the place of the first.
function repeated({ parent, kind, text: said, given, settings }) {
  return { parent, kind, text: said, given, settings };
}
