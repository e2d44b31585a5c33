// The numbers of a live view come from the server or the kernel, by `ask(question, parameters)`.
import { floats } from "./codec.js";
import { cellEdges } from "./matrix.js";
import { Kept, TILE } from "./source.js";

export const GONE =
  "The server has ended: what is greyed may be old. Run it again, and open the address that it prints.";

/** @typedef {{ json?: boolean, signal?: AbortSignal, post?: boolean }} Options */

/**
 * Asks a server; `reached(whether)` hears of each request. Answers are bytes (an ArrayBuffer) or, for `json`, an object.
 *
 * @param {(whether: boolean) => void} reached
 */
export function overHttp(address, reached = (_whether) => {}) {
  return async (question, parameters, /** @type {Options} */ { json = false, signal, post = false } = {}) => {
    const url = new URL(question, address);
    const sent = post
      ? { method: "POST", body: JSON.stringify(parameters), headers: { "Content-Type": "application/json" } }
      : {};
    if (!post) for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    const answer = await fetch(url, { ...sent, signal }).catch((error) => {
      if (error.name === "AbortError") throw error;
      reached(false);
      throw new Error(GONE);
    });
    reached(true);
    if (!answer.ok) throw new Error((await answer.text()) || `the server answered ${answer.status}`);
    return json ? answer.json() : answer.arrayBuffer();
  };
}

/** Asks a notebook's kernel through its widget. */
export function overWidget(model) {
  const waiting = new Map();
  let count = 0;
  const hear = (message, buffers) => {
    const answer = waiting.get(message?.answer);
    if (!answer) return;
    waiting.delete(message.answer);
    if (message.error) answer.reject(new Error(message.error));
    else answer.resolve(bufferOf(buffers[0]));
  };
  model.on("msg:custom", hear);
  const askBytes = (question, parameters, signal) =>
    new Promise((resolve, reject) => {
      const id = `${Date.now()}-${count++}`;
      waiting.set(id, { resolve, reject });
      signal?.addEventListener("abort", () => waiting.delete(id) && reject(new DOMException("given up", "AbortError")));
      model.send({ id, question, parameters });
    });
  const ask = async (question, parameters, /** @type {Options} */ { json = false, signal } = {}) => {
    const answer = await askBytes(question, parameters, signal);
    return json ? JSON.parse(new TextDecoder().decode(answer)) : answer;
  };
  return { ask, stop: () => model.off("msg:custom", hear) };
}

function bufferOf(view) {
  return view.buffer ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : view;
}

export function liveLayers(about, ask) {
  const answers = new Kept(600);
  return about.layers.map((layer, number) => new LiveLayer(layer, number, ask, answers));
}

class LiveLayer {
  constructor(about, number, ask, answers) {
    this.about = about;
    this.number = number;
    this.send = ask;
    this.answers = answers;
    this.heads = Array.from({ length: about.heads }, (_, head) => new LiveHead(this, head));
  }

  head(index) {
    return this.heads[index];
  }

  /** The same layer, its tokens read in another way; its answers are kept apart. */
  regrouped(about, reading, answers) {
    const send = (question, asked, how) => this.send(question, { ...asked, reading }, how);
    return new LiveLayer(about, this.number, send, answers);
  }

  /** Numbers; an answer is kept, a failure is not. */
  ask(question, parameters) {
    const asked = { layer: this.number, ...parameters };
    const key = JSON.stringify([question, asked]);
    return this.answers.get(key, () => {
      const answer = this.send(question, asked).then((buffer) => floats(new Uint8Array(buffer)));
      answer.catch(() => this.answers.map.delete(key));
      return answer;
    });
  }

  /** Heads of this and other layers, [layer, head], asked as one. */
  mixed(pairs, how) {
    const numbers = (values) => [...new Set(values)].sort((a, b) => a - b).join(",");
    const layers = numbers(pairs.map(([layer]) => layer.number));
    const heads = numbers(pairs.map(([, head]) => head));
    return new MixedHead(this, `${how}:${layers}:${heads}`, { how, layers, heads });
  }

  async overview() {
    const numbers = await this.ask("overview", {});
    const heads = this.about.heads;
    const names = PROTOCOL.MEASURES;
    const measures = Object.fromEntries(names.map((name, n) => [name, numbers.slice(n * heads, (n + 1) * heads)]));
    return { measures, thumbs: numbers.subarray(names.length * heads) };
  }

  measure(name) {
    return this.ask("measure", { name });
  }

  /** How much of each token reaches a query through all layers: one question, whatever layer is asked. */
  rollout(query) {
    return this.ask("rollout", { query });
  }
}

class LiveHead {
  constructor(layer, index) {
    this.layer = layer;
    this.index = index;
    this.about = layer.about;
    this.exact = true;
    this.hasVectors = Boolean(layer.about.query_width);
  }

  ask(question, parameters) {
    return this.layer.ask(question, { head: this.index, ...parameters });
  }

  row(i) {
    return this.ask("row", { query: i });
  }

  column(j) {
    return this.ask("column", { key: j });
  }

  async entry(i, j) {
    return (await this.ask("entry", { query: i, key: j }))[0];
  }

  async edges() {
    const both = await this.ask("edges", {});
    return { entropy: both.subarray(0, this.about.queries), received: both.subarray(this.about.queries) };
  }

  async tile(cell, r, c) {
    const count = (at, size) => cellEdges(at * TILE * cell, Math.min((at + 1) * TILE * cell, size), cell).length - 1;
    const shape = { rows: count(r, this.about.queries), columns: count(c, this.about.keys) };
    return { ...shape, values: await this.ask("tile", { cell, row: r, column: c }) };
  }

  async parts(i, first, after) {
    if (!this.hasVectors) return null;
    const { query_width: width, value_width: valueWidth } = this.about;
    const numbers = await this.ask("parts", { query: i, first, after });
    let at = 0;
    const take = (size) => numbers.subarray(at, (at += size));
    const rows = (size) => Array.from({ length: after - first }, () => take(size));
    const read = {
      query: () => take(width),
      keys: () => rows(width),
      added: () => Array.from(take(after - first)),
      values: () => (valueWidth ? rows(valueWidth) : null),
      context: () => (valueWidth ? take(valueWidth) : null),
    };
    return Object.fromEntries(PROTOCOL.PARTS.map((name) => [name, read[name]()]));
  }
}

/** All heads with certain numbers in certain layers, as one. */
class MixedHead extends LiveHead {
  constructor(layer, index, asked) {
    super(layer, index);
    this.asked = asked;
    this.hasVectors = false;
  }

  /** Of the largest weights there are none: their rows are no distributions. */
  async edges() {
    return this.asked.how === "mean" ? super.edges() : null;
  }

  ask(question, parameters) {
    return this.layer.ask(question, { ...this.asked, ...parameters });
  }
}
