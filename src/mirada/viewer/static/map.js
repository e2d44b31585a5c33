// View 2: one head's matrix, panned and zoomed like a city map, down to single weights.
import { scaleColour } from "./colour.js";
import { button, choice, clamp, el, framed, number, percent, quoted, sharpen } from "./dom.js";
import { hatching } from "./hatch.js";
import { isHidden } from "./matrix.js";
import { chosenHead, chosenInWords, layerPicker } from "./mixed.js";
import { MARGIN, drawLegend, paintCross, paintEdges, paintNumbers, paintLabels } from "./sheet.js";
import { TILE } from "./source.js";
import { Tiles, coarsest, covering, overviewCell } from "./tiles.js";

const CLOSEST = 72; // pixels to a token

export function mapView(eye) {
  return new MapView(eye);
}

/** One of several maps may have `layers` of its own, another margin, and be heard when it is painted. */
export class MapView {
  constructor(eye, { layers = () => eye.layers, margin = MARGIN, alone = true, painted = (_map) => {} } = {}) {
    this.eye = eye;
    this.layers = layers;
    this.margin = margin;
    this.alone = alone; // with numbers along its edges, and a sentence below
    this.painted = painted;
    this.shows = { broken: false, hides: false }; // of what the legend must tell
    this.at = null; // { x, y } in tokens at the room's corner (negative: the map begins further in), scale in pixels a token
    this.canvas = el("canvas", {
      tabIndex: 0,
      role: "application",
      aria: {
        label: "Map of one head: rows are queries, columns are keys",
        roledescription: "map",
        keyshortcuts: "ArrowUp ArrowDown ArrowLeft ArrowRight + - 0",
      },
    });
    this.draw = framed(() => this.paint());
    this.canvas.repaint = () => this.paint();
    this.tiles = new Tiles(
      () => this.draw(),
      (error) => eye.say(error.message),
    );
    this.readout = el("p", { class: "readout", role: "status" });
    this.legend = el("div", { class: "legend" });
    this.stage = el("div", { class: "map-stage" }, this.canvas);
    this.element = el("div", { class: "view map" }, this.toolbar(), this.stage, this.readout);
    this.listen();
    this.choose();
    new ResizeObserver(() => this.resized()).observe(this.stage);
  }

  toolbar() {
    const zoom = (factor) => () => this.zoom(factor);
    this.modeChoice = choice(
      "Colour",
      [
        ["linear", "linear"],
        ["log", "logarithmic"],
      ],
      "linear",
      (mode) => this.setMode(mode),
    );
    this.picker = layerPicker(this.eye);
    this.headChoice = choice(
      "Head",
      [
        ["one", "one head"],
        ["mean", "mean of the chosen"],
        ["max", "largest of the chosen"],
      ],
      "one",
      (value) => this.eye.state.set(value === "one" ? { together: false } : { together: true, how: value }),
    );
    this.headChoice.hidden = !this.alone || this.eye.layers.reduce((sum, { about }) => sum + about.heads, 0) === 1;
    return el(
      "div",
      { class: "bar" },
      this.modeChoice,
      this.headChoice,
      this.picker.element,
      el(
        "span",
        { class: "group" },
        button("−", zoom(0.5), { aria: { label: "zoom out" } }),
        button("+", zoom(2), { aria: { label: "zoom in" } }),
        button("Fit", () => this.fit(), { aria: { label: "Fit: show the whole map" } }),
      ),
      this.legend,
    );
  }

  /** Turns to the head that is chosen. */
  choose() {
    const { state } = this.eye;
    const layer = this.layers()[state.get("layer")];
    const sized =
      this.layer && this.layer.about.queries === layer.about.queries && this.layer.about.keys === layer.about.keys;
    this.layer = layer;
    const together = (this.together = this.alone && state.get("together"));
    this.head = together ? chosenHead(this.eye) : layer.head(state.get("head"));
    this.headChoice.querySelector("select").value = together ? state.get("how") : "one";
    this.picker.tell();
    this.picker.element.hidden ||= !together;
    this.edges = null;
    this.largest = null;
    this.queryWords = this.eye.words(layer.about.query_words);
    this.keyWords = this.eye.words(layer.about.key_words);
    if (!sized) {
      this.at = null;
      this.mode = Math.max(layer.about.queries, layer.about.keys) <= 64 ? "linear" : "log";
      this.modeChoice.querySelector("select").value = this.mode;
    }
    this.pending();
    this.find();
    this.draw();
  }

