// A conversation: turns, each after another one, and where it stands. Nothing is ever taken out.

export const KINDS = ["draw", "edit", "ask"];

/** A turn that the host has not ended yet. */
export function isPending(turn) {
  return turn.state === "waiting" || turn.state === "running";
}

/**
 * A turn is `{number, parent, kind, text, given, settings, seed, state, prompt, picture, answer, error}`: its number
 * from 1 on, the turn that it follows (0 for none), the pictures that it was given, what it was drawn with, how it ended
 * ("waiting", "running", "done", "failed" or "cancelled"), the host's number for it, and what came of it. A picture is
 * `{filename, subfolder, type}`, as the host has it, with `turn` if a turn made it. A question also has what was `said`
 * before it and the `earlier` pictures which that is about, and the `history` that its answer came with, from a model
 * that goes on from one; files from before have none of these.
 */
export class Conversation {
  constructor(turns = [], head = 0) {
    this.turns = turns;
    this.head = head;
  }

  turn(number) {
    return this.turns[number - 1];
  }

  /** The turns that led to one, the oldest first. */
  path(number = this.head) {
    const found = [];
    for (let turn = this.turn(number); turn; turn = this.turn(turn.parent)) found.unshift(turn);
    return found;
  }

  /** A new turn, after the one where the conversation stands unless it names its parent. */
  add(asked) {
    const fresh = { parent: this.head, state: "waiting", prompt: null, picture: null, answer: null, error: null };
    const turn = { ...fresh, ...asked, number: this.turns.length + 1 };
    this.turns.push(turn);
    this.head = turn.number;
    return turn;
  }

  goTo(number) {
    this.head = number;
  }

  pending() {
    return this.turns.filter(isPending);
  }

  /** What a question goes on from: `{said, earlier}`, with the questions and answers so far and their pictures. */
  sofar() {
    const before = this.path().reverse().find(({ history }) => history);
    return before ? { said: before.history, earlier: [...before.given, ...(before.earlier ?? [])] } : {};
  }

  /** The picture that the talk is about: drawn last, or given last; null before there is one. */
  lastPicture() {
    for (const turn of this.path().reverse()) {
      if (turn.picture) return { ...turn.picture, turn: turn.number };
      if (turn.kind !== "draw" && turn.given.length) return turn.given[0];
    }
    return null;
  }
}
