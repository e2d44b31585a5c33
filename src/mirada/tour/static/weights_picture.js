// A matrix as a table whose cells are shaded: weights in the key's orange, masked cells hatched.
import { el, fixed, percent } from "./elements.js";

/** `numbers` (rows, columns); `hidden` (rows, columns) marks masked cells; `shades` from 0 to 1, by default none. */
export function matrixTable({ caption, numbers, rows, columns, hidden = null, shaded = false, kind = "number" }) {
  const write = kind === "percent" ? percent : (value) => fixed(value, 3);
  const head = el("tr", {}, el("td"), ...columns.map((name) => el("th", { scope: "col", text: name })));
  const body = numbers.map((row, i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", text: rows[i] }),
      ...Array.from(row, (value, j) => cell(value, hidden?.[i][j], shaded, write)),
    ),
  );
  return el(
    "div",
    { class: "try-scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      { class: "try-table" },
      el("caption", { text: caption }),
      el("thead", {}, head),
      el("tbody", {}, ...body),
    ),
  );
}

function cell(value, hidden, shaded, write) {
  if (hidden) return el("td", { class: "masked", text: shaded ? "" : write(value), title: "masked" });
  const node = el("td", { text: write(value) });
  if (shaded) node.style.setProperty("--share", String(value));
  node.classList.toggle("shaded", shaded);
  return node;
}

/** Shares of a whole as bars, the largest marked. */
export function bars(names, shares, marked) {
  return el(
    "div",
    { class: "try-bars" },
    ...names.map((name, n) => {
      const bar = el("span", { class: "bar" });
      bar.style.inlineSize = `${100 * shares[n]}%`;
      return el(
        "div",
        { class: n === marked ? "best" : null },
        el("span", { class: "name", text: name }),
        el("span", { class: "track" }, bar),
        el("span", { class: "value", text: percent(shares[n]) }),
      );
    }),
  );
}
