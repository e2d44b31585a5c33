// A language model's playground: a text is run as it is typed; heads and edges are switched off; tokens are written.
import { button, el, number, percent, quoted, wordOf } from "./dom.js";
import { EdgeSwitches } from "./edges.js";
import { HeadSwitches } from "./head_switches.js";
import { liveLayers } from "./live.js";

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
    this.heads = new HeadSwitches(eye, about.heads, {
      request: () => this.request(),
      send: (more) => this.send(more),
      switched: () => this.switched(),
      says: (text, warning) => this.says(text, warning),
    });
    this.edges = new EdgeSwitches(eye, () => this.switched());
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
        ...this.heads.parts,
        title("Edges"),
        this.edges.element,
      ),
    ];
  }

  // --- what is sent ---

  request(more) {
    const text = this.offered.text === null ? null : this.box.value;
    return {
      text,
      chat: this.chat.checked,
      written: this.written,
      off: this.heads.pairs(),
      cut: this.edges.cut,
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

  send(more) {
    return this.eye.ask(NAME, this.request(more), { json: true, post: true });
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
        this.show(await this.send({ do: "run", turn: ++this.turn }));
      } catch (error) {
        this.says(error.message, true);
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
    this.edges.cut = [];
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
    this.heads.draw();
    this.edges.draw();
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
        class: "soft",
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
    return this.run();
  }

  async write(count) {
    this.stopped = false;
    for (let n = 0; n < count && !this.stopped && this.next !== null; n++) await this.append(this.next);
  }

  unwrite() {
    this.stopped = true;
    this.written = this.written.slice(0, -1);
    this.edges.cut = [];
    this.run();
  }

  /** Heads or edges were switched off or on. */
  switched() {
    this.stopped = true;
    this.run();
  }
}
