// Where a saved page's numbers come from: its own bytes.
import { bytesOf, floats, halves, inflate, integers, sharesOf, unpack } from "./codec.js";
import { Table, Vectors, cellEdges, maskOf } from "./matrix.js";

/** Cells a side of a tile of the map. */
export const TILE = PROTOCOL.TILE;
/** Up to so many weights, a head is formed as a whole and kept. */
const { WHOLE } = PROTOCOL;
/** Up to so many multiplications, a tile is formed when it is asked for. */
const AT_ONCE = 1.2e8;
/** Heads kept in memory. */
const KEPT = 96;

/** The largest cell, in tokens, of which tiles are formed from vectors of such a width when they are asked for. */
export function formedAtOnce(width) {
  return 2 ** Math.floor(Math.log2(Math.sqrt(AT_ONCE / width) / TILE));
}

/** A cache that forgets what was used longest ago. */
export class Kept {
  constructor(most) {
    this.most = most;
    this.map = new Map();
  }

  get(key, make) {
    const value = this.map.has(key) ? this.map.get(key) : make();
    this.map.delete(key);
    this.map.set(key, value);
    if (this.map.size > this.most) this.map.delete(this.map.keys().next().value);
    return value;
  }
}

/** The layers that a page carries; `text(name)` gives a blob as base64. */
export function carriedLayers(about, text) {
  const heads = new Kept(KEPT);
  return about.layers.map((layer, number) => {
    const blobs = new Map();
    const blob = (name) => {
      if (!blobs.has(name)) blobs.set(name, text(`${number}-${name}`));
      return blobs.get(name);
    };
    return new CarriedLayer(layer, number, blob, heads);
  });
}

class CarriedLayer {
  constructor(about, number, blob, heads) {
    this.about = about;
    this.number = number;
    this.blob = blob;
    this.heads = heads;
    this.read = new Map();
  }

  head(index) {
    return this.heads.get(`${this.number}:${index}`, () => new CarriedHead(this, index));
  }

  async overview() {
    const thumbs = await this.once("thumbs", async (bytes) => halves(await inflate(bytes)));
    return { thumbs, measures: this.about.measures };
  }

  /** A number of each head that Python found. */
  async measure(name) {
    return this.about.measures[name];
  }

  /** A blob, decoded the first time it is asked for. */
  once(name, decode) {
    if (!this.read.has(name)) this.read.set(name, decode(bytesOf(this.blob(name))));
    return this.read.get(name);
  }

  /** A table of cells (heads, rows, columns) in bytes; `level` is the ending of its blobs' names. */
  async cells(level, cell, head) {
    const shares = await this.once(`shares${level}`, inflate);
    const largest = await this.once(`largest${level}`, floats);
    const [rows, columns] = [this.about.queries, this.about.keys].map((size) => Math.ceil(size / cell));
    const values = sharesOf({ shares, largest }, head, rows, columns);
    if (level && this.about.hides) hideBits(values, await this.once(`hidden${level}`, inflate), head);
    return { values, rows, columns, cell };
  }

  async mask(head) {
    const { mask, queries, keys } = this.about;
    if (mask === "none") return maskOf(mask, null, head, queries, keys);
    const decode = { ranges: integers, bits: (bytes) => bytes, bias: floats }[mask];
    const data = await this.once("mask", async (bytes) => decode(await inflate(bytes)));
    return maskOf(mask, data, head, queries, keys);
  }

  /** One head's part (count, width) of a tensor. */
  async vectors(name, head, count) {
    const { heads, bits } = this.about;
    const width = this.about[`${name}_width`];
    if (bits !== 32)
      return this.once(name, (bytes) => Promise.resolve(bytes)).then((bytes) =>
        unpack(bytes, { heads, count, width, bits, head }),
      );
    const all = await this.once(name, floats);
    return all.subarray(head * count * width, (head + 1) * count * width);
  }
}

class CarriedHead {
  constructor(layer, index) {
    this.layer = layer;
    this.index = index;
    this.about = layer.about;
    this.made = {};
    this.small = this.about.queries * this.about.keys <= WHOLE;
    this.exact = this.about.kind !== "cells";
    this.hasVectors = this.about.kind === "vectors";
  }

  /** Made once. */
  make(name, how) {
    return (this.made[name] ??= how());
  }

  /** What answers for single weights. */
  engine() {
    return this.make("engine", () => (this.hasVectors ? this.vectors() : this.table()));
  }

  async vectors() {
    const { queries, keys, query_width: width, scale } = this.about;
    const query = await this.layer.vectors("query", this.index, queries);
    const key = await this.layer.vectors("key", this.index, keys);
    const normalisers = this.small ? null : await this.normalisers();
    return new Vectors({
      query,
      key,
      scale,
      queries,
      keys,
      width,
      normalisers,
      mask: await this.layer.mask(this.index),
    });
  }

  async normalisers() {
    const all = await this.layer.once("normalisers", floats);
    return all.subarray(this.index * this.about.queries, (this.index + 1) * this.about.queries);
  }

