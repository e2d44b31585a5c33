// The tiles of a map: asked for, kept, coloured; where one is missing, a coarser one stands in.
import { NOT_FINITE_WORD, scaleWords, signedWords } from "./colour.js";
import { clamp, el } from "./dom.js";
import { logShare } from "./heads.js";
import { isHidden } from "./matrix.js";
import { Kept, TILE } from "./source.js";

/** How a weight becomes a share of the colour scale; a difference below 0 a negative one. */
export function shareOf(mode, keys, largest) {
  if (mode === "log") return (value, width) => Math.sign(value) * logShare(Math.abs(value), width / keys, keys);
  return (value, width) => value / width / largest;
}

function keyOf({ head, cell, r, c }) {
  return `${head.layer.number}:${head.index}:${cell}:${r}:${c}`;
}

export class Tiles {
  constructor(onload, onerror) {
    this.kept = new Kept(160);
    this.onload = onload;
    this.onerror = onerror;
    this.waiting = [];
    this.running = 0;
  }

  /** The tile, where it is there; else it is asked for. */
  find(head, cell, r, c) {
    return this.kept.get(keyOf({ head, cell, r, c }), () => this.asked(head, cell, r, c));
  }

  /** The tile, where it has been asked for. */
  known(head, cell, r, c) {
    return this.kept.map.get(keyOf({ head, cell, r, c }));
  }

  asked(head, cell, r, c) {
    const tile = { state: "waiting", cell, r, c, head, broken: false, hides: false };
    this.waiting.push(tile);
    this.run();
    return tile;
  }

  /** A few at a time, those asked for last first: they are what is being looked at. */
  run() {
    while (this.running < 4 && this.waiting.length > 0) {
      const tile = this.waiting.pop();
      this.running++;
      tile.head
        .tile(tile.cell, tile.r, tile.c)
        .then(
          (found) => Object.assign(tile, found ? { state: "there", ...found } : { state: "absent" }),
          (error) => {
            tile.state = "absent";
            this.onerror(error);
          },
        )
        .finally(() => {
          this.running--;
          this.onload(tile);
          this.run();
        });
    }
    if (this.waiting.length > 64) this.forgetTheOldest();
  }

  forgetTheOldest() {
    for (const tile of this.waiting.splice(0, this.waiting.length - 64)) {
      this.kept.map.delete(keyOf(tile));
    }
  }

  /** The tile as a canvas of as many dots as it has cells, in the colours that `look` says. */
  picture(tile, look) {
    if (tile.look === look.key) return tile.canvas;
    const { keys } = tile.head.about;
    const scale = look.signed ? signedWords(look.dark) : scaleWords(look.dark);
    const [least, zero] = look.signed ? [-255, 255] : [0, 0];
    const share = shareOf(look.mode, keys, look.largest);
    const pixels = new Uint32Array(tile.rows * tile.columns);
    const left = tile.c * TILE * tile.cell;
    for (let m = 0; m < tile.columns; m++) {
      const width = Math.min(tile.cell, keys - left - m * tile.cell);
      for (let n = m; n < pixels.length; n += tile.columns) {
        const finite = Number.isFinite(tile.values[n]);
        tile.broken ||= !finite;
        if (isHidden(tile.values[n])) {
          tile.hides = true;
          continue; // transparent: the map is hatched below
        }
        pixels[n] = finite
          ? scale[zero + clamp(Math.round(255 * share(tile.values[n], width)), least, 255)]
          : NOT_FINITE_WORD;
      }
    }
    tile.canvas ??= el("canvas", { width: tile.columns, height: tile.rows });
    tile.canvas
      .getContext("2d")
      .putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), tile.columns, tile.rows), 0, 0);
    tile.look = look.key;
    return tile.canvas;
  }
}

/** The tiles that cover a window of tokens at `cell` tokens a cell: their rows and columns. */
export function covering({ top, bottom, left, right }, cell, queries, keys) {
  const size = TILE * cell;
  const last = (end, count) => Math.ceil(Math.min(end, count) / size);
  const found = [];
  for (let r = Math.max(0, Math.floor(top / size)); r < last(bottom, queries); r++) {
    for (let c = Math.max(0, Math.floor(left / size)); c < last(right, keys); c++) found.push([r, c]);
  }
  return found;
}

/** The coarsest level: all of the map in one tile. */
export function coarsest(queries, keys) {
  return 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(queries, keys) / TILE)));
}

/** The level that is asked for first: the coarsest, or, of very many tokens, one four times as coarse. */
export function overviewCell(queries, keys) {
  return coarsest(queries, keys) * (Math.max(queries, keys) > 8192 ? 4 : 1);
}
