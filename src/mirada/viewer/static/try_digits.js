// Type ten digits: a question about them is answered, and each digit has its weight.
import { inkOnScale, scaleColour } from "./colour.js";
import { el, number, percent } from "./dom.js";

export function digitsTrial(eye, about, send) {
  const input = el("input", {
    class: "digits-input",
    value: about.example,
    maxLength: about.count,
    inputMode: "numeric",
    aria: { label: `${about.count} digits` },
  });
  const cells = el("div", { class: "digit-cells", role: "status" });
  let result = null;
  const again = () => result && showDigits(cells, result, about, eye);
  const changed = () => {
    if (!new RegExp(`^[0-9]{${about.count}}$`).test(input.value)) {
      cells.replaceChildren(el("p", { class: "soft", text: `${input.value.length} of ${about.count} digits` }));
      return;
    }
    const digits = input.value;
    send({ digits }, (found) => {
      result = { ...found, digits };
      again();
    });
  };
  input.addEventListener("input", changed);
  changed();
  return {
    element: el(
      "section",
      { class: "try-part" },
      el(eye.heading, { text: `Type ${about.count} digits: ${about.question}` }),
      input,
      cells,
    ),
    again,
  };
}

function showDigits(cells, { digits, weights, probability }, about, eye) {
  const most = Math.max(...weights);
  const each = [...digits].map((digit, n) => {
    const share = weights[n] / most;
    const cell = el(
      "div",
      { class: "digit-cell" },
      el("strong", { text: digit }),
      el("span", { class: "figure", text: percent(weights[n]) }),
    );
    cell.style.backgroundColor = scaleColour(share, eye.dark());
    cell.style.color = inkOnScale(share, eye.dark());
    return cell;
  });
  cells.replaceChildren(
    el("div", { class: "digit-row" }, ...each),
    el("p", {
      class: "verdict",
      text: `${about.question} ${probability > 0.5 ? "yes" : "no"}, probability ${number(probability, 3)}`,
    }),
  );
}
