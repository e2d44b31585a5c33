// View 4: the picture with its patches. A patch shows what it attends to.
import { NOT_FINITE, css, scaleWords } from "./colour.js";
import { choice, clamp, el, number, percent } from "./dom.js";
import { hatching } from "./hatch.js";
import { isHidden } from "./matrix.js";
import { activeHeads } from "./state.js";

const WAYS = [
  ["head", "one head"],
  ["mean", "mean of the heads that are on"],
  ["rollout", "rollout from the output, through all layers"],
];
const ROLLED = 1024; // tokens up to which rollout is computed here

export function imageView(eye) {
  return new ImageView(eye);
}

class ImageView {
  constructor(eye) {
    this.eye = eye;
    this.means = new Map();
    const single = eye.layers.length * eye.layers[0].about.heads === 1;
    this.way = single ? "head" : "mean";
    this.ways = choice("Show", WAYS, this.way, (way) => {
      this.way = way;
      this.look();
    });
    this.ways.hidden = single;
    const { uri, size } = eye.about.image;
    this.plate = el(
      "div",
      {
        class: "plate",
        tabIndex: 0,
        role: "application",
        aria: { label: "Image: arrow keys go from patch to patch", roledescription: "image of patches" },
      },
      el("img", { src: uri, alt: "the model's input image", draggable: false }),
      (this.overlay = el("canvas", { aria: { hidden: "true" } })),
    );
    this.plate.style.aspectRatio = `${size[1]} / ${size[0]}`;
    this.small = el("div", { class: "smalls" });
    this.words = el("p", { class: "readout", role: "status" });
    this.before = el("span", { class: "group" });
    this.element = el(
      "div",
      { class: "view image" },
      el(
        "div",
        { class: "bar" },
        this.ways,
        this.before,
        el("span", { class: "soft", text: "Point at a patch; click holds it." }),
      ),
      el("div", { class: "split" }, el("div", { class: "plate-room" }, this.plate), this.small),
      this.words,
    );
    this.listen();
    this.arrange();
  }

  get layer() {
    return this.eye.layers[this.eye.state.get("layer")];
  }

  /** Whether queries and keys are the same tokens. */
  get square() {
    return this.layer.about.query_words === this.layer.about.key_words;
  }

  /** Layers whose tokens are the image's patches. */
  fits(layer) {
    return this.eye.about.image.first !== null && layer.about.keys === this.eye.layers[0].about.keys;
  }

  arrange() {
    const { grid, first } = this.eye.about.image;
    const asking = this.square ? 0 : this.layer.about.queries;
    const names = this.eye.words(this.layer.about.query_words);
    const outside = asking
      ? names.map((_, n) => n)
      : names.map((_, n) => n).filter((n) => n < first || n >= first + grid[0] * grid[1]);
    this.before.replaceChildren(
      ...outside
        .slice(0, 40)
        .map((n) => el("button", { type: "button", text: named(names, n), on: { click: () => this.point(n) } })),
    );
    this.small.hidden = this.layer.about.heads === 1;
    this.small.replaceChildren(...Array.from({ length: this.layer.about.heads }, (_, head) => this.smallOf(head)));
    this.look();
  }

  smallOf(head) {
    const canvas = el("canvas");
    const choose = () => this.eye.state.set({ head });
    return el(
      "button",
      { type: "button", class: "small", aria: { label: `head ${head}` }, on: { click: choose } },
      el(
        "span",
        { class: "small-plate" },
        el("img", { src: this.eye.about.image.uri, alt: "", draggable: false }),
        canvas,
      ),
      el("span", { class: "soft", text: `${head}` }),
    );
  }

