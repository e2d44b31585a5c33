// What is drawn over and around a map: numbers in cells, the cross-hair, the edges, the words, the legend.
import { NOT_FINITE, css, inkOn, inkOnScale, scaleColour, signedColour } from "./colour.js";
import { el, number, wordOf } from "./dom.js";
import { hiddenSwatch } from "./hatch.js";
import { legend } from "./legend.js";
import { isHidden } from "./matrix.js";
import { TILE } from "./source.js";
import { covering, shareOf } from "./tiles.js";

/** Room around the plot, in pixels. */
export const MARGIN = { left: 104, top: 84, right: 62, bottom: 62 };
const READABLE = 13; // pixels to a token from which on words are written
const NUMBERED = 38; // … and numbers in the cells

/** From close by, each weight in its cell. */
export function paintNumbers(map, context) {
  if (map.place.scale < NUMBERED) return;
  const { queries, keys } = map.head.about;
  const share = shareOf(map.mode, keys, map.largest ?? 1);
  const { left, top, right, bottom } = map.window();
  context.font = `${Math.min(13, map.place.scale / 3.4)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const [r, c] of covering(map.window(), 1, queries, keys)) {
    const tile = map.tiles.find(map.head, 1, r, c);
    if (tile.state !== "there") continue;
    for (let i = Math.max(r * TILE, Math.floor(top)); i < Math.min(r * TILE + tile.rows, bottom); i++) {
      for (let j = Math.max(c * TILE, Math.floor(left)); j < Math.min(c * TILE + tile.columns, right); j++) {
        const value = tile.values[(i - r * TILE) * tile.columns + j - c * TILE];
        if (isHidden(value)) continue;
        context.fillStyle = inkOf(value, share, map);
        context.fillText(shortWeight(value), ...map.middle(i, j));
      }
    }
  }
}

function inkOf(value, share, map) {
  if (!Number.isFinite(value)) return inkOn(NOT_FINITE);
  const dark = map.eye.dark();
  return map.head.about.signed ? inkOn(signedColour(share(value, 1), dark)) : inkOnScale(share(value, 1), dark);
}

/** The row of the query and the column of the key. */
export function paintCross(map, context, ink) {
  const { state } = map.eye;
  const { width, height } = map.drawn();
  const [x, y] = map.middle(state.get("query"), state.get("key"));
  const half = Math.max(0.5, map.place.scale / 2);
  context.save();
  context.beginPath();
  context.rect(map.plot.left, map.plot.top, width, height);
  context.clip();
  context.strokeStyle = ink.warm;
  context.lineWidth = 1;
  context.globalAlpha = 0.75;
  if (half > 3) {
    context.strokeRect(map.plot.left, y - half, width, 2 * half);
    context.strokeRect(x - half, map.plot.top, 2 * half, height);
  } else {
    context.fillStyle = ink.warm;
    context.fillRect(map.plot.left, y - 0.5, width, 1);
    context.fillRect(x - 0.5, map.plot.top, 1, height);
  }
  context.restore();
}

/** Entropy of the queries along the right edge, attention received by the keys along the lower one. */
export function paintEdges(map, context, ink) {
  const { width, height } = map.drawn();
  context.save();
  context.strokeStyle = ink.line;
  context.strokeRect(map.plot.left - 0.5, map.plot.top - 0.5, width + 1, height + 1);
  if (!map.alone) return context.restore();
  context.fillStyle = ink.soft;
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "alphabetic";
  context.textAlign = "left";
  const right = map.plot.left + width + 8;
  const below = map.plot.top + height + 8;
  context.fillText("entropy", right, map.plot.top - 6);
  context.textAlign = "right";
  context.fillText("received", map.plot.left - 8, below + 12);
  if (map.edges) {
    const most = maximum(map.edges.entropy);
    bars(
      map,
      map.edges.entropy,
      map.place.y,
      height,
      (at, share, size) => context.fillRect(right, map.plot.top + at, share * 44, size),
      most,
      context,
      ink,
    );
    const peak = maximum(map.edges.received);
    bars(
      map,
      map.edges.received,
      map.place.x,
      width,
      (at, share, size) => context.fillRect(map.plot.left + at, below, size, share * 44),
      peak,
      context,
      ink,
    );
    context.fillStyle = ink.soft;
    context.textAlign = "right";
    context.fillText(
      map.edges.received.every(Number.isFinite) ? `≤ ${number(peak, peak < 10 ? 2 : 0)}` : "NaN",
      map.plot.left - 8,
      below + 26,
    );
    context.textAlign = "left";
    context.fillText(
      map.edges.entropy.every(Number.isFinite) ? `≤ ${number(most, 2)}` : "NaN",
      right,
      map.plot.top - 19,
    );
  }
  context.restore();
}

/** One bar a token, or one a pixel with the largest of its tokens. */
function bars(map, values, from, pixels, bar, most, context, ink) {
  context.fillStyle = ink.accent;
  const { scale } = map.place;
  const step = Math.max(1, scale);
  for (let at = -((from * scale) % step); at < pixels; at += step) {
    const first = Math.max(0, Math.round(from + at / scale));
    const after = Math.max(first + 1, Math.round(from + (at + step) / scale));
    let largest = 0;
    for (let n = first; n < after && n < values.length; n++) largest = Math.max(largest, values[n]);
    const start = Math.max(0, at);
    bar(start, largest / (most || 1), Math.max(0, Math.min(at + step, pixels) - start - (step > 4 ? 1 : 0)));
  }
}

/** Words where they can be read, positions where they can't. */
export function paintLabels(map, context, ink) {
  const { width, height } = map.drawn();
  const { scale, x, y } = map.place;
  const { query, key } = { query: map.eye.state.get("query"), key: map.eye.state.get("key") };
  const every = scale >= READABLE ? 1 : nice(64 / scale);
  context.save();
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (let i = Math.ceil(y / every) * every; i < y + height / scale; i += every) {
    const at = map.plot.top + (i + 0.5 - y) * scale;
    if (at < map.plot.top - 1 || at > map.plot.top + height + 1) continue;
    context.fillStyle = i === query ? ink.warm : ink.ink;
    context.fillText(
      fitting(context, every === 1 ? map.queryWords[i] : String(i), map.margin.left - 16),
      map.plot.left - 8,
      at,
    );
  }
  context.textAlign = "left";
  for (let j = Math.ceil(x / every) * every; j < x + width / scale; j += every) {
    const at = map.plot.left + (j + 0.5 - x) * scale;
    if (at < map.plot.left - 1 || at > map.plot.left + width + 1) continue;
    context.fillStyle = j === key ? ink.warm : ink.ink;
    context.save();
    context.translate(at, map.plot.top - 8);
    context.rotate(every === 1 ? -Math.PI / 3.2 : 0);
    context.textAlign = every === 1 ? "left" : "center";
    context.fillText(fitting(context, every === 1 ? map.keyWords[j] : String(j), map.margin.top - 6), 0, 0);
    context.restore();
  }
  context.restore();
}

/** What the colours mean. */
export function drawLegend(map) {
  const { keys, signed } = map.head.about;
  const dark = map.eye.dark();
  const share = shareOf(map.mode, keys, map.largest ?? 1);
  const log = map.mode === "log";
  const marks = log
    ? [0.25, 1, 10, 100, 1000, 10000].filter((times) => times <= keys)
    : [0, 0.25, 0.5, 0.75, 1].map((part) => part * (map.largest ?? 1));
  const words = (mark) => (log ? `${mark === 0.25 ? "¼" : mark}×` : number(mark, mark && map.largest < 0.1 ? 4 : 2));
  const ticks = marks.map((mark) => [share(log ? mark / keys : mark, 1), words(mark)]);
  const unit = log ? `even share = 1/${keys}` : "weight of a key";
  map.legend.replaceChildren(
    ...(signed ? signedLegend(ticks, unit, log, dark) : legend((at) => scaleColour(at, dark), ticks, unit)),
    map.shows.broken ? notFinite() : "",
    map.shows.hides ? hiddenSwatch() : "",
  );
}

/** Both ways from 0; of logarithmic colours ¼ of an even share lies in the middle. */
function signedLegend(ticks, unit, log, dark) {
  const beyond = ticks.slice(1);
  const [first, zero] = [log ? "" : "−", log ? "±" : ""];
  const left = beyond.map(([at, words]) => [(1 - at) / 2, `${log ? "−" : first}${words}`]).reverse();
  const right = beyond.map(([at, words]) => [(1 + at) / 2, `+${words}`]);
  const all = [...left, [0.5, `${zero}${ticks[0][1]}`], ...right];
  return legend((at) => css(signedColour(2 * at - 1, dark)), all, `change; ${unit}`);
}

/** What the colour on no scale stands for. */
function notFinite() {
  const swatch = el("span", { class: "swatch" });
  swatch.style.backgroundColor = css(NOT_FINITE);
  return el("span", { class: "soft nan-swatch" }, swatch, "not finite");
}

function maximum(values) {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  return most;
}

function shortWeight(value) {
  if (!Number.isFinite(value)) return number(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size < 0.0005 ? size.toExponential(0).replace("-", "−") : size.toFixed(3).replace(/^0/, "");
  return value < 0 ? `−${text}` : text;
}

/** 1, 2 or 5 times a power of ten, at least so large. */
function nice(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= least - 1e-9);
}

/** As much of a word as there is room for. */
function fitting(context, word, room) {
  const shown = wordOf(word, 40);
  if (context.measureText(shown).width <= room) return `\u2068${shown}\u2069`;
  let letters = [...shown];
  while (letters.length > 1 && context.measureText(`${letters.join("")}…`).width > room) letters = letters.slice(0, -1);
  return `\u2068${letters.join("")}…\u2069`;
}
