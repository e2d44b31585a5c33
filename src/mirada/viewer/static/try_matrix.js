// Edit a matrix and its mask: scores, weights and context follow.
import { inkOnScale, scaleColour } from "./colour.js";
import { button, el, number } from "./dom.js";

export function matrixTrial(eye, about, send) {
  const matrix = about.example.map((row) => [...row]);
  const size = matrix.length;
  const mask = matrix.map(() => new Array(size).fill(1));
  let [scale, result] = [1, null];
  const out = el("div", { class: "try-row" });
  const again = () =>
    result &&
    out.replaceChildren(
      heatTable("scores  QKᵀ", result.scores, eye),
      heatTable("masked", result.masked, eye),
      heatTable("weights", result.weights, eye),
      heatTable("context", result.context, eye),
    );
  const changed = () =>
    send({ matrix, mask, scale }, (found) => {
      result = found;
      again();
    });
  const cell = (i, j) =>
    el("input", {
      type: "number",
      step: "0.01",
      value: matrix[i][j].toFixed(2),
      aria: { label: `row ${i + 1}, feature ${j + 1}` },
      on: {
        input: (event) => {
          matrix[i][j] = Number(event.target.value) || 0;
          changed();
        },
      },
    });
  const inputs = el("div", { class: "matrix-input" }, ...matrix.flatMap((row, i) => row.map((_, j) => cell(i, j))));
  inputs.style.gridTemplateColumns = `repeat(${matrix[0].length}, 4.6em)`;
  const switches = mask.map((row, i) =>
    row.map((_, j) =>
      button(
        "",
        () => {
          mask[i][j] = 1 - mask[i][j];
          drawMask();
          changed();
        },
        { class: "mask-cell", aria: { label: `query ${i + 1} may attend to key ${j + 1}` } },
      ),
    ),
  );
  const drawMask = () =>
    switches.forEach((row, i) =>
      row.forEach((one, j) => one.setAttribute("aria-pressed", String(Boolean(mask[i][j])))),
    );
  const preset = (words, rule) =>
    button(words, () => {
      mask.forEach((row, i) =>
        row.forEach((_, j) => {
          row[j] = rule(i, j) ? 1 : 0;
        }),
      );
      drawMask();
      changed();
    });
  const presets = el(
    "span",
    { class: "group" },
    preset("all", () => true),
    preset("padding", (_i, j) => j < size - 1),
    preset("causal", (i, j) => j <= i),
    preset("both", (i, j) => j <= i && j < size - 1),
  );
  const scaleInput = el("input", {
    type: "number",
    step: "0.1",
    value: scale,
    on: {
      input: (event) => {
        scale = Number(event.target.value) || 0;
        changed();
      },
    },
  });
  const grid = el("div", { class: "mask-input" }, ...switches.flat());
  grid.style.gridTemplateColumns = `repeat(${size}, 30px)`;
  drawMask();
  changed();
  const part = (title, ...inside) => el("section", { class: "try-part" }, el(eye.heading, { text: title }), ...inside);
  return {
    element: el(
      "div",
      {},
      el(
        "div",
        { class: "try-row" },
        part("The matrix: query, key and value at once", inputs),
        part(
          "Which query may attend to which key",
          grid,
          presets,
          el("label", { class: "choice" }, el("span", { text: "scale" }), scaleInput),
        ),
      ),
      out,
    ),
    again,
  };
}

function heatTable(title, rows, eye) {
  const finite = rows.flat().filter((value) => value !== null);
  const [least, most] = [Math.min(0, ...finite), Math.max(...finite, 1e-9)];
  const cells = rows.map((row) =>
    el(
      "tr",
      {},
      ...row.map((value) => {
        const share = value === null ? 0 : (value - least) / (most - least);
        const cell = el("td", { class: "figure", text: value === null ? "−∞" : number(value, 4) });
        if (value !== null) {
          cell.style.backgroundColor = scaleColour(share, eye.dark());
          cell.style.color = inkOnScale(share, eye.dark());
        }
        return cell;
      }),
    ),
  );
  return el(
    "section",
    { class: "try-part" },
    el(eye.heading, { text: title }),
    el("table", { class: "heat-table", role: "status" }, el("tbody", {}, ...cells)),
  );
}
