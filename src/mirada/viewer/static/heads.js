// View 1: all heads of all layers, as small maps or as a table of one number each.
import { NOT_FINITE_WORD, scaleWords } from "./colour.js";
import { button, choice, clamp, el, framed } from "./dom.js";
import { HeatTable } from "./heat.js";
import { isHidden } from "./matrix.js";

/** The share of the colour scale for `weight`, seen as multiples of an even share; see the map's legend. */
export function logShare(weight, even, keys) {
  if (!(weight > 0)) return 0;
  return clamp(Math.log(weight / even / 0.25) / Math.log(4 * Math.max(keys, 2)), 0, 1);
}

export function headsView(eye) {
  return new HeadsView(eye);
}

const ORDERS = [
  ["place", "layer and head"],
  ["highest", "highest first"],
  ["lowest", "lowest first"],
];

class HeadsView {
  constructor(eye) {
    this.eye = eye;
    this.heat = null;
    this.laid = null; // the order in which the cards stand
    // What was chosen outlives the text that is shown.
    const first = eye.about.compared ? { measure: "change", order: "highest" } : { measure: "", order: "place" };
    this.kept = eye.kept ??= { form: "maps", ...first, from: 0, to: 100 };
    this.arrange = framed(() => this.arranged());
    this.measures = eye.measures();
    this.measures.heard.add((layer) => {
      if (layer !== null) this.dirty(layer);
      this.arrange();
    });
    this.cards = eye.layers.map((layer, l) => Array.from({ length: layer.about.heads }, (_, h) => this.card(l, h)));
    this.count = el("span", { class: "soft count", role: "status" });
    this.pointed = el("span", { class: "figure pointed-head" });
    this.legend = el("span", { class: "legend" });
    this.grid = el("div", { class: "heads-grid", role: "group", aria: { label: "Heads of all layers as small maps" } });
    this.grid.addEventListener("keydown", (event) => rove(event, this.grid));
    this.room = el("div", { class: "heads-room" }, this.grid);
    this.bar = el("div", { class: "bar" });
    this.element = el("div", { class: "view heads" }, this.bar, this.room);
    // Only what is in sight is painted: there may be thousands.
    this.seen = new IntersectionObserver((entries) => this.insight(entries), { root: this.grid, rootMargin: "400px" });
    for (const one of this.all()) this.seen.observe(one.element);
    this.toolbar();
    this.arranged();
  }

  all() {
    return this.cards.flat();
  }

  update(changed) {
    if (changed.has("measured")) this.toolbar();
    if (changed.has("dark")) this.eye.layers.forEach((_, l) => this.dirty(l));
    if (["measured", "dark", "layer", "head"].some((name) => changed.has(name))) this.arrange();
  }

  // --- the bar ---

  toolbar() {
    const { kept } = this;
    const known = this.measures.known();
    if (kept.measure && !known[kept.measure]) Object.assign(kept, { measure: "", order: "place" });
    const names = [["", "none"], ...Object.entries(known).map(([name, { words }]) => [name, words])];
    const form = choice(
      "Show",
      [
        ["maps", "small maps"],
        ["table", "table"],
      ],
      kept.form,
      (value) => this.choose({ form: value }),
    );
    const measure = choice("Measure", names, kept.measure, (value) =>
      this.choose({ measure: value, order: value ? "highest" : "place" }),
    );
    const order = choice("Order", ORDERS, kept.order, (value) => this.choose({ order: value }));
    order.querySelector("select").disabled = !kept.measure;
    const limits = el(
      "span",
      { class: "limits", hidden: !kept.measure },
      this.limit("from", "from the lowest"),
      this.limit("to", "to the highest"),
    );
    this.everything = button("Show all heads", () => this.choose({ from: 0, to: 100 }), { hidden: true });
    this.bar.replaceChildren(form, measure, order, limits, this.everything, this.count, this.pointed, this.legend);
  }

  limit(name, words) {
    const slide = ({ target }) => {
      this.kept[name] = Number(target.value);
      this.arrange();
    };
    return el(
      "label",
      { class: "choice" },
      el("span", { text: words }),
      el("input", { type: "range", min: 0, max: 100, value: this.kept[name], on: { input: slide } }),
    );
  }

