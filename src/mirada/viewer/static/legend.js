// What colours mean: a ramp, ticks below it, and words.
import { el } from "./dom.js";

const STEPS = 32;

/** `colourAt(share)` gives CSS for 0 … 1; `ticks` are [share, words]; `says` stands beside. */
export function legend(colourAt, ticks, says) {
  // Boxes, not a gradient: they are saved and printed as they are.
  const boxes = Array.from({ length: STEPS }, (_, n) => {
    const box = el("span");
    box.style.backgroundColor = colourAt(n / (STEPS - 1));
    return box;
  });
  const marks = apart(ticks).map(([share, words]) => {
    const tick = el("span", { class: "tick", text: words });
    tick.style.left = `${100 * share}%`;
    return tick;
  });
  const scale = el("span", { class: "scale", role: "img", aria: { label: `Colour scale: ${says}` } });
  scale.append(el("span", { class: "ramp" }, ...boxes), ...marks);
  return [scale, el("span", { class: "soft", text: says })];
}

/** Ticks without those that would run into the one before, or into the last. */
function apart(ticks) {
  const room = ([, words]) => 0.022 * (words.length + 2);
  const last = ticks.at(-1);
  const kept = [];
  for (const tick of ticks.slice(0, -1)) {
    const before = kept.at(-1);
    const clear = (other) => Math.abs(tick[0] - other[0]) > (room(tick) + room(other)) / 2;
    if ((!before || clear(before)) && clear(last)) kept.push(tick);
  }
  return last ? [...kept, last] : [];
}