  listen() {
    const at = (event) => {
      const { grid, first } = this.eye.about.image;
      const box = this.plate.getBoundingClientRect();
      const row = clamp(Math.floor(((event.clientY - box.top) / box.height) * grid[0]), 0, grid[0] - 1);
      const column = clamp(Math.floor(((event.clientX - box.left) / box.width) * grid[1]), 0, grid[1] - 1);
      return first + row * grid[1] + column;
    };
    this.plate.addEventListener("pointermove", (event) => this.held || this.point(at(event)));
    this.plate.addEventListener("click", (event) => {
      // A click on another patch moves the hold, as in Tokens; on the same patch it lets go.
      const place = at(event);
      this.hold(!this.held || place !== this.query());
      this.point(place);
    });
    this.plate.addEventListener("keydown", (event) => {
      const { grid, first } = this.eye.about.image;
      if (event.key === "Enter" || event.key === " " || event.key === "Escape") {
        this.hold(event.key !== "Escape" && !this.held);
        event.preventDefault();
        return event.stopPropagation();
      }
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: grid[1], ArrowUp: -grid[1] }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      this.point(clamp(this.query() + step, first, first + grid[0] * grid[1] - 1));
    });
  }

  hold(whether) {
    this.held = whether;
    this.plate.toggleAttribute("data-held", whether);
  }

  query() {
    return clamp(this.eye.state.get("query"), 0, this.layer.about.queries - 1);
  }

  point(query) {
    if (!this.square && query >= this.layer.about.queries) return;
    this.eye.state.set({ query });
  }

  async look() {
    const order = (this.order = {});
    const query = this.query();
    const layer = this.layer;
    if (!this.fits(layer)) {
      this.clear(
        this.eye.about.image.first === null
          ? "Some of the image's patches are merged or left out: read all tokens, each for itself, to show them."
          : `${layer.about.name} has ${layer.about.keys} keys, which are not this image's patches.`,
      );
      this.small.replaceChildren();
      return;
    }
    const waiting = setTimeout(() => this.order === order && this.clear("Computing …"), 150);
    try {
      const rows = await Promise.all(
        Array.from({ length: layer.about.heads }, (_, head) => layer.head(head).row(query)),
      );
      const main =
        this.way === "rollout"
          ? await this.rollout(query)
          : this.way === "head"
            ? rows[this.eye.state.get("head")]
            : mean(activeHeads(this.eye.state).map((head) => rows[head]));
      if (this.order !== order) return;
      if (!main || rows.includes(null)) return this.without();
      this.paint(this.overlay, main, query);
      // One scale for all heads, so that they can be compared.
      const largest = Math.max(...rows.map((row) => reach(this.ofPatches(row))[1]));
      [...this.small.children].forEach((small, head) => {
        this.paint(small.querySelector("canvas"), rows[head], query, [0, largest]);
        small.toggleAttribute("data-current", head === this.eye.state.get("head"));
      });
      this.tell(query, main, largest);
    } catch (error) {
      if (this.order === order) this.clear(error.message);
      this.eye.say(error.message);
    } finally {
      clearTimeout(waiting);
    }
  }

  /** Nothing over the picture: what stood there belonged to another question. */
  clear(words) {
    for (const canvas of [this.overlay, ...this.small.querySelectorAll("canvas")])
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    this.words.textContent = words;
  }

  without() {
    this.clear("");
    this.words.textContent =
      this.way === "rollout"
        ? "Rollout needs every layer's single weights, over the same tokens, up to 1,024 of them."
        : "This page carries no single weights for this layer.";
  }

  /** Attention rollout of one query (Abnar & Zuidema 2020): through the mean of each layer's heads, half of it residual. */
  async rollout(query) {
    const { layers } = this.eye;
    if (layers[0].rollout) return layers[0].rollout(query);
    const { keys } = this.layer.about;
    if (
      keys > ROLLED ||
      layers.some(({ about }) => about.queries !== keys || about.keys !== keys || about.kind === "cells")
    )
      return null;
    let mass = new Float64Array(keys);
    mass[query] = 1;
    for (const layer of layers.toReversed()) {
      const rows = await this.meanOf(layer);
      const next = new Float64Array(keys);
      for (let i = 0; i < keys; i++) {
        if (mass[i] === 0) continue;
        next[i] += mass[i] / 2;
        for (let j = 0; j < keys; j++) next[j] += (mass[i] * rows[i][j]) / 2;
      }
      mass = next;
    }
    return Float32Array.from(mass);
  }

  meanOf(layer) {
    if (!this.means.has(layer)) {
      const rows = this.meanRows(layer);
      rows.catch(() => this.means.delete(layer)); // a failure is not kept
      this.means.set(layer, rows);
    }
    return this.means.get(layer);
  }

  async meanRows(layer) {
    const { heads, queries } = layer.about;
    const every = Array.from({ length: heads }, (_, head) => layer.head(head));
    if (every[0].whole) await Promise.all(every.map((head) => head.whole()));
    return Promise.all(
      Array.from({ length: queries }, async (_, i) => mean(await Promise.all(every.map((head) => head.row(i))))),
    );
  }

  ofPatches(weights) {
    const { grid, first } = this.eye.about.image;
    return weights.subarray(first, first + grid[0] * grid[1]);
  }

  /** Lays the weights over the picture, by default from the least to the largest of them. */
  paint(canvas, weights, query, [least, most] = reach(this.ofPatches(weights))) {
    const { grid, first } = this.eye.about.image;
    const dot = canvas === this.overlay ? 48 : 8;
    Object.assign(canvas, { width: grid[1] * dot, height: grid[0] * dot });
    const context = canvas.getContext("2d");
    const scale = scaleWords(true);
    for (let n = 0; n < grid[0] * grid[1]; n++) {
      const word = scale[Math.round(255 * clamp((weights[first + n] - least) / (most - least), 0, 1))];
      context.fillStyle = isHidden(weights[first + n])
        ? hatching(context, true)
        : !Number.isFinite(weights[first + n])
          ? css(NOT_FINITE)
          : `rgb(${word & 255} ${(word >> 8) & 255} ${(word >> 16) & 255} / 0.72)`;
      context.fillRect((n % grid[1]) * dot, Math.floor(n / grid[1]) * dot, dot, dot);
    }
    const place = query - first;
    if (!this.square || place < 0 || place >= grid[0] * grid[1]) return;
    context.strokeStyle = this.eye.ink().warm;
    context.lineWidth = canvas === this.overlay ? 3 : 1;
    context.strokeRect((place % grid[1]) * dot + 1, Math.floor(place / grid[1]) * dot + 1, dot - 2, dot - 2);
  }

  tell(query, weights, largest) {
    const words = this.eye.words(this.layer.about.key_words);
    const order = Array.from(weights.keys())
      .sort((a, b) => weights[b] - weights[a])
      .slice(0, 3);
    const { grid, first } = this.eye.about.image;
    const place = (n) =>
      n < first || n >= first + grid[0] * grid[1]
        ? named(words, n)
        : `row ${Math.floor((n - first) / grid[1]) + 1}, column ${((n - first) % grid[1]) + 1}`;
    const from = this.square ? place(query) : this.eye.words(this.layer.about.query_words)[query];
    const [least, most] = reach(this.ofPatches(weights));
    const small = this.small.hidden ? "" : ` Small pictures: from 0 to ${number(largest, 4)}.`;
    this.words.textContent = `${from} attends most to ${order.map((n) => `${place(n)} (${percent(weights[n])})`).join("; ")}. Colours run from ${number(least, 4)} to ${number(most, 4)}.${small}`;
  }

  update(changed) {
    if (changed.has("layer")) this.arrange();
    else if (changed.has("head") || changed.has("heads") || changed.has("query") || changed.has("dark")) this.look();
  }
}

/** A token's word; "token 3" where it has none of its own. */
function named(words, n) {
  return words[n] === String(n) ? `token ${n}` : words[n];
}

/** The least and the largest weight, so that they differ: heads that attend almost evenly still show what they prefer. */
function reach(weights) {
  const finite = weights.filter(Number.isFinite);
  const [least, most] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
  return most > least ? [least, most] : [0, most || 1];
}

function mean(rows) {
  const sum = new Float32Array(rows[0].length).fill(-0);
  for (const row of rows) for (let n = 0; n < sum.length; n++) sum[n] += row[n] / rows.length;
  return sum;
}
