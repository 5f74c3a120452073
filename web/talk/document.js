// Conversations as JSON: kept by the browser for each server, and as files that a person saves and opens.

import { api } from "../../../scripts/api.js";
import { Conversation, KINDS } from "./conversation.js";

const FORMAT = "lightfusion panel conversation";
const VERSION = 1;
const STATES = ["waiting", "running", "done", "failed", "cancelled"];

/** JSON that holds no conversation of this panel; `reason` is the key of a text that says so. */
export class ForeignError extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** The names of pictures go into it, not the pictures. */
export function write(conversation, settings) {
  const { turns, head } = conversation;
  return JSON.stringify({ format: FORMAT, version: VERSION, head, settings, turns }, null, 1);
}

/** The conversation and the settings of what `write` wrote; throws `ForeignError` for all else. */
export function read(written) {
  let found;
  try {
    found = JSON.parse(written);
  } catch (error) {
    if (error instanceof SyntaxError) throw new ForeignError("notJson");
    throw error;
  }
  if (found?.format !== FORMAT) throw new ForeignError("otherJson");
  if (found.version !== VERSION) throw new ForeignError("otherVersion");
  const { turns, head, settings } = found;
  const whole = Array.isArray(turns) && turns.every(isTurn) && isBefore(head, turns.length + 1) && isSettings(settings);
  if (!whole) throw new ForeignError("damaged");
  return { conversation: new Conversation(turns, head), settings };
}

const isText = (value) => typeof value === "string";
const isTextOrNull = (value) => value === null || isText(value);
const isBefore = (value, end) => Number.isSafeInteger(value) && value >= 0 && value < end;

function isPicture(value) {
  const named = isText(value?.filename) && value.filename !== "" && isText(value.subfolder);
  return named && ["input", "output", "temp"].includes(value.type);
}

function isSettings(value) {
  const plain = (one) => ["string", "number", "boolean"].includes(typeof one);
  return typeof value === "object" && value !== null && Object.values(value).every(plain);
}

function isTurn(turn, index) {
  if (typeof turn !== "object" || turn === null) return false;
  const made = turn.picture === null || isPicture(turn.picture);
  const given = Array.isArray(turn.given) && turn.given.every(isPicture);
  const stands = turn.number === index + 1 && isBefore(turn.parent, turn.number);
  const told = isText(turn.text) && [turn.prompt, turn.answer, turn.error].every(isTextOrNull);
  const { said = null, history = null, earlier = [] } = turn;
  const goesOn = [said, history].every(isTextOrNull) && Array.isArray(earlier) && earlier.every(isPicture);
  const known = KINDS.includes(turn.kind) && STATES.includes(turn.state);
  return made && given && stands && told && goesOn && known && Number.isSafeInteger(turn.seed) && isSettings(turn.settings);
}

const KEY = `lightfusion.talk:${api.apiURL("")}`;

/** Keep it in the browser; false where that is switched off or full. */
export function keep(conversation, settings) {
  try {
    localStorage.setItem(KEY, write(conversation, settings));
  } catch (error) {
    if (error instanceof DOMException) return false;
    throw error;
  }
  return true;
}

/** What was kept; an empty conversation if there is none, or none that can be read. */
export function kept() {
  const fresh = { conversation: new Conversation(), settings: {} };
  try {
    return read(localStorage.getItem(KEY) ?? "");
  } catch (error) {
    if (error instanceof ForeignError || error instanceof DOMException) return fresh;
    throw error;
  }
}

/** Call `changed` when another tab of the browser has kept something else. */
export function onKeptElsewhere(changed) {
  addEventListener("storage", ({ key }) => {
    if (key === KEY) changed();
  });
}

/** Give it to the person as a file. */
export function save(conversation, settings) {
  const address = URL.createObjectURL(new Blob([write(conversation, settings)], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = "lightfusion-conversation.json";
  link.click();
  URL.revokeObjectURL(address);
}