  choose(changes) {
    Object.assign(this.kept, changes);
    // A table is of a measure.
    if (this.kept.form === "table" && !this.kept.measure) this.kept.measure = "entropy";
    const label = this.bar.getRootNode().activeElement?.closest?.("label")?.textContent;
    this.toolbar();
    const again = [...this.bar.querySelectorAll("label")].find((one) => one.textContent === label);
    again?.querySelector("select, input").focus();
    this.arranged();
  }

  // --- what is shown ---

  arranged() {
    const { kept, measures } = this;
    const known = measures.known()[kept.measure];
    const values = known ? measures.values(kept.measure) : [];
    const within = this.limits(values);
    const shown = this.all().filter((one) => !known || kept.order === "place" || within(this.value(one)));
    const counted = known ? this.all().filter((one) => within(this.value(one))).length : shown.length;
    const missing = known ? this.all().length - values.length : 0;
    const rest = known && missing ? `, ${missing} without a number` : "";
    this.count.textContent = `${counted} of ${this.all().length} heads${rest}${known ? `: ${known.says}` : ""}`;
    this.everything.hidden = !(known && counted === 0 && values.length);
    if (kept.form === "table") this.asTable(within);
    else this.asMaps(known, shown, within);
  }

  value(one) {
    return this.measures.of(this.kept.measure, one.layer, one.head);
  }

  /** Whether a number lies between the two shares of the range that occurs. */
  limits(values) {
    const { from, to } = this.kept;
    let [least, most] = [Infinity, -Infinity];
    for (const value of values) [least, most] = [Math.min(least, value), Math.max(most, value)];
    const at = (share) => least + ((most - least) * share) / 100;
    const room = 1e-9 * Math.max(1, Math.abs(most), Math.abs(least));
    return (value) => Number.isFinite(value) && value >= at(from) - room && value <= at(to) + room;
  }

  asTable(within) {
    this.heat ??= new HeatTable(this.eye, this.measures, (cell) => this.point(cell));
    if (this.room.firstChild !== this.heat.element) this.room.replaceChildren(this.heat.element);
    this.heat.draw(this.kept.measure, { order: this.kept.order, within });
    this.legend.replaceChildren(...this.heat.legend());
    this.point(null);
  }

  point(cell) {
    this.pointed.textContent = cell
      ? `${this.eye.short[cell.layer]}, head ${cell.head}: ${this.heat.told(cell.value)}`
      : "";
  }

  asMaps(known, shown, within) {
    if (this.room.firstChild !== this.grid) this.room.replaceChildren(this.grid);
    this.legend.replaceChildren();
    this.pointed.textContent = "";
    const sorted = known && this.kept.order !== "place";
    const sign = this.kept.order === "lowest" ? 1 : -1;
    const key = (one) => sign * this.value(one);
    const order = sorted ? this.all().filter((one) => Number.isFinite(this.value(one))) : this.all();
    if (sorted) order.sort((a, b) => key(a) - key(b));
    this.lay(sorted, order);
    for (const one of this.all()) {
      const value = known ? this.value(one) : undefined;
      const place = sorted && this.cards.length > 1 ? `${this.eye.short[one.layer]}·${one.head}` : `${one.head}`;
      tell(one, place, value === undefined ? "" : Number.isFinite(value) ? known.unit(value) : "–");
      const out = Boolean(known) && !within(value);
      one.element.hidden = Boolean(sorted) && out;
      one.element.toggleAttribute("data-out", out && value !== undefined);
      this.mark(one);
    }
    const reached = shown.find((one) => one.element.hasAttribute("data-current")) ?? shown[0];
    for (const one of this.grid.querySelectorAll('.card[tabindex="0"]')) one.tabIndex = -1;
    if (reached) reached.element.tabIndex = 0;
  }

  /** Puts the cards in order; where they stand so already, nothing is moved. */
  lay(sorted, order) {
    const before = this.laid;
    if (
      before &&
      before.sorted === sorted &&
      before.order.length === order.length &&
      before.order.every((one, n) => one === order[n])
    )
      return;
    this.laid = { sorted, order };
    const rows = sorted
      ? [["", "Sorted heads", order]]
      : this.cards.map((cards, l) => [this.eye.short[l], this.eye.layers[l].about.name, cards]);
    this.grid.replaceChildren(
      ...rows.map(([name, title, members]) =>
        el(
          "div",
          { class: "heads-row", role: "group", aria: { label: title } },
          name === "" ? null : el("span", { class: "heads-name", text: name, title, aria: { hidden: "true" } }),
          el("span", { class: "heads-cards" }, ...members.map((one) => one.element)),
        ),
      ),
    );
  }

