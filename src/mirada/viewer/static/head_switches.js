// The heads of a model that runs: a switch each, and how much the first prediction depends on each.
import { scaleColour } from "./colour.js";
import { button, el, number } from "./dom.js";

const MEASURED = {
  importance: {
    words: "importance",
    unit: (value) => number(value, 3),
    says: "|gradient of the head's gate| for the first prediction's log-probability",
  },
  effect: {
    words: "effect of ablating",
    unit: (value) => `${number(value, 3)} nats`,
    says: "fall of the first prediction's log-probability when the head is ablated",
  },
};
/** What numbers of heads belong to: they hold for no other text. */
function textOf({ text, chat, written }) {
  return JSON.stringify([text, chat, written]);
}

export class HeadSwitches {
  /**
   * `counts`: how many heads each layer has. `request()` is what the model is run on, `send(more)` asks it more,
   * `switched()` hears of every click, `says(text, warning)` tells how far a measurement is.
   */
  constructor(eye, counts, { request, send, switched, says }) {
    this.eye = eye;
    this.counts = counts;
    this.request = request;
    this.send = send;
    this.switched = switched;
    this.says = says;
    this.off = new Set();
    this.found = null; // { name, text, values: layer → head }
    this.grid = el("div", {
      class: "switches",
      role: "group",
      aria: { label: "Heads, a row a layer: click switches one off or on" },
    });
    this.ranking = el("ol", { class: "ranking" });
    this.reset = button("All heads on", () => this.switchAll());
    this.parts = [
      el("p", { class: "soft", text: "Click a head to ablate it; a row's number, the whole layer." }),
      el(
        "div",
        { class: "group" },
        button("Importance", () => this.importance(), {
          title: "The gradient of each head's gate, by one backward pass",
        }),
        button("Measure each", () => this.effect(), {
          title: "Each head is ablated in turn: by how much does the log-probability of the first answer fall?",
        }),
      ),
      this.ranking,
      this.grid,
      el("div", { class: "group" }, this.reset),
    ];
    eye.state.on((changed) => changed.has("dark") && this.draw());
  }

  /** The heads that are off, as [layer, head]. */
  pairs() {
    return [...this.off].map((one) => one.split(".").map(Number));
  }

  /** What was measured, where it is of the text that stands there. */
  get measured() {
    return this.found?.text === textOf(this.request()) ? this.found : null;
  }

  // --- switching ---

  draw() {
    const values = this.measured?.values;
    const most = values ? Math.max(...values.flat().filter(Number.isFinite), 1e-12) : 1;
    const widest = Math.max(...this.counts);
    this.grid.style.setProperty("--heads", widest);
    this.grid.replaceChildren(
      ...this.counts.flatMap((count, layer) => {
        const name = this.nameOf(layer);
        const row = button(name.length > 4 ? String(layer) : name, () => this.switchLayer(layer), {
          class: "switch-layer",
          title: `Layer ${name}: switch all of it`,
        });
        const cells = Array.from({ length: count }, (_, head) => this.cell(layer, head, values?.[layer]?.[head], most));
        return [row, ...cells, ...Array.from({ length: widest - count }, () => el("span"))];
      }),
    );
    this.reset.disabled = this.off.size === 0;
    this.reset.textContent = this.off.size ? `All heads on (${this.off.size} off)` : "All heads on";
    this.rank();
  }

  cell(layer, head, value, most) {
    const on = !this.off.has(`${layer}.${head}`);
    const words = `${this.nameOf(layer)}.${head}${value === undefined ? "" : `, ${number(value, 3)}`}`;
    const cell = button("", () => this.switchHead(layer, head), {
      class: "switch",
      title: `Head ${words}`,
      aria: { label: `head ${words}`, pressed: String(on) },
      data: `${layer}.${head}`,
    });
    if (on && value !== undefined) cell.style.backgroundColor = scaleColour(Math.max(0, value) / most, this.eye.dark());
    return cell;
  }

  nameOf(layer) {
    return this.eye.layers[layer]?.about.name ?? String(layer);
  }

  switchHead(layer, head) {
    const name = `${layer}.${head}`;
    if (!this.off.delete(name)) this.off.add(name);
    this.eye.state.set({ layer, head });
    this.turned();
  }

  switchLayer(layer) {
    const names = Array.from({ length: this.counts[layer] }, (_, head) => `${layer}.${head}`);
    const all = names.every((name) => this.off.has(name));
    for (const name of names) all ? this.off.delete(name) : this.off.add(name);
    this.turned();
  }

  switchAll() {
    this.off.clear();
    this.turned();
  }

  turned() {
    this.draw();
    this.switched();
  }

  // --- measuring ---

  async importance() {
    const text = textOf(this.request());
    this.says("one backward pass …");
    try {
      const { values } = await this.send({ do: "importance" });
      this.found = { name: "importance", text, values };
      this.says("");
    } catch (error) {
      this.says(error.message, true);
    }
    this.draw();
  }

  /** One layer after the other, until all are measured, what the model is run on changes, or the page is left. */
  async effect() {
    const asked = JSON.stringify(this.request());
    const found = { name: "effect", text: textOf(this.request()), values: this.counts.map(() => []) };
    this.found = found;
    for (const layer of this.counts.keys()) {
      this.says(`measured ${layer} of ${this.counts.length} layers …`);
      try {
        found.values[layer] = (await this.send({ do: "effect", layer })).values;
      } catch (error) {
        this.says(error.message, true);
        return;
      }
      if (this.found !== found) return; // another measurement has begun
      this.draw();
      if (JSON.stringify(this.request()) !== asked || !this.grid.isConnected || document.hidden) {
        this.says("measuring was stopped");
        return;
      }
    }
    this.says("");
  }

  /** The heads with the largest numbers; the Heads view sorts by them, too. */
  rank() {
    const { measured } = this;
    const about = measured && { [measured.name]: { ...MEASURED[measured.name], values: measured.values } };
    if (about || this.eye.state.get("measured")) this.eye.state.set({ measured: about });
    const all = (measured?.values ?? []).flatMap((row, layer) => row.map((value, head) => ({ value, layer, head })));
    const best = all.sort((a, b) => b.value - a.value).slice(0, 8);
    this.ranking.hidden = best.length === 0;
    this.ranking.title = measured ? MEASURED[measured.name].says : "";
    this.ranking.replaceChildren(
      ...best.map(({ value, layer, head }) =>
        el(
          "li",
          {},
          button(`${this.nameOf(layer)}.${head}`, () => this.eye.state.set({ layer, head, view: "map" }), {
            title: "Show this head",
          }),
          el("span", { class: "figure", text: number(value, 2) }),
        ),
      ),
    );
  }
}
