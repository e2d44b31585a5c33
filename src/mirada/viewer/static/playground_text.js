// A language model's playground: a text is run as it is typed; heads and edges are switched off; tokens are written.
import { scaleColour } from "./colour.js";
import { button, el, number, percent, quoted, wordOf } from "./dom.js";
import { liveLayers } from "./live.js";
import { tokensOf } from "./reading.js";

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
const PAUSE = 60; // ms after the last key
const NAME = "language";
let tabs = 0;

export function playgroundText(eye, about) {
  return new Playground(eye, about).element;
}

class Playground {
  constructor(eye, about) {
    this.eye = eye;
    this.offered = about;
    this.written = about.written;
    this.pieces = [];
    this.off = new Set();
    this.cut = [];
    this.values = null;
    this.turn = 0;
    this.busy = false;
    this.tab = `${Date.now()}-${tabs++}`;
    this.element = el("aside", { class: "playground", aria: { label: "Playground" } }, ...this.parts());
    this.says("");
    this.kept = about.beside;
    this.nameKept();
    this.tell(about.first);
  }

  parts() {
    const { text, chat, generates } = this.offered;
    const title = (words) => el(this.eye.heading, { text: words });
    this.box = el("textarea", {
      class: "prompt",
      rows: 3,
      spellcheck: false,
      value: text ?? "",
      hidden: text === null,
      aria: { label: "Text" },
      on: { input: () => this.typed() },
    });
    this.chat = el("input", { type: "checkbox", checked: this.offered.chatting, on: { change: () => this.typed() } });
    this.story = el("p", { class: "story", dir: "auto" });
    this.temperature = el("input", {
      type: "range",
      min: -1,
      max: 1,
      step: 0.05,
      value: 0,
      on: { input: () => this.changed() },
    });
    this.top = el("input", { type: "number", min: 1, max: 100, value: 6, on: { change: () => this.changed() } });
    this.heat = el("span", { class: "figure", text: "1.0" });
    this.status = el("p", { class: "status soft", role: "status" });
    this.answers = el("div", { class: "answers" });
    this.grid = el("div", {
      class: "switches",
      role: "group",
      aria: { label: "Heads, a row a layer: click switches one off or on" },
    });
    this.effects = el(
      "div",
      { class: "group" },
      button("Importance", () => this.importance(), {
        title: "The gradient of each head's gate, by one backward pass",
      }),
      (this.measure = button("Measure each", () => this.effect(), {
        title: "Each head is ablated in turn: by how much does the log-probability of the first answer fall?",
      })),
    );
    this.ranking = el("ol", { class: "ranking" });
    this.edges = el("div", { class: "edges" });
    const writes = generates
      ? el(
          "div",
          { class: "group" },
          button("Write a token", () => this.write(1)),
          button("Write 10", () => this.write(10)),
          (this.undo = button("Undo", () => this.unwrite())),
        )
      : null;
    const settings = el(
      "div",
      { class: "settings" },
      el("label", { class: "choice" }, el("span", { text: "temperature" }), this.temperature, this.heat),
      el("label", { class: "choice" }, el("span", { text: "top" }), this.top),
      chat ? el("label", { class: "choice" }, this.chat, el("span", { text: "chat" })) : null,
    );
    this.compare =
      text === null
        ? null
        : button("Compare", () => this.keep(), {
            title: "Keep this text: maps and probabilities of the next one are shown beside its own",
          });
    this.reset = button("All heads on", () => this.switchAll());
    return [
      el(
        "section",
        {},
        this.box,
        this.story,
        writes,
        this.compare && el("div", { class: "group" }, this.compare),
        settings,
        this.status,
        this.answers,
      ),
      el(
        "section",
        { class: "playground-rest", tabIndex: 0, aria: { label: "Heads and edges" } },
        title("Heads"),
        el("p", { class: "soft", text: "Click a head to ablate it; a row's number, the whole layer." }),
        this.effects,
        this.ranking,
        this.grid,
        el("div", { class: "group" }, this.reset),
        title("Edges"),
        this.edges,
      ),
    ];
  }

  // --- what is sent ---

  request(more) {
    const off = [...this.off].map((one) => one.split(".").map(Number));
    const text = this.offered.text === null ? null : this.box.value;
    return {
      text,
      chat: this.chat.checked,
      written: this.written,
      off,
      cut: this.cut,
      temperature: this.warmth(),
      top: Number(this.top.value) || 6,
      tab: this.tab,
      beside: this.kept ?? null,
      ...more,
    };
  }

  warmth() {
    return Math.round(100 * 10 ** Number(this.temperature.value)) / 100;
  }

  send(given) {
    return this.eye.ask(NAME, given, { json: true, post: true });
  }

  /** Runs the model; of what is typed meanwhile only the last is run. */
  async run() {
    this.wanted = true;
    if (this.busy) return;
    this.busy = true;
    this.element.toggleAttribute("data-busy", true);
    while (this.wanted) {
      this.wanted = false;
      try {
        this.show(await this.send(this.request({ do: "run", turn: ++this.turn })));
      } catch (error) {
        this.says(error instanceof TypeError ? "The server has ended: run mirada look again." : error.message, true);
        this.answers.toggleAttribute("data-stale", true);
      }
    }
    this.busy = false;
    this.element.toggleAttribute("data-busy", false);
  }

