// Type ten digits: are there more 2s than 4s, and which digits does the query attend to?
import { button, el, fixed, part, percent } from "./elements.js";

const EXAMPLES = ["2024193752", "4402491374", "2222244440"];

/** `about`: example, the digits that are there at first. */
export function tryTenDigits(host, model, about, changed = (_state) => {}) {
  const input = el("input", {
    type: "text",
    inputmode: "numeric",
    value: about.example,
    maxlength: "24",
    autocomplete: "off",
    "aria-label": "Ten digits, 0 to 9",
  });
  const verdict = el("p", { class: "try-verdict", role: "status" });
  const cells = el("div", { class: "try-cells" });
  const show = () => {
    const digits = [...input.value].filter((letter) => letter >= "0" && letter <= "9").map(Number);
    const others = input.value.replace(/[0-9\s,]/g, "");
    cells.classList.toggle("stale", digits.length !== 10 || others !== "");
    if (digits.length !== 10 || others) {
      verdict.textContent = others
        ? `“${others}”: only the digits 0 to 9 are known.`
        : `${digits.length} digits, 10 are wanted.`;
      return;
    }
    const found = model(digits);
    const weights = found.weights[0];
    cells.replaceChildren(...digits.map((digit, n) => cell(digit, n, weights[n], found.value[n][0])));
    verdict.textContent = `More 2s than 4s? ${found.probability > 0.5 ? "Yes" : "No"}, with a probability of ${percent(Math.max(found.probability, 1 - found.probability))}. The context is ${fixed(found.context[0][0], 3)}: the values, weighted by the weights and added up.`;
    changed({ digits, found });
  };
  input.addEventListener("input", show);
  const examples = EXAMPLES.map((text) =>
    button(text, () => {
      input.value = text;
      show();
    }),
  );
  host.replaceChildren(part("Type ten digits", el("div", { class: "try-tools" }, input, ...examples), cells, verdict));
  show();
}

function cell(digit, n, weight, value) {
  const bar = el("span", { class: "shade" });
  bar.style.blockSize = `${100 * weight}%`;
  return el(
    "div",
    { class: "try-cell" },
    el("span", { class: "digit" }, bar, el("b", { text: String(digit) })),
    el("span", { class: "key-text", text: percent(weight), title: `weight of digit ${n + 1}` }),
    el("span", { class: "value-text", text: fixed(value, 2), title: `value of digit ${n + 1}` }),
  );
}
