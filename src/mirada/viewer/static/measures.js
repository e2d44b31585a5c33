// One number a head: what heads are sorted, filtered and found by.
import { number, percent } from "./dom.js";

/** `unit`: how a number is told; `says`: what it tells. */
const BUILT_IN = {
  entropy: {
    words: "entropy",
    unit: (value) => `${number(value, 2)} nats`,
    says: "how widely it attends, mean over queries",
  },
  sink: { words: "first key", unit: percent, says: "mean weight of the first key (sink)" },
  previous: { words: "previous token", unit: percent, says: "mean weight of the key before the query's own" },
  concentration: {
    words: "concentration",
    unit: percent,
    says: "how unevenly the keys receive attention: 100 % is one key for all",
  },
};

/** Those that take a pass of their own: a live page asks for them when they are chosen. */
const LATER = {
  change: {
    words: "change",
    unit: percent,
    says: "½ Σ |difference| of a query's weights, mean over queries: 0 % is the same, 100 % no key in common",
  },
  induction: { words: "induction", unit: percent, says: "attention on what followed earlier copies of the token" },
  duplicate: { words: "duplicate token", unit: percent, says: "attention on earlier copies of the token" },
};

const LIKE = "like";

/** The measures of a page's heads: which there are, and their numbers. */
export class Measures {
  constructor(eye) {
    this.eye = eye;
    this.layers = eye.layers;
    this.heard = new Set(); // by whom: each gets a layer's number, or null
    this.likeOf = "";
    this.found = {}; // name → layer → head
    this.thumbs = []; // layer → small maps of its heads
    for (const [name, rows] of Object.entries(eye.about.measures ?? {}))
      rows.forEach((row, l) => this.keep(`given:${name}`, l, row));
    this.loaded = Promise.all(
      eye.layers.map(async (layer, l) => {
        const { thumbs, measures } = await layer.overview();
        this.thumbs[l] = thumbs;
        for (const name of Object.keys(BUILT_IN)) this.keep(name, l, measures[name]);
        delete this.found[LIKE];
        this.tell(l);
      }),
    );
    this.loaded.catch((error) => eye.say(error.message));
  }

  tell(layer) {
    for (const heard of this.heard) heard(layer);
  }

  keep(name, layer, values) {
    (this.found[name] ??= [])[layer] = Array.from(values, (value) => value ?? NaN);
  }

  /** name → { words, unit, says } of all that heads can be sorted by. */
  known() {
    const { eye } = this;
    const later = Object.entries(LATER).filter(([name]) => eye.layers.some((layer) => has(layer, name)));
    const given = Object.keys(eye.about.measures ?? {}).map((name) => [`given:${name}`, asGiven(name)]);
    const { layer, head } = this.current();
    const like = {
      words: "like this head",
      unit: percent,
      says: `likeness to ${eye.short[layer]} · head ${head}: mean over rows of Σ √(p · q) of their small maps; 100 % is the same`,
    };
    return {
      ...BUILT_IN,
      ...Object.fromEntries(later),
      ...Object.fromEntries(given),
      ...eye.state.get("measured"), // beside the view: a head's importance, say
      ...(this.count() > 1 ? { [LIKE]: like } : {}),
    };
  }

  /** One head's number; undefined while it isn't there, NaN where there is none. */
  of(name, layer, head) {
    return this.table(name)?.[layer]?.[head];
  }

  /** The same, of what is there already: nothing is asked. */
  ready(name, layer, head) {
    return LATER[name] && !this.found[name] ? undefined : this.of(name, layer, head);
  }

  table(name) {
    const beside = this.eye.state.get("measured")?.[name];
    if (beside) return beside.values;
    if (name === LIKE) return this.likeness();
    if (LATER[name] && !this.found[name]) this.ask(name);
    return this.found[name];
  }

  /** All numbers of a measure that are there and finite. */
  values(name) {
    const table = this.table(name) ?? [];
    return this.eye.layers.flatMap((_, l) => table[l] ?? []).filter(Number.isFinite);
  }

  /** All measures, once the numbers of all of them are there. */
  async everything() {
    await this.loaded;
    const known = this.known();
    for (const name of Object.keys(known)) if (LATER[name] && !this.found[name]) await this.ask(name);
    return known;
  }

  async ask(name) {
    this.found[name] = [];
    // What a page carries is there at once; a live page's layers are asked one after the other.
    for (const [l, layer] of this.eye.layers.entries()) {
      if (!has(layer, name)) {
        this.keep(name, l, Array(layer.about.heads).fill(NaN));
        continue;
      }
      try {
        this.keep(name, l, await layer.measure(name));
      } catch (error) {
        delete this.found[name];
        return this.eye.say(error.message);
      }
      this.tell(null);
    }
    this.tell(null);
  }

  /** How alike each head's small map is to the current head's (Bhattacharyya's coefficient of their rows). */
  likeness() {
    const { layer, head } = this.current();
    const of = `${layer}:${head}`;
    if (this.found[LIKE] && this.likeOf === of) return this.found[LIKE];
    if (!this.thumbs[layer]) return undefined;
    this.likeOf = of;
    const own = roots(this.thumbOf(layer, head));
    const [rows, columns] = this.eye.layers[layer].about.thumb;
    this.found[LIKE] = this.eye.layers.map((other, l) => {
      const same = other.about.thumb[0] === rows && other.about.thumb[1] === columns;
      if (!this.thumbs[l]) return [];
      return Array.from({ length: other.about.heads }, (_, h) =>
        same ? alike(own, roots(this.thumbOf(l, h)), columns) : NaN,
      );
    });
    return this.found[LIKE];
  }

  thumbOf(layer, head) {
    const [rows, columns] = this.eye.layers[layer].about.thumb;
    return this.thumbs[layer].subarray(head * rows * columns, (head + 1) * rows * columns);
  }

  current() {
    return { layer: this.eye.state.get("layer"), head: this.eye.state.get("head") };
  }

  count() {
    return this.eye.layers.reduce((sum, layer) => sum + layer.about.heads, 0);
  }
}

function asGiven(name) {
  return { words: name, unit: (value) => number(value, 3), says: "as given" };
}

function has(layer, name) {
  return Boolean(layer.about.measures?.[name] ?? layer.about.later?.includes(name));
}

function roots(values) {
  return values.map(Math.sqrt);
}

/** Σ √(p · q), the mean over the rows that hold anything in either. */
function alike(a, b, columns) {
  let [sum, rows] = [0, 0];
  for (let at = 0; at < a.length; at += columns) {
    let [product, anything] = [0, false];
    for (let n = at; n < at + columns; n++) {
      product += a[n] * b[n];
      anything ||= a[n] !== 0 || b[n] !== 0;
    }
    if (!anything) continue;
    sum += product;
    rows++;
  }
  return rows ? sum / rows : NaN;
}
