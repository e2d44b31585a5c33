// A layer of a saved page whose tokens are merged or left out: formed here, from its queries and keys or its weights.
import { Table, Vectors, cellEdges } from "./matrix.js";
import { TILE } from "./source.js";

const SLICE = 30; // milliseconds of work between two pauses

export class GroupedLayer {
  /** `special`: the keys that are hidden, so that the others' weights are renormalised. */
  constructor(tokens, about, special, kept) {
    this.tokens = tokens;
    this.about = about;
    this.kept = kept;
    this.number = tokens.number;
    this.hidden = special.length ? new Set(special) : null;
  }

  head(index) {
    return this.kept.get(`head:${this.number}:${index}`, () => new GroupedHead(this, index));
  }

  /** Small maps and measures, as Python finds them of a layer. */
  async overview() {
    const found = [];
    for (let index = 0; index < this.about.heads; index++)
      found.push(overviewOf(await this.head(index).whole(), this.about.thumb));
    const names = PROTOCOL.MEASURES;
    const measures = Object.fromEntries(names.map((name) => [name, found.map((one) => one[name])]));
    const [rows, columns] = this.about.thumb;
    const thumbs = new Float32Array(found.length * rows * columns);
    found.forEach(({ thumb }, n) => thumbs.set(thumb, n * rows * columns));
    return { thumbs, measures };
  }
}

class GroupedHead {
  constructor(layer, index) {
    this.layer = layer;
    this.index = index;
    this.about = layer.about;
    this.exact = true;
    this.hasVectors = false;
    this.made = null;
  }

  /** All weights of all groups. */
  whole() {
    this.made ??= this.form();
    return this.made;
  }

  async form() {
    const { query: rows, key: columns } = this.about.spans;
    const source = await rowsOf(this.layer.tokens.head(this.index), this.layer.hidden);
    const table = new Float32Array(rows.length * columns.length);
    const sums = new Float64Array(columns.length);
    const row = new Float64Array(this.about.tokens.keys);
    let start = performance.now();
    for (let i = 0; i < rows.length; i++) {
      const [first, after] = rows[i];
      sums.fill(-0);
      for (let query = first; query < after; query++) {
        source(query, row);
        for (let j = 0; j < columns.length; j++) {
          for (let key = columns[j][0]; key < columns[j][1]; key++) sums[j] += row[key] / (after - first);
        }
      }
      table.set(sums, i * columns.length);
      if (performance.now() - start > SLICE) {
        await new Promise((resume) => setTimeout(resume));
        start = performance.now();
      }
    }
    return new Table(table, rows.length, columns.length);
  }

  async row(i) {
    return (await this.whole()).row(i);
  }

  async column(j) {
    return (await this.whole()).column(j);
  }

  async entry(i, j) {
    return (await this.whole()).weight(i, j);
  }

  async edges() {
    return (await this.whole()).edges();
  }

  async tile(cell, r, c) {
    const { queries, keys } = this.about;
    const rows = cellEdges(r * TILE * cell, Math.min((r + 1) * TILE * cell, queries), cell);
    const columns = cellEdges(c * TILE * cell, Math.min((c + 1) * TILE * cell, keys), cell);
    return { rows: rows.length - 1, columns: columns.length - 1, values: (await this.whole()).cells(rows, columns) };
  }

  /** A group has no query and no key of its own. */
  async parts() {
    return null;
  }
}

/** Writes a row of single tokens' weights: (query, into). Keys that are hidden get nothing, the rest is renormalised. */
async function rowsOf(head, hidden) {
  const engine = await head.engine();
  if (engine instanceof Vectors) {
    const { mask } = engine;
    const without = hidden && { ...mask, seen: (i, j) => !hidden.has(j) && mask.seen(i, j), holes: true };
    const vectors = hidden ? new Vectors({ ...engine, mask: without }) : engine;
    return (query, into) => vectors.fill(query, into);
  }
  return (query, into) => {
    into.set(engine.row(query));
    if (!hidden) return;
    for (const key of hidden) into[key] = 0;
    const total = into.reduce((sum, weight) => sum + weight, 0);
    if (total > 0) for (let j = 0; j < into.length; j++) into[j] /= total;
  };
}

/** What a head is told apart by: a small map, and a number of each kind. */
function overviewOf(whole, [r, s]) {
  const { queries, keys } = whole;
  const edges = (size, bins) => Array.from({ length: bins + 1 }, (_, n) => Math.floor((n * size) / bins));
  const { entropy, received } = whole.edges();
  const attends = Array.from({ length: queries }, (_, i) => whole.row(i).some((weight) => weight !== 0));
  const count = attends.filter(Boolean).length;
  const own = Array.from({ length: Math.min(queries - 1, keys) }, (_, n) => n + 1);
  const total = (values) => values.reduce((sum, value) => sum + value, 0);
  return {
    thumb: whole.cells(edges(queries, r), edges(keys, s)),
    entropy: total(entropy) / count,
    sink: total(whole.column(0)) / count,
    previous: own.length ? total(own.map((i) => whole.weight(i, i - 1))) / own.filter((i) => attends[i]).length : 0,
    concentration: concentration(received),
  };
}

/** 1 − the entropy of how attention is shared out among the keys, as a part of what it could be. */
function concentration(received) {
  if (received.length === 1) return 1;
  const total = received.reduce((sum, value) => sum + value, 0);
  let entropy = 0;
  for (const value of received) if (value > 0) entropy -= (value / total) * Math.log(value / total);
  return Number.isFinite(total) ? 1 - entropy / Math.log(received.length) : NaN;
}
