// Drag two corners of a square: where do the models put the other two, and which corner does the decoder attend to?
import { clamp, el, fixed, part, percent, svg } from "./elements.js";
import { handle, place, planeOf } from "./handles.js";
import { matrixTable } from "./weights_picture.js";

const REACH = 1.9;
// Where the marks' numbers stand: the third model's marks lie mostly on the second's, one number is enough.
const LABELS = { none: { x: "-0.2", y: "0.05" }, single: { x: "0.12", y: "0.16" } };
const MARKS = { none: "cross", single: "dot", multihead: "ring" };

/** `models`: each by its attention (none, single, multihead); `about`: example, two corners, and words for the models. */
export function tryCorners(host, models, about, changed = (_state) => {}) {
  const corners = about.example.map((corner) => [...corner]);
  const plane = planeOf(REACH);
  const behind = svg("g");
  const handles = corners.map((corner, n) =>
    handle(
      plane,
      REACH,
      corner,
      `corner ${n + 1}`,
      () => show(),
      svg("circle", { class: "corner", r: "0.09" }),
      svg("text", { x: "0.13", y: "-0.1", text: String(n + 1) }),
    ),
  );
  plane.append(behind, ...handles);
  const verdict = el("p", { class: "try-verdict", role: "status" });
  const numbers = el("div");

  const show = () => {
    const found = Object.fromEntries(Object.entries(models).map(([name, model]) => [name, model(corners)]));
    handles.forEach((node, n) => place(node, corners[n]));
    behind.replaceChildren(
      frame(),
      path(corners),
      ...Object.entries(found).flatMap(([name, { points }]) =>
        points.map((point, n) => mark(name, point, corners.length + n + 1)),
      ),
    );
    const [first] = found[about.attends].steps;
    const weights = first.heads[0].weights[0];
    verdict.textContent = `Point 3 of “${about.words[about.attends]}” is ${fixed(first.point[0])}, ${fixed(first.point[1])}; its query gives corner 1 ${percent(weights[0])} of its attention and corner 2 ${percent(weights[1])}.`;
    numbers.replaceChildren(...tables(found[about.attends]));
    changed({ corners, found });
  };
  const legend = el(
    "ul",
    { class: "try-legend" },
    ...Object.keys(models).map((name) =>
      el(
        "li",
        {},
        svg("svg", { viewBox: "-0.15 -0.15 0.3 0.3", "aria-hidden": "true" }, symbol(name)),
        el("span", { text: about.words[name] }),
      ),
    ),
  );
  host.replaceChildren(
    el(
      "div",
      { class: "try-row" },
      part("Drag the corners 1 and 2", plane, legend),
      part("The decoder's attention, step by step", verdict, numbers),
    ),
  );
  show();
}

function tables({ steps }) {
  const points = steps.map((_, n) => `point ${n + 3}`);
  const corners = ["corner 1", "corner 2"];
  const rows = (name) => steps.map((step) => step.heads[0][name][0]);
  const state = (vectors, names, caption) =>
    matrixTable({ caption, numbers: vectors, rows: names, columns: ["first", "second"] });
  return [
    state(rows("query"), points, "query: the decoder's state, projected"),
    state(steps[0].heads[0].key, corners, "key: the encoder's state after each corner, projected"),
    matrixTable({ caption: "scores divided by √2", numbers: rows("scaled"), rows: points, columns: corners }),
    matrixTable({
      caption: "weights: softmax of the row",
      numbers: rows("weights"),
      rows: points,
      columns: corners,
      shaded: true,
      kind: "percent",
    }),
  ];
}

function frame() {
  return svg("path", { class: "ideal", d: "M-1 -1H1V1H-1Z" });
}

function path(corners) {
  return svg("path", { class: "walk", d: `M${corners.map(([x, y]) => `${x} ${-y}`).join("L")}` });
}

function mark(name, [x, y], number) {
  return svg(
    "g",
    { transform: `translate(${clamp(x, -REACH, REACH)} ${-clamp(y, -REACH, REACH)})` },
    symbol(name),
    LABELS[name] ? svg("text", { ...LABELS[name], text: String(number) }) : "",
  );
}

function symbol(name) {
  const shape = {
    cross: { d: "M-.07 -.07L.07 .07M-.07 .07L.07 -.07" },
    dot: { d: "M-.08 0A.08 .08 0 1 0 .08 0A.08 .08 0 1 0 -.08 0Z" },
    ring: { d: "M-.09 0A.09 .09 0 1 0 .09 0A.09 .09 0 1 0 -.09 0Z" },
  }[MARKS[name]];
  return svg("path", { class: `mark ${MARKS[name]}`, ...shape });
}
