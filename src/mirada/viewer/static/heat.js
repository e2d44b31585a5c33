// Layers × heads as a table whose colours are one number a head.
import { css, inkOn, inkOnScale, scaleColour, signedColour } from "./colour.js";
import { clamp, el, number } from "./dom.js";
import { legend } from "./legend.js";

const NUMBERED = 46; // pixels to a cell from which on its number is written
const WITH_UNIT = 84; // … with its unit

export class HeatTable {
  /** `tell` hears which head is pointed at ({ layer, head } or null). */
  constructor(eye, measures, tell) {
    this.eye = eye;
    this.measures = measures;
    this.tell = tell;
    this.cells = []; // layer → place in its row → { element, layer, head, value }
    this.reached = null;
    this.known = null;
    this.order = "place";
    this.shade = shades([], false);
    this.rows = [];
    this.columns = Math.max(...eye.layers.map((layer) => layer.about.heads));
    this.lines = eye.layers.map((layer, l) => this.row(layer, l));
    this.body = el("tbody", {}, ...this.lines);
    this.numbers = Array.from({ length: this.columns }, (_, n) => el("th", { scope: "col", text: String(n) }));
    this.head = el("thead", {}, el("tr", {}, el("td"), ...this.numbers));
    this.table = el("table", { class: "heat", role: "grid", aria: { label: "Layers by heads" } }, this.head, this.body);
    this.element = el("div", { class: "heat-room" }, this.table);
    this.table.addEventListener("pointerover", (event) => tell(this.at(event.target)));
    this.table.addEventListener("pointerleave", () => tell(null));
    this.table.addEventListener("focusin", (event) => tell(this.at(event.target)));
    this.table.addEventListener("click", (event) => this.open(this.at(event.target)));
    this.table.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.write()).observe(this.element);
  }

  row(layer, l) {
    const cells = Array.from({ length: layer.about.heads }, () => ({
      element: el("td", { role: "gridcell", tabIndex: -1, class: "heat-cell" }),
    }));
    for (const cell of cells) cell.element.cell = cell;
    this.cells.push(cells);
    const name = el("th", { scope: "row", class: "heat-name", text: this.eye.short[l], title: layer.about.name });
    const rest = Array.from({ length: this.columns - cells.length }, () => el("td"));
    return el("tr", {}, name, ...cells.map((cell) => cell.element), ...rest);
  }

  at(target) {
    return target.closest?.(".heat-cell")?.cell ?? null;
  }

  open(cell) {
    if (cell) this.eye.open(cell);
  }

  key(event) {
    const cell = this.at(event.target);
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") this.open(cell);
    else {
      const [row, column] = [this.rows.indexOf(cell.layer), cell.element.cellIndex - 1];
      const by = {
        ArrowUp: [-1, 0],
        ArrowDown: [1, 0],
        ArrowLeft: [0, -1],
        ArrowRight: [0, 1],
        Home: [0, -column],
        End: [0, 1e6],
      };
      const step = by[event.key];
      if (!step) return;
      const next = this.cells[this.rows[clamp(row + step[0], 0, this.rows.length - 1)]];
      this.reach(next[clamp(column + step[1], 0, next.length - 1)]).element.focus();
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** The one cell that the tabulator key stops at. */
  reach(cell) {
    if (this.reached) this.reached.element.tabIndex = -1;
    cell.element.tabIndex = 0;
    this.reached = cell;
    return cell;
  }

  /** Shows a measure; `order`: "place", or heads within their layer and layers by their best, "highest" or "lowest" first. */
  draw(name, { order, within }) {
    const known = this.measures.known()[name];
    const table = this.measures.table(name) ?? [];
    const value = (layer, head) => table[layer]?.[head];
    const key = (one) => (Number.isFinite(one) ? (order === "lowest" ? one : -one) : Infinity);
    const heads = this.eye.layers.map((layer, l) => {
      const all = Array.from({ length: layer.about.heads }, (_, head) => head);
      return order === "place" ? all : all.sort((a, b) => key(value(l, a)) - key(value(l, b)));
    });
    const rows = this.eye.layers.map((_, l) => l);
    if (order !== "place") rows.sort((a, b) => key(value(a, heads[a][0])) - key(value(b, heads[b][0])));
    this.known = known;
    this.order = order;
    this.shade = shades(this.measures.values(name), this.eye.dark());
    this.numbers.forEach((one, n) => {
      one.textContent = String(order === "place" ? n : n + 1);
    });
    if (rows.some((layer, r) => this.rows[r] !== layer)) this.body.append(...rows.map((layer) => this.lines[layer]));
    this.rows = rows;
    for (const layer of rows) this.fill(layer, heads[layer], value, within);
    this.reach(this.cells.flat().find((cell) => cell.element.hasAttribute("data-current")) ?? this.cells[rows[0]][0]);
    this.write();
  }

  fill(layer, heads, value, within) {
    heads.forEach((head, n) => {
      const cell = Object.assign(this.cells[layer][n], { layer, head, value: value(layer, head) });
      const { element } = cell;
      const current = layer === this.eye.state.get("layer") && head === this.eye.state.get("head");
      element.toggleAttribute("data-current", current);
      element.toggleAttribute("data-out", !within(cell.value));
      const key = `${head}:${cell.value}:${this.shade.key}:${this.known.words}`;
      if (cell.key === key) return; // a slider moves often, and changes no colour
      cell.key = key;
      this.paint(cell);
    });
  }

  paint({ element, layer, head, value }) {
    const colour = value === undefined ? null : this.shade.colour(value);
    element.style.backgroundColor = colour ?? "";
    element.style.color = colour ? this.shade.ink(value) : "";
    element.toggleAttribute("data-none", colour === null);
    element.setAttribute("aria-label", `${this.eye.short[layer]}, head ${head}: ${this.told(value)}`);
  }

  told(value) {
    return value === undefined ? "…" : Number.isFinite(value) ? this.known.unit(value) : "none";
  }

  /** Numbers where there is room for them; rows as high as there is room for. */
  write() {
    if (!this.known) return;
    const height = Math.floor((this.element.clientHeight - 40) / this.cells.length) - 1;
    this.table.style.setProperty("--row", `${clamp(height, 24, 44)}px`);
    const width = this.cells[0][0].element.clientWidth;
    for (const cell of this.cells.flat()) {
      const words = this.words(cell, width);
      if (cell.element.textContent !== words) cell.element.textContent = words;
    }
  }

  words(cell, width) {
    const head = this.order === "place" ? "" : String(cell.head);
    if (width < NUMBERED) return width < 20 ? "" : head;
    const told = width < WITH_UNIT || !Number.isFinite(cell.value) ? short(cell.value) : this.known.unit(cell.value);
    return head ? `${head}:  ${told}` : told;
  }

  legend() {
    const { least, most, colourAt, shareOf } = this.shade;
    if (!(least <= most)) return [];
    const marks = least < 0 ? [-this.shade.limit, 0, this.shade.limit] : [least, (least + most) / 2, most];
    return legend(
      colourAt,
      marks.map((mark) => [shareOf(mark), this.known.unit(mark)]),
      this.known.words,
    );
  }
}

function short(value) {
  if (value === undefined) return "";
  if (!Number.isFinite(value)) return "–";
  return number(value, Math.abs(value) < 10 ? 2 : 1);
}

/** Colours for values: from the least to the most; where some are negative, to both sides of 0. */
function shades(values, dark) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) [least, most] = [Math.min(least, value), Math.max(most, value)];
  const limit = Math.max(Math.abs(least), Math.abs(most)) || 1;
  const key = `${least}:${most}:${dark}`;
  const known = (value) => Number.isFinite(value) && least <= most;
  if (least < 0) {
    const at = (value) => signedColour(value / limit, dark);
    return {
      key,
      least,
      most,
      limit,
      colour: (value) => (known(value) ? css(at(value)) : null),
      ink: (value) => inkOn(at(value) ?? [0, 0, 0]),
      colourAt: (share) => css(at((2 * share - 1) * limit)),
      shareOf: (value) => (value / limit + 1) / 2,
    };
  }
  const shareOf = (value) => (most > least ? (value - least) / (most - least) : 1);
  return {
    key,
    least,
    most,
    limit,
    shareOf,
    colour: (value) => (known(value) ? scaleColour(shareOf(value), dark) : null),
    ink: (value) => inkOnScale(shareOf(value), dark),
    colourAt: (share) => scaleColour(share, dark),
  };
}
