// Several heads in one: the mean or the largest of their weights, over the heads and layers that are chosen.
import { el } from "./dom.js";
import { Table, cellEdges } from "./matrix.js";
import { TILE } from "./source.js";
import { activeHeads } from "./state.js";

/** The layers over the same tokens as the current one, as [number in the list, layer]. */
export function alike(eye) {
  const { query_words: asking, key_words: asked } = eye.layers[eye.state.get("layer")].about;
  return [...eye.layers.entries()].filter(([, { about }]) => about.query_words === asking && about.key_words === asked);
}

/** The layers that are chosen, as numbers in the list: the current one, or those that were picked. */
export function chosenLayers(eye) {
  const picked = eye.state.get("span");
  const there = alike(eye).map(([n]) => n);
  const found = picked ? there.filter((n) => picked.includes(n)) : [];
  return found.length ? found : [eye.state.get("layer")];
}

/** The chosen heads that a layer has. */
export function headsOf(eye, layer) {
  return activeHeads(eye.state).filter((head) => head < eye.layers[layer].about.heads);
}

/** The heads and layers that are chosen, as one head. */
export function chosenHead(eye) {
  const pairs = chosenLayers(eye).flatMap((n) => headsOf(eye, n).map((head) => [eye.layers[n], head]));
  return mixedHead(pairs.length ? pairs : [[eye.layers[eye.state.get("layer")], 0]], eye.state.get("how"));
}

/** What is chosen, in words. */
export function chosenInWords(eye) {
  const numbers = chosenLayers(eye);
  const count = numbers.reduce((sum, n) => sum + headsOf(eye, n).length, 0);
  const how = eye.state.get("how") === "max" ? "largest" : "mean";
  const heads = count === 1 ? `head ${headsOf(eye, numbers[0])[0]}` : `${how} of ${count} heads`;
  return numbers.length > 1 ? `${heads} in ${numbers.length} layers` : heads;
}

/** `pairs` are [layer, head]. */
export function mixedHead(pairs, how) {
  if (pairs.length === 1) return pairs[0][0].head(pairs[0][1]);
  const [first] = pairs[0];
  return first.mixed ? first.mixed(pairs, how) : new MixedHead(pairs, how);
}

class MixedHead {
  constructor(pairs, how) {
    this.layer = { number: "mixed" };
    this.index = `${how}:${pairs.map(([layer, head]) => `${layer.number}.${head}`)}`;
    this.heads = pairs.map(([layer, head]) => layer.head(head));
    this.how = how;
    this.about = pairs[0][0].about;
    this.hasVectors = false;
    const { queries, keys, kind } = this.about;
    this.small = kind !== "cells" && queries * keys <= PROTOCOL.WHOLE;
    this.made = null;
  }

  /** All weights; formed head by head, the page stays awake. */
  whole() {
    this.made ??= this.form();
    return this.made;
  }

  async form() {
    const { queries, keys } = this.about;
    const weights = new Float32Array(queries * keys);
    for (const [n, head] of this.heads.entries()) {
      const table = await head.whole();
      this.add(weights, table.weights, n);
      await new Promise((resume) => setTimeout(resume));
    }
    return new Table(weights, queries, keys);
  }

  /** Puts the `n`th of the heads to those before: −0, as of a pair that a mask hides, stays where all have it. */
  add(into, part, n) {
    const share = 1 / this.heads.length;
    for (let at = 0; at < into.length; at++) {
      const own = this.how === "mean" ? part[at] * share : part[at];
      into[at] = n === 0 ? own : this.how === "mean" ? into[at] + own : Math.max(into[at], own);
    }
  }

  async all(ask) {
    const parts = await Promise.all(this.heads.map(ask));
    if (parts.includes(null)) return null;
    const into = new Float32Array(parts[0].length);
    parts.forEach((part, n) => this.add(into, part, n));
    return into;
  }

  row(i) {
    return this.all((head) => head.row(i));
  }

  column(j) {
    return this.all((head) => head.column(j));
  }

  async entry(i, j) {
    const one = await this.all(async (head) => {
      const weight = await head.entry(i, j);
      return weight === null ? null : [weight];
    });
    return one ? one[0] : null;
  }

  async tile(cell, r, c) {
    const { queries, keys } = this.about;
    const rows = cellEdges(r * TILE * cell, Math.min((r + 1) * TILE * cell, queries), cell);
    const columns = cellEdges(c * TILE * cell, Math.min((c + 1) * TILE * cell, keys), cell);
    const shape = { rows: rows.length - 1, columns: columns.length - 1 };
    if (this.small) return { ...shape, values: (await this.whole()).cells(rows, columns) };
    // The largest of sums is not the sum of the largest: from afar only a mean can be told.
    if (this.how === "max" && cell > 1) return null;
    const values = await this.all(async (head) => (await head.tile(cell, r, c))?.values ?? null);
    return values && { ...shape, values };
  }

  /** Of the largest weights there are none: their rows are no distributions. */
  async edges() {
    return this.small && this.how === "mean" ? (await this.whole()).edges() : null;
  }

  async parts() {
    return null;
  }
}

/** Chooses the layers that are one with the current one. */
export function layerPicker(eye) {
  const summary = el("summary");
  const list = el("div", { class: "picker-list" });
  const picker = el("details", { class: "picker" }, summary, list);
  const tell = () => {
    const there = alike(eye);
    const chosen = chosenLayers(eye);
    picker.hidden = there.length < 2;
    summary.textContent =
      chosen.length === 1 ? "Layers: this one" : `Layers: ${chosen.length === there.length ? "all" : chosen.length}`;
    const pick = (span) => eye.state.set({ span });
    const box = ([n]) => {
      const input = el("input", { type: "checkbox", checked: chosen.includes(n) });
      input.addEventListener("change", () => {
        const next = new Set(chosen);
        if (!next.delete(n)) next.add(n);
        pick([...next].sort((a, b) => a - b));
      });
      return el("label", {}, input, eye.short[n]);
    };
    const focused = list.contains(list.getRootNode().activeElement);
    const at = focused ? [...list.querySelectorAll("button, input")].indexOf(list.getRootNode().activeElement) : -1;
    list.replaceChildren(
      el(
        "span",
        { class: "group" },
        el("button", { type: "button", text: "All", on: { click: () => pick(there.map(([n]) => n)) } }),
        el("button", { type: "button", text: "This one", on: { click: () => pick(null) } }),
      ),
      ...there.map(box),
    );
    if (at >= 0) list.querySelectorAll("button, input")[at]?.focus();
  };
  picker.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !picker.open) return;
    picker.open = false;
    summary.focus();
    event.stopPropagation();
  });
  tell();
  return { element: picker, tell };
}
