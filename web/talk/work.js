// Turns on the host's queue: ordinary prompts, followed by what the host says of them.

import { api } from "../../../scripts/api.js";
import { isPending } from "./conversation.js";
import { isOfTurn, promptOf } from "./place.js";
import { planOf } from "./plan.js";

const ENDS = ["execution_success", "execution_error", "execution_interrupted"];
const LOOKS = 50; // the host tells of an end before its history has it
const PAUSE = 100; // milliseconds

const json = async (path) => (await api.fetchApi(path)).json();

/** Queues turns and follows them; `tell(turn, shown)` is called at every change, with what there is to see meanwhile. */
export class Work {
  constructor(tell) {
    this.tell = tell;
    this.turns = [];
    api.addEventListener("execution_start", ({ detail }) => this.#of(detail, (turn) => this.#runs(turn)));
    api.addEventListener("progress", ({ detail }) => this.#of(detail, (turn) => this.#progress(turn, detail)));
    api.addEventListener("b_preview_with_metadata", ({ detail }) => {
      this.#of({ prompt_id: detail.promptId }, (turn) => this.tell(turn, { preview: detail.blob }));
    });
    api.addEventListener("lightfusion.text", ({ detail }) => {
      const turn = this.turns.find((one) => one.state === "running");
      if (turn && isOfTurn(detail.node)) this.tell(turn, { written: detail.text });
    });
    for (const end of ENDS) api.addEventListener(end, ({ detail }) => this.#of(detail, (turn) => this.#look(turn, LOOKS)));
    // what was taken out of the queue ends without a word
    for (const change of ["status", "reconnected"]) api.addEventListener(change, () => this.lookAtAll());
  }

  /** Follow the turns of a conversation, and no others any more; those that never got to the host are cancelled. */
  follow(turns) {
    this.turns = turns;
    for (const turn of turns) if (isPending(turn) && !turn.prompt) turn.state = "cancelled";
    this.lookAtAll();
  }

  lookAtAll() {
    for (const turn of this.turns.filter((one) => isPending(one) && one.prompt)) this.#look(turn, 1);
  }

  /** Queue a turn; one that the host refuses has failed. */
  async begin(turn) {
    try {
      const { output, workflow } = await promptOf(planOf([turn]));
      turn.prompt = (await api.queuePrompt(0, { output, workflow })).prompt_id;
    } catch (error) {
      this.#end(turn, { state: "failed", error: refusal(error) });
      return;
    }
    this.tell(turn);
    await this.#look(turn, 1); // it may have ended before its number was here
  }

  /** Take a turn out of the queue, or stop it. */
  async cancel(turn) {
    await api.deleteItem("queue", turn.prompt);
    await api.interrupt(turn.prompt);
    await this.#look(turn, 1);
  }

  #of({ prompt_id: prompt }, act) {
    const turn = this.turns.find((one) => isPending(one) && one.prompt === prompt);
    if (turn) act(turn);
  }

  #runs(turn) {
    turn.state = "running";
    this.tell(turn);
  }

  #progress(turn, { value, max }) {
    turn.state = "running";
    this.tell(turn, { value, max });
  }

  async #look(turn, looks) {
    for (let look = 0; look < looks && isPending(turn); look += 1) {
      if (look) await new Promise((done) => setTimeout(done, PAUSE));
      const { queue_running: running, queue_pending: waiting } = await json("/queue");
      const { [turn.prompt]: entry } = await json(`/history/${turn.prompt}`);
      if (!isPending(turn)) return; // another look has seen its end
      if (entry) this.#end(turn, outcome(entry));
      else if (running.some((item) => item[1] === turn.prompt)) this.#runs(turn);
      else if (!waiting.some((item) => item[1] === turn.prompt)) this.#end(turn, { state: "cancelled" });
    }
  }

  #end(turn, changes) {
    Object.assign(turn, changes);
    this.tell(turn);
  }
}

// What the host's history says of a prompt.
function outcome({ outputs, status }) {
  const told = Object.fromEntries(status?.messages ?? []);
  if (told.execution_interrupted) return { state: "cancelled" };
  if (told.execution_error) return { state: "failed", error: told.execution_error.exception_message.trim() };
  const made = Object.values(outputs);
  const image = made.flatMap((output) => output.images ?? []).find(({ type }) => type === "output");
  const answer = made.flatMap((output) => output.text ?? [])[0] ?? null;
  if (!image && answer === null) return { state: "failed", error: null };
  const picture = image ? { filename: image.filename, subfolder: image.subfolder, type: image.type } : null;
  const history = made.flatMap((output) => output.lightfusion_history ?? [])[0] ?? null;
  return { state: "done", picture, answer, history };
}

// Why the host refused a prompt, or could not be asked.
function refusal(error) {
  const nodes = Object.values(error.response?.node_errors ?? {});
  const reasons = nodes.flatMap((node) => node.errors.map(({ message, details }) => `${message}: ${details}`));
  return reasons[0] ?? error.response?.error?.message ?? error.message;
}
