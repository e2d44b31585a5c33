// How a pair is drawn that a mask hides: hatched, in every view alike. Its weight is −0 (`mirada.viewer.hidden`).
import { el } from "./dom.js";

const SIDE = 6; // pixels from line to line

const COLOURS = { light: ["#fbfaf6", "#b9b5a8"], dark: ["#10161b", "#4d5b66"] };

const PATTERNS = new Map();

/** A canvas' fill style. */
export function hatching(context, dark) {
  if (!PATTERNS.has(dark)) PATTERNS.set(dark, tile(dark));
  return context.createPattern(PATTERNS.get(dark), "repeat");
}

function tile(dark) {
  const [paper, line] = COLOURS[dark ? "dark" : "light"];
  const canvas = el("canvas", { width: SIDE, height: SIDE });
  const context = canvas.getContext("2d");
  context.fillStyle = paper;
  context.fillRect(0, 0, SIDE, SIDE);
  context.strokeStyle = line;
  context.lineWidth = 1;
  for (const x of [-SIDE, 0, SIDE]) {
    context.beginPath();
    context.moveTo(x - 1, SIDE + 1);
    context.lineTo(x + SIDE + 1, -1);
    context.stroke();
  }
  return canvas;
}

/** What hatching stands for, beside a legend. */
export function hiddenSwatch() {
  return el("span", { class: "soft nan-swatch" }, el("span", { class: "swatch hatched" }), "hidden by the mask");
}