  /** Keeps this text for comparison, or lets the kept one go. */
  keep() {
    const { text, chat, written } = this.request();
    this.kept = this.kept ? null : { text, chat, written };
    this.nameKept();
    this.run();
  }

  nameKept() {
    if (this.compare)
      this.compare.textContent = this.kept ? `Compared with ${quoted(this.kept.text, 12)} ×` : "Compare";
  }

  typed() {
    this.written = [];
    this.pieces = [];
    this.cut = [];
    this.values = null;
    this.changed();
  }

  changed() {
    this.heat.textContent = number(this.warmth(), this.warmth() < 1 ? 2 : 1);
    clearTimeout(this.waiting);
    this.stopped = true;
    this.waiting = setTimeout(() => this.run(), PAUSE);
  }

  // --- what comes back ---

  show(found) {
    const { about, version, says } = found;
    this.says(says);
    // Of two that are compared, the later one is what the other views go on showing.
    if (about.compared && !this.eye.about.compared) this.eye.state.values.side = 1;
    this.answers.toggleAttribute("data-stale", false);
    this.eye.replace(about, liveLayers(about, this.asking(version)));
    this.tell(found);
  }

  /** What is predicted, and what was written. */
  tell({ predictions, written, next }) {
    this.predictions = predictions;
    this.pieces = written;
    this.next = next;
    this.draw();
  }

  /** Asks for numbers of one scene; once another has taken its place, nothing of it is answered any more. */
  asking(version) {
    this.gone?.abort();
    const { signal } = (this.gone = new AbortController());
    const never = new Promise(() => {});
    return async (question, given, options) => {
      try {
        return signal.aborted
          ? await never
          : await this.eye.ask(question, { ...given, version }, { ...options, signal });
      } catch (error) {
        if (signal.aborted) return never;
        throw error;
      }
    };
  }

  draw() {
    this.story.replaceChildren(...this.pieces.map((piece) => el("span", { text: piece })));
    this.story.hidden = this.pieces.length === 0;
    if (this.undo) this.undo.disabled = this.written.length === 0;
    const nothing = this.offered.mask
      ? `Write ${this.offered.mask} where a token is to be predicted.`
      : "This model predicts nothing by itself.";
    const rows = this.predictions.flatMap((one) => this.prediction(one));
    this.answers.replaceChildren(...(rows.length ? rows : [el("p", { class: "soft", text: nothing })]));
    this.drawGrid();
    this.drawEdges();
  }

  prediction({ what, labels, ids, probabilities, before }) {
    const can = what === "next token" && this.offered.generates;
    const rows = labels.map((label, n) => {
      const fill = el("span", { class: "fill" });
      fill.style.width = `${100 * probabilities[n]}%`;
      const ghost = before ? el("span", { class: "ghost" }) : null;
      if (ghost) ghost.style.width = `${100 * before[n]}%`;
      const figures = before ? `${percent(before[n])} → ${percent(probabilities[n])}` : percent(probabilities[n]);
      const inside = [
        el("bdi", { class: "answer-word", text: wordOf(label, 24) }),
        el("span", { class: "track" }, ghost, fill),
        el("span", { class: "figure", text: figures }),
      ];
      return el(
        can ? "button" : "div",
        {
          class: "answer",
          type: can ? "button" : undefined,
          title: can ? `Write ${quoted(label)}` : label,
          on: can ? { click: () => this.append(ids[n]) } : {},
        },
        ...inside,
      );
    });
    return [
      el("p", {
        class: "soft answers-title",
        text: before
          ? `${what}: ${this.kept ? `${quoted(this.kept.text, 12)} → this text` : "before → with what is switched off"}`
          : what,
      }),
      ...rows,
    ];
  }

  says(text, warning = false) {
    this.status.textContent = text;
    this.status.toggleAttribute("data-warning", warning);
    this.status.hidden = !text;
  }

  // --- writing ---

  append(id) {
    this.written = [...this.written, id];
    this.values = null;
    return this.run();
  }

  async write(count) {
    this.stopped = false;
    for (let n = 0; n < count && !this.stopped && this.next !== null; n++) await this.append(this.next);
  }

  unwrite() {
    this.stopped = true;
    this.written = this.written.slice(0, -1);
    this.cut = [];
    this.run();
  }

  // --- heads ---

