// Two attentions beside each other, and what changed between them: three maps that move as one.
import { DifferenceLayer } from "./difference.js";
import { button, choice, el, number, percent, quoted } from "./dom.js";
import { MapView } from "./map.js";
import { isHidden } from "./matrix.js";
import { drawLegend } from "./sheet.js";

const MARGIN = { left: 84, top: 76, right: 14, bottom: 12 };

export function compareView(eye) {
  return new CompareView(eye);
}

class CompareView {
  constructor(eye) {
    this.eye = eye;
    this.asked = null;
    const [first, second] = eye.sides();
    const changes = first.map((layer, n) => new DifferenceLayer(layer, second[n]));
    const [before, after] = eye.about.compared;
    const change = `${after} − ${before}`;
    this.names = [before, after, change.length > 32 ? "second − first" : change];
    this.maps = [first, second, changes].map((layers, n) => this.map(layers, this.names[n]));
    this.readout = el("p", { class: "readout", role: "status" });
    const [one, , third] = this.maps;
    const panels = this.maps.map((map, n) =>
      el(
        "div",
        { class: "compared" },
        el(eye.heading, { class: "caption", dir: "auto", text: this.names[n] }),
        map.stage,
      ),
    );
    this.element = el(
      "div",
      { class: "view compare" },
      el("div", { class: "bar" }, ...this.tools(), one.legend, third.legend),
      el("div", { class: "panels" }, ...panels),
      this.readout,
    );
    this.tell();
  }

  map(layers, name) {
    const map = new MapView(this.eye, {
      layers: () => layers,
      margin: MARGIN,
      alone: false,
      painted: (moved) => this.together(moved),
    });
    map.canvas.setAttribute("aria-label", `Map of ${name}: rows are queries, columns are keys`);
    return map;
  }

  tools() {
    const modes = [
      ["linear", "linear"],
      ["log", "logarithmic"],
    ];
    const zoom = (factor) => () => this.maps[0].zoom(factor);
    return [
      choice("Colour", modes, this.maps[0].mode, (mode) => {
        for (const map of this.maps) map.setMode(mode);
      }),
      el(
        "span",
        { class: "group" },
        button("−", zoom(0.5), { aria: { label: "zoom out" } }),
        button("+", zoom(2), { aria: { label: "zoom in" } }),
        button("Fit", () => this.maps[0].fit(), { aria: { label: "Fit: show the whole map" } }),
      ),
    ];
  }

  /** Where one map has moved to, the others follow; both attentions have one scale of colours. */
  together(moved) {
    for (const map of this.maps) {
      if (map.at === moved.at) continue;
      map.at = moved.at;
      map.fitted = moved.fitted;
      map.draw();
    }
    const pair = this.maps.slice(0, 2);
    const largest = Math.max(...pair.map((map) => map.largest ?? 0));
    if (largest === 0) return;
    for (const map of pair) {
      if (map.largest === null || map.largest === largest) continue;
      map.largest = largest;
      drawLegend(map);
      map.draw();
    }
    drawLegend(pair[0]);
  }

  update(changed) {
    for (const map of this.maps) map.update(changed);
    if (["layer", "head", "query", "key"].some((name) => changed.has(name))) this.tell();
  }

  shown() {
    for (const map of this.maps) map.shown();
  }

  /** What stands under the cross-hair in both, and how it changed. */
  async tell() {
    const { state } = this.eye;
    const [i, j] = [state.get("query"), state.get("key")];
    const [before, after] = this.maps;
    const word = (side, at) => {
      const words = [before, after].map((map) => quoted(map[side][at] ?? ""));
      return words[0] === words[1] ? words[0] : words.join(" / ");
    };
    const where = `query ${i} ${word("queryWords", i)} → key ${j} ${word("keyWords", j)}`;
    this.readout.textContent = `${where}: …`;
    delete this.readout.dataset.weights;
    const asked = {};
    this.asked = asked;
    try {
      const weights = await Promise.all([before, after].map((map) => map.head.entry(i, j)));
      if (this.asked !== asked) return;
      const known = weights.every((weight) => weight !== null);
      this.readout.textContent = known
        ? `${where}: ${weights.map((weight, n) => `${this.names[n]} ${inWords(weight)}`).join(", ")}, change ${signed(weights[1] - weights[0])}`
        : `${where}: this page's detail ends at ${before.head.about.cell} tokens a cell`;
      if (known) this.readout.dataset.weights = weights.join(" ");
    } catch (error) {
      if (error.name !== "AbortError" && this.asked === asked) this.readout.textContent = `${where}: ${error.message}`;
    }
  }
}

function inWords(weight) {
  return isHidden(weight) ? "hidden by the mask" : `${number(weight, 6)} (${percent(weight)})`;
}

function signed(value) {
  return value > 0 ? `+${number(value, 6)}` : number(value, 6);
}