  // --- cards ---

  card(layer, head) {
    const canvas = el("canvas");
    const place = el("span", { class: "card-words", text: `${head}` });
    const number = el("span", { class: "card-words card-number" });
    const open = () => this.eye.open({ layer, head });
    const label = `${this.eye.layers[layer].about.name}, head ${head}`;
    const element = el(
      "button",
      { type: "button", class: "card", tabIndex: -1, title: label, aria: { label }, on: { click: open } },
      canvas,
      place,
      number,
    );
    const one = { layer, head, element, canvas, place, number };
    element.card = one;
    return one;
  }

  mark(one) {
    const { state } = this.eye;
    one.element.toggleAttribute("data-current", one.layer === state.get("layer") && one.head === state.get("head"));
  }

  insight(entries) {
    for (const { target, isIntersecting } of entries) {
      target.card.near = isIntersecting;
      if (isIntersecting) this.paint(target.card);
    }
  }

  /** All of it, for a figure. */
  whole() {
    for (const one of this.all()) this.paint(one);
  }

  dirty(layer) {
    for (const one of this.cards[layer]) {
      one.painted = false;
      if (one.near) this.paint(one);
    }
  }

  paint(one) {
    if (one.painted || !this.measures.thumbs[one.layer]) return;
    const { about } = this.eye.layers[one.layer];
    paintThumb(one.canvas, this.measures.thumbOf(one.layer, one.head), about.thumb, this.eye.dark());
    one.painted = true;
    const known = Object.entries(this.measures.known());
    const told = known
      .map(([name, { words, unit }]) => [
        words,
        unit,
        name === "like" ? undefined : this.measures.ready(name, one.layer, one.head),
      ])
      .filter(([, , value]) => value !== undefined)
      .map(([words, unit, value]) => `${words} ${unit(value)}`);
    one.element.title = [`${about.name}, head ${one.head}`, ...told].join("\n");
    one.element.setAttribute("aria-label", `${about.name}, head ${one.head}: ${told.join(", ")}. Opens its map.`);
  }
}

function tell(one, place, number) {
  if (one.place.textContent !== place) one.place.textContent = place;
  if (one.number.textContent !== number) one.number.textContent = number;
}

/** A small map on a canvas of as many dots as it has cells. */
function paintThumb(canvas, values, [rows, columns], dark) {
  const scale = scaleWords(dark);
  const pixels = new Uint32Array(rows * columns);
  for (let n = 0; n < pixels.length; n++) {
    const share = logShare(values[n], 1 / columns, columns);
    if (isHidden(values[n])) continue; // transparent: hatched by the style sheet
    pixels[n] = Number.isFinite(values[n]) ? scale[Math.round(255 * share)] : NOT_FINITE_WORD;
  }
  Object.assign(canvas, { width: columns, height: rows });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), columns, rows), 0, 0);
}

/** Arrow keys go from head to head, as they lie on the screen. */
function rove(event, grid) {
  const from = event.target.closest(".card");
  const cards = [...grid.querySelectorAll(".card:not([hidden])")];
  const at = cards.indexOf(from);
  if (at < 0) return;
  const across = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: cards.length - 1 }[event.key];
  const to = across ?? vertical(cards, from, { ArrowDown: 1, ArrowUp: -1 }[event.key]);
  if (to === undefined) return;
  event.preventDefault();
  const next = cards[clamp(to, 0, cards.length - 1)];
  from.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

/** The card straight below or above: of the nearest line in that direction, the one nearest to this card's middle. */
function vertical(cards, from, direction) {
  if (!direction) return undefined;
  const beyond = cards.map((one, n) => [one, n]).filter(([one]) => direction * (one.offsetTop - from.offsetTop) > 0);
  if (beyond.length === 0) return cards.indexOf(from);
  const line = direction > 0 ? beyond[0][0].offsetTop : beyond.at(-1)[0].offsetTop;
  const apart = ([one]) => Math.abs(one.offsetLeft - from.offsetLeft);
  return beyond.filter(([one]) => one.offsetTop === line).sort((a, b) => apart(a) - apart(b))[0][1];
}
