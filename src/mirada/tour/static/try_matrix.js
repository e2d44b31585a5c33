// Edit a matrix and its mask: scores, weights and context follow.
import { attend } from "./attention.js";
import { button, el, part } from "./elements.js";
import { matrixTable } from "./weights_picture.js";

const MASKS = {
  none: () => true,
  padding: (_i, j, count) => j < count - 1,
  causal: (i, j) => j <= i,
  both: (i, j, count) => j <= i && j < count - 1,
};

/** `about`: numbers, the rows that are query, key and value at once. */
export function tryMatrix(host, about, changed = (_state) => {}) {
  const count = about.numbers.length;
  const width = about.numbers[0].length;
  const names = about.numbers.map((_, n) => `row ${n + 1}`);
  const numbers = about.numbers.map((row) => [...row]);
  let mask = maskOf("padding");
  let scale = 1;
  const results = el("div", { class: "try-results", role: "status" });
  const fields = el("div", { class: "try-scroll", tabindex: "0", role: "region", "aria-label": "The rows, to edit" });
  const boxes = el("div", { class: "try-scroll", tabindex: "0", role: "region", "aria-label": "The mask, to edit" });

  function maskOf(kind) {
    return names.map((_, i) => names.map((_, j) => MASKS[kind](i, j, count)));
  }
  const show = () => {
    const found = attend(numbers, numbers, numbers, { scale, mask });
    const hidden = mask.map((row) => row.map((may) => !may));
    const features = Array.from({ length: width }, (_, n) => String(n + 1));
    results.replaceChildren(
      matrixTable({
        caption: `scores: row · row${scale === 1 ? "" : `, divided by √${width}`}; −∞ where masked`,
        numbers: found.masked,
        rows: names,
        columns: names,
        hidden,
      }),
      matrixTable({
        caption: "weights: softmax of each row",
        numbers: found.weights,
        rows: names,
        columns: names,
        hidden,
        shaded: true,
        kind: "percent",
      }),
      matrixTable({
        caption: "context: the rows, weighted by the weights and added up",
        numbers: found.context,
        rows: names,
        columns: features,
      }),
    );
    changed({ numbers, mask, scale, found });
  };
  const field = (i, j) => {
    const input = el("input", {
      type: "number",
      step: "0.1",
      value: String(numbers[i][j]),
      "aria-label": `row ${i + 1}, number ${j + 1}`,
    });
    input.addEventListener("input", () => {
      const value = Number(input.value);
      const valid = input.value.trim() !== "" && Number.isFinite(value) && Math.abs(value) <= 1e6;
      input.setAttribute("aria-invalid", String(!valid));
      if (!valid) return;
      numbers[i][j] = value;
      show();
    });
    return el("td", {}, input);
  };
  const table = (caption, head, cell) =>
    el(
      "table",
      { class: "try-table" },
      el("caption", { text: caption }),
      el(
        "tbody",
        {},
        ...names.map((name, i) =>
          el("tr", {}, el("th", { scope: "row", text: name }), ...head.map((_, j) => cell(i, j))),
        ),
      ),
    );
  const drawFields = () => fields.replaceChildren(table("each row is query, key and value", numbers[0], field));
  const drawMask = () =>
    boxes.replaceChildren(
      table("may row (down) attend to row (across)?", names, (i, j) => {
        const box = el("input", { type: "checkbox", "aria-label": `row ${i + 1} may attend to row ${j + 1}` });
        box.checked = mask[i][j];
        box.addEventListener("change", () => {
          mask[i][j] = box.checked;
          show();
        });
        return el("td", { class: "box" }, box);
      }),
    );
  const take = (kind) => () => {
    mask = maskOf(kind);
    drawMask();
    show();
  };
  const divide = el("input", { type: "checkbox" });
  divide.addEventListener("change", () => {
    scale = divide.checked ? 1 / Math.sqrt(width) : 1;
    show();
  });
  const reset = () => {
    about.numbers.forEach((row, i) => {
      numbers[i] = [...row];
    });
    drawFields();
    show();
  };
  drawFields();
  drawMask();
  host.replaceChildren(
    part(
      "Edit the numbers",
      fields,
      el(
        "div",
        { class: "try-tools" },
        button("As at first", reset),
        el("label", {}, divide, ` divide the scores by √${width}`),
      ),
    ),
    part(
      "Edit the mask",
      boxes,
      el("div", { class: "try-tools" }, ...Object.keys(MASKS).map((kind) => button(kind, take(kind)))),
    ),
    part("What follows", results),
  );
  show();
}