  async table() {
    const { queries, keys, mask } = this.about;
    const weights = await this.weights();
    if (mask && mask !== "none") hideUnseen(weights, await this.layer.mask(this.index), keys);
    return new Table(weights, queries, keys);
  }

  async weights() {
    if (this.about.bits !== 32) return (await this.layer.cells("", 1, this.index)).values;
    const all = await this.layer.once("weights", floats);
    const size = this.about.queries * this.about.keys;
    return all.subarray(this.index * size, (this.index + 1) * size);
  }

  /** What answers for rows, columns and cells at any place. */
  whole() {
    return this.make("whole", async () => {
      const engine = await this.engine();
      return engine instanceof Vectors && this.small ? engine.whole() : engine;
    });
  }

  async row(i) {
    if (!this.exact) return null;
    return (await (this.made.whole ?? this.engine())).row(i);
  }

  async column(j) {
    return this.exact ? (await this.whole()).column(j) : null;
  }

  async entry(i, j) {
    const row = await this.row(i);
    return row ? row[j] : null;
  }

  edges() {
    return this.make("edges", async () => {
      if (this.small && this.exact) {
        const whole = await this.whole();
        return whole.edges();
      }
      const { queries, keys } = this.about;
      if (!this.about.levels) return null;
      const part = (all, size) => all.subarray(this.index * size, (this.index + 1) * size);
      return {
        entropy: part(await this.layer.once("entropy", floats), queries),
        received: part(await this.layer.once("received", floats), keys),
      };
    });
  }

  /** The whole map in cells of so many tokens, where the page carries that; else null. */
  level(cell) {
    return this.make(`level ${cell}`, async () =>
      this.about.levels?.includes(cell) ? this.layer.cells(`-${cell}`, cell, this.index) : null,
    );
  }

  /** The tile in row `r` and column `c` of the map at `cell` tokens a cell; null where the page has no such detail. */
  async tile(cell, r, c) {
    const { queries, keys } = this.about;
    const rows = cellEdges(r * TILE * cell, Math.min((r + 1) * TILE * cell, queries), cell);
    const columns = cellEdges(c * TILE * cell, Math.min((c + 1) * TILE * cell, keys), cell);
    const shape = { rows: rows.length - 1, columns: columns.length - 1 };
    const level = await this.level(cell);
    if (level) return { ...shape, values: cut(level, r * TILE, c * TILE, shape) };
    if (!this.exact || !this.atOnce(rows, columns)) return null;
    return { ...shape, values: (await this.whole()).cells(rows, columns) };
  }

  atOnce(rows, columns) {
    const each = this.small ? 1 : (this.about.query_width ?? 1);
    return (rows.at(-1) - rows[0]) * (columns.at(-1) - columns[0]) * each <= AT_ONCE;
  }

  /** Query `i`, keys and values `first` … `after` − 1, and what they are made of; null where the page has none. */
  async parts(i, first, after) {
    if (!this.hasVectors) return null;
    const engine = await this.engine();
    const { query_width: width, value_width: valueWidth, keys } = this.about;
    const value = valueWidth ? await this.layer.vectors("value", this.index, keys) : null;
    const rows = (all, size) =>
      all
        ? Array.from({ length: after - first }, (_, n) => all.subarray((first + n) * size, (first + n + 1) * size))
        : null;
    const bias = (j) => (engine.mask.bias ? engine.mask.bias(i, j) : 0);
    return {
      query: engine.query.subarray(i * width, (i + 1) * width),
      keys: rows(engine.key, width),
      values: rows(value, valueWidth),
      context: value && weighted(engine.row(i), value, valueWidth),
      added: Array.from({ length: after - first }, (_, n) =>
        engine.mask.seen(i, first + n) ? bias(first + n) : -Infinity,
      ),
    };
  }
}

/** −0 in place of the weights that a mask hides: `mirada.viewer.hidden`. */
function hideUnseen(weights, mask, keys) {
  for (let n = 0; n < weights.length; n++) if (!mask.seen(Math.floor(n / keys), n % keys)) weights[n] = -0;
}

/** The same by a head's bits, which begin at a whole byte. */
function hideBits(values, bits, head) {
  const from = head * Math.ceil(values.length / 8);
  for (let n = 0; n < values.length; n++) if ((bits[from + (n >> 3)] >> (7 - (n & 7))) & 1) values[n] = -0;
}

/** Σ weight · value; a weight of 0 counts for nothing, NaN included. */
function weighted(row, value, width) {
  const context = new Float64Array(width);
  row.forEach((weight, j) => {
    if (weight !== 0) for (let n = 0; n < width; n++) context[n] += weight * value[j * width + n];
  });
  return Float32Array.from(context);
}

function cut(level, top, left, { rows, columns }) {
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    const from = (top + i) * level.columns + left;
    values.set(level.values.subarray(from, from + columns), i * columns);
  }
  return values;
}
