// The frame around the views: which of them, which layer, which heads; the theme; saving pictures.
import { css, headColour, palette } from "./colour.js";
import { button, el } from "./dom.js";
import { compareView } from "./compare.js";
import { headsView } from "./heads.js";
import { imageView } from "./image.js";
import { mapView } from "./map.js";
import { playgroundText } from "./playground_text.js";
import { Measures } from "./measures.js";
import { printed, saveMenu } from "./menu.js";
import { precision } from "./precision.js";
import { groupOf, read, readingBar, readingOf, tokenOf } from "./reading.js";
import { shortNames } from "./names.js";
import { State, isolateHead, toggleHead } from "./state.js";
import { GONE } from "./live.js";
import { stepsView } from "./steps.js";
import { tokensView } from "./tokens.js";
import { tryView } from "./tryit.js";

const VIEWS = {
  heads: { title: "Heads", make: headsView, when: (about) => !isSingle(about) },
  compare: { title: "Compare", make: compareView, when: (about) => Boolean(about.compared) },
  map: { title: "Map", make: mapView },
  tokens: { title: "Tokens", make: tokensView },
  image: { title: "Image", make: imageView, when: (about) => Boolean(about.image) },
  steps: { title: "Steps", make: stepsView },
  tryit: {
    title: "Try it",
    make: tryView,
    when: (about) => Object.values(about.trials ?? {}).some(({ kind }) => kind !== "language"),
  },
};

const KEYS = [
  ["1 … 9", "a view"],
  ["[ and ]", "the layer before, the layer after"],
  [", and .", "the head before, the head after"],
  ["arrows", "within a view: from head to head, token to token, patch to patch"],
  ["+  −  0", "on the map: in, out, all of it"],
  ["Enter, Escape", "hold a token, let go"],
  ["t", "light or dark"],
  ["?", "this list"],
];

let frames = 0;

/** One head in all. */
function isSingle({ layers, compared }) {
  return (layers.length * layers[0].heads) / (compared ? 2 : 1) === 1;
}

/** The layers of two attentions that are compared; else all of them, once. */
function halves(layers, { compared }) {
  const half = layers.length / 2;
  return compared ? [layers.slice(0, half), layers.slice(half)] : [layers];
}

/** Puts a whole view into a shadow root. */
export function frame(root, about, layers, hints) {
  const eye = new Eye(root, about, layers, hints);
  return eye;
}

class Eye {
  constructor(root, about, layers, { dark, ask, alone = false }) {
    this.about = about;
    this.all = layers; // of both attentions, where two are compared
    this.layers = halves(layers, about)[0];
    this.ask = ask;
    this.alone = alone;
    this.id = `eye-${frames++}`;
    this.made = {};
    /** @type {Measures | null} */
    this.measured = null;
    /** @type {HTMLDialogElement | null} */
    this.dialog = null;
    this.base = { about, layers }; // with every token for itself, however they are read
    this.reading = readingOf("");
    const heads = new Set(Array.from({ length: layers[0].about.heads }, (_, n) => n));
    this.state = new State({
      view: isSingle(about) ? (about.compared ? "compare" : "map") : "heads",
      side: 0, // which of two that are compared
      layer: 0,
      head: 0,
      heads,
      query: 0,
      key: 0,
      reading: "",
      how: "mean", // of the heads and layers that are chosen: their mean or their largest weights
      together: false, // on the map: all that are chosen, or one head
      span: null, // the layers that are chosen, by number; null for the current one
      dark,
    });
    // On a page of its own the title is the page's; among other things it stands below their headings.
    this.heading = alone ? "h2" : "h4";
    this.names = [];
    this.status = el("p", { class: "status", role: "status" });
    this.stage = el("div", { class: "stage", role: "tabpanel", tabIndex: -1 });
    this.chips = el("div", {
      class: "chips",
      role: "group",
      aria: { label: "Heads: click switches one on or off, double click or shift leaves it alone" },
    });
    this.tabs = this.tabList();
    this.sideGroup = el("div", { class: "sides group", role: "group", aria: { label: "Which of two" } });
    this.chips.hidden = isSingle(about);
    this.frame = el(
      "section",
      { class: "frame", aria: { label: about.title } },
      this.header(),
      (this.readingBar = readingBar(this)),
      this.working(),
      this.footer(),
    );
    root.append(this.frame);
    // A page of its own hears its keys wherever the focus is.
    (alone ? document : this.frame).addEventListener("keydown", (event) => this.key(event));
    if (alone) printed(this);
    this.state.on((changed) => this.changed(changed));
    this.theme();
    this.offer();
    this.listLayers();
    this.drawChips();
    this.turn();
  }

