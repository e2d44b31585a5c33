// Draw a digit: what the model says it is, and what each patch (or pixel) attends to, head by head.
import { drawInk, drawWeights, pointOf } from "./digit_picture.js";
import { button, clamp, el, largest, part, percent, svg } from "./elements.js";
import { bars } from "./weights_picture.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** `about`: size, classes, example (ink of a digit), grid (rows, columns of what attends) and its name. */
export function tryDigit(host, model, about, changed = (_state) => {}) {
  const { size, classes, grid, unit } = about;
  const ink = Float64Array.from(about.example);
  const cursor = { x: size[1] >> 1, y: size[0] >> 1 };
  let query = about.query;
  const paper = picture(
    "Draw here with the pointer; by keyboard: arrow keys move, space draws, Delete removes the ink",
  );
  const seen = picture(`What a ${unit} attends to, mean of the heads: arrow keys choose the ${unit}`);
  const heads = el("div", { class: "try-heads" });
  const verdict = el("p", { class: "try-verdict", role: "status" });
  const probabilities = el("div");

  const show = () => {
    const found = model(ink);
    drawInk(paper, ink, size);
    if (document.activeElement === paper)
      paper.append(svg("rect", { class: "cursor", x: cursor.x, y: cursor.y, width: 1, height: 1 }));
    const rows = found.heads.map((head) => head.weights[query]);
    const mean = rows[0].map((_, j) => rows.reduce((sum, row) => sum + row[j], 0) / rows.length);
    drawInk(seen, ink, size);
    drawWeights(seen, mean, query, size, grid);
    heads.replaceChildren(...(rows.length > 1 ? rows.map((row, n) => headPicture(row, n)) : []));
    const best = largest(found.probabilities);
    verdict.textContent = `It says ${classes[best]}, with a probability of ${percent(found.probabilities[best])}. ${unit[0].toUpperCase()}${unit.slice(1)} ${query + 1} attends most to ${unit} ${largest(mean) + 1} (${percent(mean[largest(mean)])}).`;
    probabilities.replaceChildren(bars(classes, found.probabilities, best));
    changed({ ink, query, found });
  };
  const headPicture = (row, n) => {
    const small = svg("svg", { role: "img", "aria-label": `head ${n + 1}` });
    drawInk(small, ink, size);
    drawWeights(small, row, query, size, grid);
    return el("figure", {}, small, el("figcaption", { text: `head ${n + 1}` }));
  };

  drawing(paper, ink, size, cursor, show);
  choosing(
    seen,
    size,
    grid,
    () => query,
    (next) => {
      query = next;
      show();
    },
  );
  const clear = () => {
    ink.fill(0);
    show();
  };
  const example = () => {
    ink.set(about.example);
    show();
  };
  host.replaceChildren(
    el(
      "div",
      { class: "try-row" },
      part(
        "Draw a digit",
        paper,
        el("div", { class: "try-tools" }, button("Clear", clear), button("An example", example)),
      ),
      part(
        `What a ${unit} attends to`,
        seen,
        el("p", {
          class: "try-hint",
          text: `Point at a ${unit}, or tap it: it is the query, framed blue. The keys that it attends to are orange.`,
        }),
        heads,
      ),
      part("What the model says", verdict, probabilities),
    ),
  );
  show();
}

function picture(label) {
  return svg("svg", { class: "try-image", tabindex: "0", role: "application", "aria-label": label });
}

/** The hand's ink, soft at the edge as a pen's is. */
function drawing(paper, ink, size, cursor, show) {
  const [, width] = size;
  const reach = Math.max(0.75, width / 22);
  let before = null;
  const dab = ({ x, y }) =>
    ink.forEach((value, n) => {
      const far = Math.hypot((n % width) + 0.5 - x, Math.floor(n / width) + 0.5 - y);
      ink[n] = Math.max(value, Math.round(255 * clamp(reach + 0.5 - far, 0, 1)));
    });
  paper.addEventListener("pointerdown", (event) => {
    paper.setPointerCapture(event.pointerId);
    dab((before = pointOf(event, paper, size)));
    show();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!before) return;
    const point = pointOf(event, paper, size);
    const steps = Math.ceil(3 * Math.hypot(point.x - before.x, point.y - before.y));
    for (let n = 1; n <= steps; n++)
      dab({ x: before.x + ((point.x - before.x) * n) / steps, y: before.y + ((point.y - before.y) * n) / steps });
    before = point;
    show();
  });
  for (const name of ["pointerup", "pointercancel"])
    paper.addEventListener(name, () => {
      before = null;
    });
  for (const name of ["focus", "blur"]) paper.addEventListener(name, show);
  paper.addEventListener("keydown", (event) => {
    if (event.key === " ") dab({ x: cursor.x + 0.5, y: cursor.y + 0.5 });
    else if (event.key === "Delete" || event.key === "Backspace") ink[cursor.y * width + cursor.x] = 0;
    else if (ARROWS[event.key]) Object.assign(cursor, moved(cursor, event.key, size));
    else return;
    event.preventDefault();
    show();
  });
}

function choosing(node, size, [rows, columns], chosen, choose) {
  const take = (event) => {
    const { x, y } = pointOf(event, node, size);
    const [column, row] = [
      clamp(Math.floor((x / size[1]) * columns), 0, columns - 1),
      clamp(Math.floor((y / size[0]) * rows), 0, rows - 1),
    ];
    if (row * columns + column !== chosen()) choose(row * columns + column);
  };
  for (const name of ["pointermove", "pointerdown"]) node.addEventListener(name, take);
  node.addEventListener("keydown", (event) => {
    if (!ARROWS[event.key]) return;
    event.preventDefault();
    const { x, y } = moved({ x: chosen() % columns, y: Math.floor(chosen() / columns) }, event.key, [rows, columns]);
    choose(y * columns + x);
  });
}

function moved({ x, y }, key, [height, width]) {
  const [across, down] = ARROWS[key];
  return { x: clamp(x + across, 0, width - 1), y: clamp(y + down, 0, height - 1) };
}
