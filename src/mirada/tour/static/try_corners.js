// Drag two corners of a square: where do the models put the other two, and which corner does the decoder attend to?
import { clamp, el, fixed, part, percent, svg } from "./elements.js";
import { matrixTable } from "./weights_picture.js";

const REACH = 1.9;
// Where the marks' numbers stand: the third model's marks lie mostly on the second's, one number is enough.
const LABELS = { none: { x: "-0.2", y: "0.05" }, single: { x: "0.12", y: "0.16" } };
const MARKS = { none: "cross", single: "dot", multihead: "ring" };

/** `models`: each by its attention (none, single, multihead); `about`: example, two corners, and words for the models. */
export function tryCorners(host, models, about, changed = (_state) => {}) {
  const corners = about.example.map((corner) => [...corner]);
  const plane = svg("svg", { class: "try-plane", viewBox: `${-REACH} ${-REACH} ${2 * REACH} ${2 * REACH}` });
  const behind = svg("g");
  const handles = corners.map((_, n) => handle(n));
  plane.append(behind, ...handles);
  const verdict = el("p", { class: "try-verdict", role: "status" });
  const numbers = el("div");

  function handle(n) {
    const node = svg(
      "g",
      {
        class: "handle",
        tabindex: "0",
        role: "slider",
        "aria-label": `corner ${n + 1}`,
        "aria-valuemin": String(-REACH),
        "aria-valuemax": String(REACH),
      },
      svg("circle", { class: "grip", r: "0.26" }),
      svg("circle", { class: "corner", r: "0.09" }),
      svg("text", { x: "0.13", y: "-0.1", text: String(n + 1) }),
    );
    let held = false;
    const move = (x, y) => {
      corners[n] = [clamp(x, -REACH + 0.1, REACH - 0.1), clamp(y, -REACH + 0.1, REACH - 0.1)];
      show();
    };
    node.addEventListener("pointerdown", (event) => {
      held = true;
      node.setPointerCapture(event.pointerId);
    });
    node.addEventListener("pointermove", (event) => {
      if (!held) return;
      const box = plane.getBoundingClientRect();
      move(
        ((event.clientX - box.left) / box.width - 0.5) * 2 * REACH,
        -((event.clientY - box.top) / box.height - 0.5) * 2 * REACH,
      );
    });
    for (const name of ["pointerup", "pointercancel"])
      node.addEventListener(name, () => {
        held = false;
      });
    node.addEventListener("keydown", (event) => {
      const [x, y] = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[
        event.key
      ] ?? [0, 0];
      if (!x && !y) return;
      event.preventDefault();
      move(corners[n][0] + x, corners[n][1] + y);
    });
    return node;
  }

  const show = () => {
    const found = Object.fromEntries(Object.entries(models).map(([name, model]) => [name, model(corners)]));
    handles.forEach((node, n) => {
      node.setAttribute("transform", `translate(${corners[n][0]} ${-corners[n][1]})`);
      node.setAttribute("aria-valuenow", corners[n][0].toFixed(2));
      node.setAttribute("aria-valuetext", `x ${fixed(corners[n][0])}, y ${fixed(corners[n][1])}`);
    });
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