  // --- what views ask ---

  /** The layers of both attentions that are compared. */
  sides() {
    return halves(this.all, this.about);
  }

  /** One number a head, of the layers that are shown. */
  measures() {
    if (this.measured?.layers !== this.layers) this.measured = new Measures(this);
    return this.measured;
  }

  /** Shows a head's map, or both of its maps. */
  open({ layer, head }) {
    this.state.set({ layer, head, view: this.about.compared ? "compare" : "map" });
  }

  words(list) {
    return this.about.words[list];
  }

  dark() {
    return this.state.get("dark");
  }

  /** The frame's colours for canvases, which know no style sheets. */
  ink() {
    return palette(this.dark());
  }

  say(text) {
    this.status.textContent = text;
    this.status.toggleAttribute("data-warning", true);
  }

  /** Whether the server or kernel could be reached: what is on the page is greyed while not. */
  reached(whether) {
    if (whether === !this.frame.hasAttribute("data-gone")) return;
    this.frame.toggleAttribute("data-gone", !whether);
    if (whether) this.status.textContent = "";
    else this.say(GONE);
  }

  // --- the frame ---

  header() {
    this.layerName = el("select", {
      class: "layer-name",
      aria: { label: "layer" },
      on: { change: () => this.toLayer(Number(this.layerName.value)) },
    });
    const layer = (this.layerGroup = el(
      "div",
      { class: "layer group" },
      button("‹", () => this.stepLayer(-1), { aria: { label: "layer before" } }),
      this.layerName,
      button("›", () => this.stepLayer(1), { aria: { label: "layer after" } }),
    ));
    const tools = el(
      "div",
      { class: "tools group" },
      saveMenu(this),
      (this.themeButton = button("◐", () => this.state.set({ dark: !this.dark() }), {
        aria: { label: "light or dark" },
        title: "Light or dark",
      })),
      button("?", () => this.help(), { aria: { label: "keys" }, title: "Keys" }),
    );
    return el(
      "header",
      { class: "head" },
      el(this.alone ? "h1" : "h3", { class: "title", text: this.about.title, title: this.about.title }),
      this.tabs,
      this.sideGroup,
      layer,
      this.chips,
      tools,
    );
  }

