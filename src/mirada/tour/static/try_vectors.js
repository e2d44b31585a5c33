// Drag a query and a key: their dot product by features, and as length · length · cosine.
import { dot } from "./arithmetic.js";
import { el, fixed, part, svg } from "./elements.js";
import { handle, place, planeOf } from "./handles.js";

const REACH = 2;

/** `about`: query and key, [x, y] each, at first. */
export function tryVectors(host, about, changed = (_state) => {}) {
  const points = { query: [...about.query], key: [...about.key] };
  const plane = planeOf(REACH);
  const behind = svg("g");
  const handles = Object.entries(points).map(([name, point]) =>
    handle(
      plane,
      REACH,
      point,
      name,
      () => show(),
      svg("circle", { class: `tip ${name}`, r: "0.08" }),
      svg("text", { x: "0.13", y: "-0.1", text: name }),
    ),
  );
  plane.append(behind, ...handles);
  const verdict = el("p", { class: "try-verdict", role: "status" });
  const numbers = el("div");

  const show = () => {
    const { query, key } = points;
    Object.values(points).forEach((point, n) => place(handles[n], point));
    const score = dot(query, key);
    const lengths = [Math.hypot(...query), Math.hypot(...key)];
    const cosine = lengths[0] && lengths[1] ? score / (lengths[0] * lengths[1]) : 0;
    behind.replaceChildren(
      axes(),
      shadow(query, key, lengths[1]),
      ...Object.entries(points).map(([name, point]) => arrow(name, point)),
    );
    verdict.textContent = said(score, cosine);
    numbers.replaceChildren(
      line(
        "by features",
        `q · k = ${fixed(query[0])} × ${fixed(key[0])} + ${fixed(query[1])} × ${fixed(key[1])} = ${fixed(score)}`,
      ),
      line(
        "by lengths and angle",
        `‖q‖ ‖k‖ cos θ = ${fixed(lengths[0])} × ${fixed(lengths[1])} × ${fixed(cosine)} = ${fixed(lengths[0] * lengths[1] * cosine)}`,
      ),
      line("the angle", `θ = ${(Math.acos(Math.max(-1, Math.min(1, cosine))) * (180 / Math.PI)).toFixed(0)}°`),
    );
    changed({ query, key, score, cosine });
  };
  host.replaceChildren(
    el("div", { class: "try-row" }, part("Drag the two arrows", plane), part("Their dot product", verdict, numbers)),
  );
  show();
}

function said(score, cosine) {
  const how =
    cosine > 0.99
      ? "They point the same way"
      : cosine > 0.05
        ? "They point to the same side"
        : cosine < -0.05
          ? "They point to opposite sides"
          : "They stand at a right angle";
  return `${how}: the dot product is ${fixed(score)}.`;
}

function line(name, text) {
  return el("p", {}, el("strong", { text: `${name}: ` }), el("span", { text }));
}

function axes() {
  return svg("path", { class: "axis", d: `M${-REACH} 0H${REACH}M0 ${-REACH}V${REACH}` });
}

function arrow(name, /** @type {number[]} */ [x, y]) {
  return svg("path", { class: `arrow ${name}`, d: `M0 0L${x} ${-y}` });
}

/** The query's shadow on the line of the key: its length is ‖q‖ cos θ. */
function shadow(query, key, length) {
  if (!length) return svg("g");
  const along = dot(query, key) / length ** 2;
  return svg("path", { class: "shadow", d: `M${query[0]} ${-query[1]}L${along * key[0]} ${-along * key[1]}L0 0` });
}
