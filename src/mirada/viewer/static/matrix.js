// The mechanism: weights from queries and keys, and questions to a table of weights.

/** Where cells of `cell` positions begin between `first` and `after`, and where the last ends; it may be cut short. */
export function cellEdges(first, after, cell) {
  const count = Math.ceil((after - first) / cell);
  return Array.from({ length: count + 1 }, (_, n) => Math.min(first + n * cell, after));
}

/** Which query may attend to which key, for one head. `seen(i, j)`, `bias(i, j)`, and the range of keys worth a look. */
export function maskOf(kind, data, head, queries, keys) {
  const whole = () => [0, keys];
  const free = { range: whole, seen: () => true, bias: null };
  if (kind === "none" || !data) return free;
  const unit = kind === "ranges" ? 2 * queries : kind === "bits" ? Math.ceil((queries * keys) / 8) : queries * keys;
  const from = data.length / unit > 1 ? head * unit : 0;
  if (kind === "ranges") {
    const range = (i) => [data[from + 2 * i], data[from + 2 * i + 1]];
    return { range, seen: (i, j) => j >= data[from + 2 * i] && j < data[from + 2 * i + 1], bias: null };
  }
  if (kind === "bits") {
    const seen = (i, j) => ((data[from + ((i * keys + j) >> 3)] >> (7 - ((i * keys + j) & 7))) & 1) === 1;
    return { range: whole, seen, bias: null, holes: true };
  }
  const bias = (i, j) => data[from + i * keys + j];
  return { range: whole, seen: (i, j) => bias(i, j) !== -Infinity, bias, holes: true };
}

/** Whether a weight is one that a mask hides. */
export function isHidden(weight) {
  return Object.is(weight, -0);
}

/** One head as queries and keys. */
export class Vectors {
  constructor({ query, key, scale, queries, keys, width, mask, normalisers = null }) {
    this.query = query;
    this.key = key;
    this.scale = scale;
    this.queries = queries;
    this.keys = keys;
    this.width = width;
    this.mask = mask;
    this.normalisers = normalisers;
  }

  /** q · k, before anything is done to it. */
  score(i, j) {
    const { query, key, width } = this;
    const [a, b] = [i * width, j * width];
    let [sum, more, n] = [0, 0, 0];
    for (; n + 1 < width; n += 2) {
      sum += query[a + n] * key[b + n];
      more += query[a + n + 1] * key[b + n + 1];
    }
    return n < width ? sum + more + query[a + n] * key[b + n] : sum + more;
  }

  /** The scaled and masked score. */
  masked(i, j) {
    if (!this.mask.seen(i, j)) return -Infinity;
    const scaled = this.score(i, j) * this.scale;
    return this.mask.bias ? scaled + this.mask.bias(i, j) : scaled;
  }

  /** Row `i` into `into` at `at`; gives the normaliser, log Σ exp(score). */
  fill(i, into, at = 0) {
    const [first, after] = this.mask.range(i);
    const plain = !this.mask.holes;
    let largest = -Infinity;
    for (let j = first; j < after; j++) {
      const value = plain ? this.score(i, j) * this.scale : this.masked(i, j);
      into[at + j] = value;
      // NaN stays the largest: the row is NaN then, not empty.
      if (value > largest || Number.isNaN(value)) largest = value;
    }
    into.fill(-0, at, at + first);
    into.fill(-0, at + after, at + this.keys);
    if (largest === -Infinity) {
      into.fill(-0, at, at + this.keys);
      return -Infinity;
    }
    let total = 0;
    for (let j = first; j < after; j++) {
      const score = into[at + j];
      // What is hidden has −0: a sum of such weights is −0 again, a visible weight makes it +0 or more.
      total += into[at + j] = score === -Infinity ? -0 : Math.exp(score - largest);
    }
    for (let j = first; j < after; j++) into[at + j] /= total;
    return largest + Math.log(total);
  }

  row(i) {
    const exact = new Float64Array(this.keys);
    this.fill(i, exact);
    return Float32Array.from(exact);
  }

  /** A weight from its score and its row's normaliser. */
  weight(i, j) {
    const score = this.masked(i, j);
    return score === -Infinity ? -0 : Math.exp(score - this.normalisers[i]);
  }

  column(j) {
    const found = new Float32Array(this.queries);
    for (let i = 0; i < this.queries; i++) found[i] = this.weight(i, j);
    return found;
  }

  /** All weights, row after row. */
  whole() {
    const table = new Float32Array(this.queries * this.keys);
    const exact = new Float64Array(this.keys);
    for (let i = 0; i < this.queries; i++) {
      this.fill(i, exact);
      table.set(exact, i * this.keys);
    }
    return new Table(table, this.queries, this.keys);
  }

  cells(rows, columns) {
    return inCells((i, j) => this.weight(i, j), rows, columns);
  }
}

/** One head as its weights. */
export class Table {
  constructor(weights, queries, keys) {
    this.weights = weights;
    this.queries = queries;
    this.keys = keys;
  }

  row(i) {
    return this.weights.subarray(i * this.keys, (i + 1) * this.keys);
  }

  weight(i, j) {
    return this.weights[i * this.keys + j];
  }

  column(j) {
    const found = new Float32Array(this.queries);
    for (let i = 0; i < this.queries; i++) found[i] = this.weights[i * this.keys + j];
    return found;
  }

  cells(rows, columns) {
    return inCells((i, j) => this.weights[i * this.keys + j], rows, columns);
  }

  /** Entropy of each query in nats, and what each key receives. */
  edges() {
    const [entropy, received] = [new Float32Array(this.queries), new Float64Array(this.keys)];
    for (let i = 0; i < this.queries; i++) {
      const from = i * this.keys;
      for (let j = 0; j < this.keys; j++) {
        const weight = this.weights[from + j];
        received[j] += weight;
        if (weight !== 0) entropy[i] -= weight * Math.log(weight);
      }
    }
    return { entropy, received: Float32Array.from(received) };
  }
}

/** Between the edges of blocks: the sum over each block of keys, the mean over each block of queries. */
function inCells(weight, rows, columns) {
  const [r, s] = [rows.length - 1, columns.length - 1];
  const values = new Float64Array(r * s).fill(-0); // of hidden pairs alone it stays so
  for (let n = 0; n < r; n++) {
    const share = 1 / (rows[n + 1] - rows[n]);
    for (let i = rows[n]; i < rows[n + 1]; i++) {
      for (let m = 0; m < s; m++) {
        let sum = -0;
        for (let j = columns[m]; j < columns[m + 1]; j++) sum += weight(i, j);
        values[n * s + m] += sum * share;
      }
    }
  }
  return Float32Array.from(values);
}