  drawGrid() {
    const { heads } = this.offered;
    const most = this.values ? Math.max(...this.values.flat().filter(Number.isFinite), 1e-12) : 1;
    this.grid.style.setProperty("--heads", Math.max(...heads));
    const dark = this.eye.dark();
    this.grid.replaceChildren(
      ...heads.flatMap((count, layer) => {
        const name = this.eye.layers[layer]?.about.name ?? String(layer);
        const row = button(name.length > 4 ? String(layer) : name, () => this.switchLayer(layer), {
          class: "switch-layer",
          title: `Layer ${name}: switch all of it`,
        });
        const cells = Array.from({ length: count }, (_, head) => {
          const on = !this.off.has(`${layer}.${head}`);
          const value = this.values?.[layer]?.[head];
          const told = value === undefined ? "" : `, ${number(value, 3)}`;
          const cell = button("", () => this.switchHead(layer, head), {
            class: "switch",
            title: `Head ${name}.${head}${told}`,
            aria: { label: `head ${name}.${head}${told}`, pressed: String(on) },
            data: `${layer}.${head}`,
          });
          if (on && value !== undefined) cell.style.backgroundColor = scaleColour(Math.max(0, value) / most, dark);
          return cell;
        });
        return [row, ...cells, ...Array.from({ length: Math.max(...heads) - count }, () => el("span"))];
      }),
    );
    this.reset.disabled = this.off.size === 0;
    this.reset.textContent = this.off.size ? `All heads on (${this.off.size} off)` : "All heads on";
    this.rank();
  }

  switchHead(layer, head) {
    const name = `${layer}.${head}`;
    if (!this.off.delete(name)) this.off.add(name);
    this.eye.state.set({ layer, head });
    this.switched();
  }

  switchLayer(layer) {
    const names = Array.from({ length: this.offered.heads[layer] }, (_, head) => `${layer}.${head}`);
    const all = names.every((name) => this.off.has(name));
    for (const name of names) all ? this.off.delete(name) : this.off.add(name);
    this.switched();
  }

  switchAll() {
    this.off.clear();
    this.switched();
  }

  switched() {
    this.stopped = true;
    this.drawGrid();
    this.run();
  }

  async importance() {
    this.says("one backward pass …");
    try {
      const { values } = await this.send(this.request({ do: "importance" }));
      this.values = values;
      this.told = "importance";
      this.says("");
    } catch (error) {
      this.says(error.message, true);
    }
    this.drawGrid();
  }

  /** One layer after the other, until all are measured, the text changes or the page is left. */
  async effect() {
    const { heads } = this.offered;
    this.values = heads.map(() => []);
    this.told = "effect";
    this.stopped = false;
    for (
      let layer = 0;
      layer < heads.length && !this.stopped && this.element.isConnected && !document.hidden;
      layer++
    ) {
      this.says(`measured ${layer} of ${heads.length} layers …`);
      try {
        this.values[layer] = (await this.send(this.request({ do: "effect", layer }))).values;
      } catch (error) {
        this.says(error.message, true);
        return;
      }
      this.drawGrid();
    }
    this.says(this.stopped ? "measuring was stopped" : "");
  }

  rank() {
    // The Heads view sorts by what has been measured.
    const measured = this.values ? { [this.told]: { ...MEASURED[this.told], values: this.values } } : null;
    if (measured || this.eye.state.get("measured")) this.eye.state.set({ measured });
    const all = (this.values ?? []).flatMap((row, layer) => row.map((value, head) => ({ value, layer, head })));
    const best = all.sort((a, b) => b.value - a.value).slice(0, 8);
    this.ranking.hidden = best.length === 0;
    this.ranking.title = MEASURED[this.told]?.says ?? "";
    this.ranking.replaceChildren(
      ...best.map(({ value, layer, head }) => {
        const name = `${this.eye.layers[layer]?.about.name ?? layer}.${head}`;
        return el(
          "li",
          {},
          button(name, () => this.eye.state.set({ layer, head, view: "map" }), { title: "Show this head" }),
          el("span", { class: "figure", text: number(value, 2) }),
        );
      }),
    );
  }

  // --- edges ---

  drawEdges() {
    const layer = this.eye.layers[this.eye.state.get("layer")]?.about;
    const words = (list) => this.eye.base.about.words[(layer.tokens ?? layer)[list]];
    const pair = ([query, key]) =>
      `${quoted(words("query_words")[query] ?? "", 16)} → ${quoted(words("key_words")[key] ?? "", 16)}`;
    const here = (side) => tokensOf(layer, side, this.eye.state.get(side));
    /** @returns {[number, number][]} of words: the edges of all their tokens */
    const now = () => here("query").flatMap((query) => here("key").map((key) => [query, key]));
    const add = button(
      "",
      () => {
        this.cut = [...this.cut, ...now()];
        this.run();
      },
      { class: "cut-now" },
    );
    const tell = () => {
      add.textContent = now()
        .map((edge, n) => `${n ? ", " : "Knock out "}${pair(edge)}`)
        .join("");
    };
    tell();
    this.unhear?.();
    this.unhear = this.eye.state.on((changed) => (changed.has("query") || changed.has("key")) && tell());
    const gone = this.cut.map((edge, n) =>
      button(
        `${pair(edge)} ×`,
        () => {
          this.cut = this.cut.filter((_, at) => at !== n);
          this.run();
        },
        { class: "cut-edge", title: "Put this edge back" },
      ),
    );
    this.edges.replaceChildren(
      el("p", { class: "soft", text: "Choose a query and a key in Map or Tokens; the edge is cut in all layers." }),
      add,
      ...gone,
    );
  }
}