  tabList() {
    const list = el("div", { class: "tabs", role: "tablist", aria: { label: "Views" } });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const next = (this.names.indexOf(this.state.get("view")) + step + this.names.length) % this.names.length;
      this.state.set({ view: this.names[next] });
      list.children[next].focus();
    });
    return list;
  }

  /** Which views there are, and which of two attentions they show. */
  offer() {
    const { about, state } = this;
    this.names = Object.keys(VIEWS).filter((name) => VIEWS[name].when?.(about) ?? true);
    if (!this.names.includes(state.get("view"))) state.values.view = isSingle(about) ? "map" : "heads";
    const tabs = this.names.map((name) =>
      button(VIEWS[name].title, () => state.set({ view: name }), {
        role: "tab",
        data: name,
        id: `${this.id}-tab-${name}`,
      }),
    );
    this.tabs.replaceChildren(...tabs);
    const sides = (about.compared ?? []).map((name, side) =>
      button(name, () => state.set({ side }), { title: name, aria: { pressed: String(side === state.get("side")) } }),
    );
    this.sideGroup.replaceChildren(...sides);
    this.sideGroup.hidden = sides.length === 0;
  }

  /** Where the views are; beside them, the text box of a model that runs. */
  working() {
    if (!this.about.trials?.language) return this.stage;
    return el("div", { class: "work" }, playgroundText(this, this.about.trials.language), this.stage);
  }

  /** Another scene takes the place of what is shown: the same model on another text. */
  replace(about, layers) {
    this.base = { about: { ...about, trials: this.about.trials }, layers };
    this.read();
  }

  /** The scene with its tokens read as the state says; each side stays at the token where it is. */
  read() {
    const last = this.layers[this.state.get("layer")].about;
    const at = {
      query: tokenOf(last, "query", this.state.get("query")),
      key: tokenOf(last, "key", this.state.get("key")),
    };
    const focused = this.readingBar.contains(this.frame.getRootNode().activeElement);
    const { reading, about, layers } = read(this.base, readingOf(this.state.get("reading")));
    this.reading = reading;
    this.put(about, layers, at);
    const bar = readingBar(this);
    this.readingBar.replaceWith(bar);
    this.readingBar = bar;
    if (focused) bar.querySelector("select, input")?.focus();
  }

  put(about, layers, at) {
    const scroller = () => this.stage.querySelector(".heads-grid, .text-scroll, .steps-body");
    const top = scroller()?.scrollTop ?? 0;
    this.about = about;
    this.all = layers;
    const { values } = this.state;
    layers = this.sides()[about.compared ? values.side : 0];
    this.layers = layers;
    this.made = {};
    this.stale = {};
    this.current = null;
    this.offer();
    values.layer = Math.min(values.layer, layers.length - 1);
    const { about: layer } = layers[values.layer];
    const group = (side, count) => Math.min(groupOf(layer, side, at[side]), count - 1);
    Object.assign(values, { query: group("query", layer.queries), key: group("key", layer.keys) });
    this.listLayers();
    this.turn();
    this.drawChips();
    if (scroller()) scroller().scrollTop = top;
  }

  footer() {
    const notes = [...this.about.notes].join(" ");
    this.precision = el("p", { class: "precision" });
    return el("footer", { class: "foot" }, this.precision, notes ? el("p", { text: notes }) : null, this.status);
  }

  drawChips() {
    const { heads } = this.layers[this.state.get("layer")].about;
    if (this.chips.childElementCount !== heads) {
      this.chips.replaceChildren(...Array.from({ length: heads }, (_, head) => this.chip(head)));
    }
    [...this.chips.children].forEach((chip, head) => {
      const on = this.state.get("heads").has(head);
      chip.setAttribute("aria-pressed", String(on));
      chip.style.setProperty("--head", css(headColour(head, this.dark())));
      chip.toggleAttribute("data-current", head === this.state.get("head"));
    });
  }

  chip(head) {
    const isolate = () => isolateHead(this.state, head, this.layers[this.state.get("layer")].about.heads);
    return button(String(head), null, {
      class: "chip",
      aria: { label: `head ${head}`, pressed: "true" },
      on: { click: (event) => (event.shiftKey ? isolate() : this.touch(head)), dblclick: isolate },
    });
  }

  /** Where several heads are shown a click switches one on or off; where one head is shown, it chooses that head. */
  touch(head) {
    const view = this.state.get("view");
    if (["tokens", "image"].includes(view) || (view === "map" && this.state.get("together")))
      toggleHead(this.state, head);
    this.state.set({ head });
  }

  theme() {
    this.frame.dataset.theme = this.dark() ? "dark" : "light";
  }

  /** The layers to choose from. */
  listLayers() {
    this.short = shortNames(this.layers.map((layer) => layer.about.name));
    this.layerName.replaceChildren(
      ...this.layers.map(({ about }, n) => el("option", { value: n, text: this.short[n], title: about.name })),
    );
    this.layerGroup.hidden = this.layers.length === 1;
  }

  stepLayer(by) {
    this.toLayer((this.state.get("layer") + by + this.layers.length) % this.layers.length);
  }

  toLayer(layer) {
    const count = this.layers[layer].about.heads;
    const changes = { layer, head: Math.min(this.state.get("head"), count - 1) };
    const { queries, keys } = this.layers[layer].about;
    changes.query = Math.min(this.state.get("query"), queries - 1);
    changes.key = Math.min(this.state.get("key"), keys - 1);
    if (count !== this.layers[this.state.get("layer")].about.heads)
      changes.heads = new Set(Array.from({ length: count }, (_, n) => n));
    this.state.set(changes);
  }

  stepHead(by) {
    const { heads } = this.layers[this.state.get("layer")].about;
    this.state.set({ head: (this.state.get("head") + by + heads) % heads });
  }

  key(event) {
    if (
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      /INPUT|SELECT|TEXTAREA/.test(event.composedPath()[0].tagName ?? "")
    )
      return;
    const view = this.names[Number(event.key) - 1];
    if (view) this.state.set({ view });
    else if (event.key === "[") this.stepLayer(-1);
    else if (event.key === "]") this.stepLayer(1);
    else if (event.key === ",") this.stepHead(-1);
    else if (event.key === ".") this.stepHead(1);
    else if (event.key === "t") this.state.set({ dark: !this.dark() });
    else if (event.key === "?") this.help();
    else return;
    // A notebook has keys of its own.
    event.preventDefault();
    event.stopPropagation();
  }

  changed(changed) {
    if (changed.has("dark")) this.theme();
    if (changed.has("reading") || changed.has("side")) this.read();
    if ((changed.has("layer") || changed.has("view")) && !this.frame.hasAttribute("data-gone"))
      this.status.textContent = "";
    if (["layer", "heads", "head", "dark"].some((name) => changed.has(name))) this.drawChips();
    if (changed.has("view") || changed.has("layer")) this.turn();
    const { stale, current } = this;
    for (const name of Object.keys(this.made)) {
      // A view that isn't seen hears of changes when it is seen again.
      if (name !== current) for (const one of changed) (stale[name] ??= new Set()).add(one);
    }
    this.made[current]?.update(changed);
  }

  /** Shows the chosen view; it is made when it is first asked for. */
  turn() {
    const name = this.state.get("view");
    this.stale ??= {};
    this.describe();
    if (this.current === name) return;
    this.current = name;
    const isNew = !this.made[name];
    this.made[name] ??= VIEWS[name].make(this);
    const focused = this.stage.contains(this.frame.getRootNode().activeElement);
    this.stage.replaceChildren(this.made[name].element);
    if (focused) this.stage.focus({ preventScroll: true }); // what had the focus is gone
    this.stage.setAttribute("aria-labelledby", `${this.id}-tab-${name}`);
    this.names.forEach((one, n) => {
      const tab = this.tabs.children[n];
      tab.setAttribute("aria-selected", String(one === name));
      tab.tabIndex = one === name ? 0 : -1;
    });
    if (!isNew && this.stale[name]) this.made[name].update(this.stale[name]);
    delete this.stale[name];
    this.made[name].shown?.();
  }

  describe() {
    const layer = this.layers[this.state.get("layer")].about;
    this.layerName.value = String(this.state.get("layer"));
    this.layerName.title = layer.name;
    this.precision.textContent = precision(layer.tokens ?? layer);
  }

  help() {
    this.dialog ??= /** @type {HTMLDialogElement} */ (
      this.frame.appendChild(
        el(
          "dialog",
          { class: "help", aria: { label: "Keys" } },
          el(this.heading, { text: "Keys" }),
          el("dl", {}, ...KEYS.flatMap(([key, says]) => [el("dt", { text: key }), el("dd", { text: says })])),
          button("Close", () => this.dialog.close()),
        ),
      )
    );
    this.dialog.showModal();
  }
}
