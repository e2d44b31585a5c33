// What changed between two layers of one shape: the numbers of the second less those of the first.

import { isHidden } from "./matrix.js";

/** A layer, as the views know it, whose weights are differences: between −1 and 1. */
export class DifferenceLayer {
  constructor(before, after) {
    this.before = before;
    this.after = after;
    this.about = { ...after.about, signed: true };
    this.number = `${after.number}−${before.number}`;
    this.heads = [];
  }

  head(index) {
    return (this.heads[index] ??= new DifferenceHead(this, index));
  }
}

class DifferenceHead {
  constructor(layer, index) {
    this.layer = layer;
    this.index = index;
    this.about = layer.about;
  }

  /** The answers of both heads to one question; null where either has none. */
  async both(ask) {
    const [a, b] = await Promise.all([this.layer.before, this.layer.after].map((layer) => ask(layer.head(this.index))));
    return a === null || b === null ? null : [a, b];
  }

  async tile(cell, r, c) {
    const tiles = await this.both((head) => head.tile(cell, r, c));
    return tiles && { ...tiles[1], values: less(tiles[0].values, tiles[1].values) };
  }

  async entry(i, j) {
    const both = await this.both((head) => head.entry(i, j));
    return both && lessOne(...both);
  }

  async row(i) {
    const both = await this.both((head) => head.row(i));
    return both && less(...both);
  }

  /** Entropy and attention received have edges of their own in both maps. */
  async edges() {
    return null;
  }
}

/** b − a, element by element. */
export function less(a, b) {
  return Float32Array.from(b, (value, n) => lessOne(a[n], value));
}

/** −0, as of a pair that a mask hides, where both are hidden; the same number twice is 0. */
function lessOne(a, b) {
  return isHidden(a) && isHidden(b) ? -0 : b - a + 0;
}