  /** What takes a moment: the largest weight, the edges. */
  async find() {
    const { head } = this;
    try {
      const { queries, keys } = head.about;
      const cell = overviewCell(queries, keys);
      const tile = await head.tile(cell, 0, 0);
      if (head !== this.head) return;
      this.largest = tile ? largestOf(tile, cell, keys) : 1;
      drawLegend(this);
      this.draw();
      this.tell();
      // The edges take a moment of their own: the map itself goes first.
      await head.tile(coarsest(queries, keys), 0, 0);
      const edges = await head.edges();
      if (head === this.head) this.edges = edges;
    } catch (error) {
      this.eye.say(error.message);
    }
    this.draw();
  }

  setMode(mode) {
    this.mode = mode;
    drawLegend(this);
    this.draw();
  }

  update(changed) {
    const others = this.alone ? ["together", ...(this.eye.state.get("together") ? ["heads", "how", "span"] : [])] : [];
    if (["layer", "head", ...others].some((name) => changed.has(name))) this.choose();
    else if (changed.has("query") || changed.has("key")) this.tell();
    if (changed.has("dark")) drawLegend(this);
    this.draw();
  }

  shown() {
    this.resized();
  }

  // --- where on the map ---

  resized() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (width === 0 || height === 0) return;
    const fitted = this.fitted;
    this.size = { width, height };
    this.room = {
      left: this.margin.left,
      top: this.margin.top,
      width: Math.max(40, width - this.margin.left - this.margin.right),
      height: Math.max(40, height - this.margin.top - this.margin.bottom),
    };
    if (!this.at || fitted) this.fit();
    this.draw();
  }

  /** The first token in sight, and the scale. */
  get place() {
    return this.at && { x: Math.max(0, this.at.x), y: Math.max(0, this.at.y), scale: this.at.scale };
  }

  /** The part of the available area that begins where the matrix does. */
  get plot() {
    const [right, down] = this.at ? [this.at.x, this.at.y].map((at) => Math.max(0, -at * this.at.scale)) : [0, 0];
    const { left, top, width, height } = this.room;
    return {
      left: left + right,
      top: top + down,
      width: Math.max(0, width - right),
      height: Math.max(0, height - down),
    };
  }

  fitScale() {
    const { queries, keys } = this.head.about;
    return Math.min(this.room.width / keys, this.room.height / queries, CLOSEST);
  }

  fit() {
    if (!this.room) return;
    const scale = this.fitScale();
    this.at = { x: Math.min(0, (this.head.about.keys - this.room.width / scale) / 2), y: 0, scale };
    this.fitted = true;
    this.draw();
  }

  /** Zooms by a factor about a point of the canvas, which stays on its token; about the map's middle where none is given. */
  zoom(factor, at = null) {
    const { left, top } = this.plot;
    const { width, height } = this.drawn();
    const point = at
      ? { x: clamp(at.x, left, left + width), y: clamp(at.y, top, top + height) }
      : { x: left + width / 2, y: top + height / 2 };
    const least = this.fitScale();
    const scale = clamp(this.at.scale * factor, least, CLOSEST);
    if (factor < 1 && scale === least) return this.fit();
    const held = this.tokenAt(point);
    // Nothing is clamped here: at an edge, too, the token under the pointer keeps its place.
    this.at = { x: held.x - (point.x - this.room.left) / scale, y: held.y - (point.y - this.room.top) / scale, scale };
    this.fitted = false;
    this.draw();
  }

  /** Moves the map; half of what could be seen of it stays in sight. */
  pan(dx, dy) {
    const { queries, keys } = this.head.about;
    const { x, y, scale } = this.at;
    const within = (at, count, seen) => clamp(at, Math.min(count, seen) / 2 - seen, count - Math.min(count, seen) / 2);
    this.at = {
      x: within(x - dx / scale, keys, this.room.width / scale),
      y: within(y - dy / scale, queries, this.room.height / scale),
      scale,
    };
    this.fitted = false;
    this.draw();
  }

  /** The place on the map under a point of the canvas, in tokens. */
  tokenAt({ x, y }) {
    return {
      x: this.place.x + (x - this.plot.left) / this.place.scale,
      y: this.place.y + (y - this.plot.top) / this.place.scale,
    };
  }

  // --- listening ---

  listen() {
    const { canvas } = this;
    this.fingers = new Map();
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.release(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoom(2, pointOf(event)));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, pointOf(event));
    this.moved = false;
  }

  move(event) {
    const point = pointOf(event);
    const before = this.fingers.get(event.pointerId);
    if (!before) return this.aim(point);
    const others = [...this.fingers].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
    if (others.length === 1) this.pinch(before, point, others[0]);
    else this.pan(point.x - before.x, point.y - before.y);
    if (Math.hypot(point.x - before.x, point.y - before.y) > 1) this.moved = true;
    this.fingers.set(event.pointerId, point);
    this.canvas.toggleAttribute("data-held", true);
  }

  pinch(before, after, other) {
    const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    this.zoom(apart(after) / apart(before), { x: (after.x + other.x) / 2, y: (after.y + other.y) / 2 });
  }

  release(event) {
    this.fingers.delete(event.pointerId);
    this.canvas.toggleAttribute("data-held", false);
    if (!this.moved && event.type === "pointerup") this.aim(pointOf(event));
  }

  wheel(event) {
    // Among other things on a page, scrolling must pass over the map: a click on it, or a pinch, selects it.
    if (!this.eye.alone && !event.ctrlKey && !this.canvas.matches(":focus")) return;
    event.preventDefault();
    this.zoom(2 ** (-clamp(event.deltaY, -200, 200) / 240), pointOf(event));
    this.aim(pointOf(event));
  }

  key(event) {
    const step = (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(1 / this.place.scale));
    const move = { ArrowLeft: [0, -step], ArrowRight: [0, step], ArrowUp: [-step, 0], ArrowDown: [step, 0] }[event.key];
    if (move) this.cross(this.eye.state.get("query") + move[0], this.eye.state.get("key") + move[1], true);
    else if (event.key === "+" || event.key === "=") this.zoom(2, this.crossPoint());
    else if (event.key === "-") this.zoom(0.5, this.crossPoint());
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Points at what lies under the pointer. */
  aim(point) {
    const { x, y } = this.tokenAt(point);
    const { queries, keys } = this.head.about;
    if (x < 0 || y < 0 || x >= keys || y >= queries) return;
    this.cross(Math.floor(y), Math.floor(x));
  }

  /** Moves the cross-hair to a query and a key. */
  cross(i, j, follow = false) {
    const { queries, keys } = this.head.about;
    const [query, key] = [clamp(i, 0, queries - 1), clamp(j, 0, keys - 1)];
    this.eye.state.set({ query, key });
    if (follow) this.follow(query, key);
    this.draw();
  }

  crossPoint() {
    const { state } = this.eye;
    return {
      x: this.plot.left + (state.get("key") + 0.5 - this.place.x) * this.place.scale,
      y: this.plot.top + (state.get("query") + 0.5 - this.place.y) * this.place.scale,
    };
  }

  follow(i, j) {
    const [wide, high] = [this.room.width / this.at.scale, this.room.height / this.at.scale];
    const into = (at, from, room) => (at < from ? at : at + 1 > from + room ? at + 1 - room : from);
    const { x, y, scale } = this.at;
    this.at = { x: into(j, x, wide), y: into(i, y, high), scale };
  }

  /** Names the entry under the cross-hair, without a number: the last one belonged to another entry. */
  pending() {
    const { state } = this.eye;
    const [i, j] = [state.get("query"), state.get("key")];
    const of = this.together ? `${chosenInWords(this.eye)}: ` : "";
    const where = `${of}query ${i} ${quoted(this.queryWords[i] ?? "")} → key ${j} ${quoted(this.keyWords[j] ?? "")}`;
    this.asked = null;
    this.readout.textContent = `${where}: …`;
    delete this.readout.dataset.weight;
    return { i, j, where };
  }

  /** Says what stands under the cross-hair: both words and the exact weight. */
  async tell() {
    const { i, j, where } = this.pending();
    const { head } = this;
    const asked = (this.asked = {});
    try {
      const weight = await head.entry(i, j);
      if (this.asked !== asked) return;
      this.weight = weight;
      this.readout.textContent =
        weight === null
          ? `${where}: this page's detail ends at ${this.head.about.cell} tokens a cell`
          : isHidden(weight)
            ? `${where}: hidden by the mask`
            : `${where}: weight ${number(weight, 6)} (${percent(weight)})`;
      this.readout.dataset.weight = weight ?? "";
    } catch (error) {
      if (error.name !== "AbortError" && this.asked === asked) this.readout.textContent = `${where}: ${error.message}`;
    }
  }

  // --- painting ---

  look() {
    const dark = this.eye.dark();
    const { signed = false } = this.head.about;
    return { dark, signed, mode: this.mode, largest: this.largest ?? 1, key: `${this.mode}:${dark}:${this.largest}` };
  }

  paint() {
    if (!this.size || !this.place || this.size.width === 0) return;
    const context = sharpen(this.canvas, this.size.width, this.size.height);
    const ink = this.eye.ink();
    context.clearRect(0, 0, this.size.width, this.size.height);
    context.save();
    context.beginPath();
    context.rect(this.plot.left, this.plot.top, this.drawn().width, this.drawn().height);
    context.clip();
    context.fillStyle = scaleColour(0, this.eye.dark());
    context.fillRect(this.plot.left, this.plot.top, this.plot.width, this.plot.height);
    const told = JSON.stringify(this.shows);
    this.shows = { broken: false, hides: false };
    this.paintTiles(context);
    paintNumbers(this, context);
    if (told !== JSON.stringify(this.shows)) drawLegend(this);
    context.restore();
    paintCross(this, context, ink);
    paintEdges(this, context, ink);
    paintLabels(this, context, ink);
    this.painted(this);
  }

  /** As much of the plot as there is map. */
  drawn() {
    const { queries, keys } = this.head.about;
    return {
      width: Math.min(this.plot.width, (keys - this.place.x) * this.place.scale),
      height: Math.min(this.plot.height, (queries - this.place.y) * this.place.scale),
    };
  }

  window() {
    const { x, y, scale } = this.place;
    return { left: x, top: y, right: x + this.plot.width / scale, bottom: y + this.plot.height / scale };
  }

  /** The level whose cells are about a pixel large, over all coarser ones that are there already. */
  paintTiles(context) {
    const { queries, keys } = this.head.about;
    const top = coarsest(queries, keys);
    const wanted = clamp(2 ** Math.ceil(Math.log2(1 / this.place.scale) - 0.5), 1, top);
    context.imageSmoothingEnabled = false;
    const look = this.look();
    this.complete = true;
    const first = this.tiles.find(this.head, overviewCell(queries, keys), 0, 0);
    this.paintTile(context, first, look);
    // Of a very long text a rough picture comes first, and nothing gets in its way.
    if (first.state === "waiting") return;
    this.paintTile(context, this.tiles.find(this.head, top, 0, 0), look);
    for (let cell = top / 2; cell >= wanted; cell /= 2) this.paintLevel(context, cell, cell === wanted, look);
  }

  paintLevel(context, cell, wanted, look) {
    const { queries, keys } = this.head.about;
    for (const [r, c] of covering(this.window(), cell, queries, keys)) {
      // What lies between is drawn where it is there already; only what is wanted is asked for.
      const tile = wanted ? this.tiles.find(this.head, cell, r, c) : this.tiles.known(this.head, cell, r, c);
      if (tile) this.paintTile(context, tile, look);
    }
  }

  paintTile(context, tile, look) {
    if (tile.state === "waiting") this.complete = false;
    if (tile.state !== "there") return;
    const { x, y, scale } = this.place;
    const { queries, keys } = this.head.about;
    const [left, top] = [tile.c * TILE * tile.cell, tile.r * TILE * tile.cell];
    // Its last cells may be cut short by the end of the matrix: it is drawn in full, and the plot's edge cuts it.
    const [wide, high] = [tile.columns * tile.cell, tile.rows * tile.cell];
    context.save();
    context.beginPath();
    context.rect(this.plot.left - x * scale, this.plot.top - y * scale, keys * scale, queries * scale);
    context.clip();
    const picture = this.tiles.picture(tile, look);
    const place = [this.plot.left + (left - x) * scale, this.plot.top + (top - y) * scale, wide * scale, high * scale];
    this.shows.broken ||= tile.broken;
    this.shows.hides ||= tile.hides;
    if (tile.hides) {
      // What is hidden is left out of the picture; a coarser tile may lie below.
      context.fillStyle = hatching(context, look.dark);
      context.fillRect(...place);
    }
    context.drawImage(picture, ...place);
    context.restore();
  }

  middle(i, j) {
    return [
      this.plot.left + (j + 0.5 - this.place.x) * this.place.scale,
      this.plot.top + (i + 0.5 - this.place.y) * this.place.scale,
    ];
  }
}

/** The largest weight of a key that a tile tells of. */
function largestOf(tile, cell, keys) {
  let most = 0;
  for (let n = 0; n < tile.values.length; n++) {
    const width = Math.min(cell, keys - (n % tile.columns) * cell);
    const size = Math.abs(tile.values[n]);
    if (size / width > most && size < Infinity) most = size / width;
  }
  return most || 1;
}

function pointOf(event) {
  return { x: event.offsetX, y: event.offsetY };
}
