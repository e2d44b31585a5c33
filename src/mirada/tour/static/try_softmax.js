// Move three scores and a temperature: the weights, their entropy, and the surprise in bits if a key is the right one.
import { softmax } from "./arithmetic.js";
import { el, fixed, largest, part } from "./elements.js";
import { bars, matrixTable } from "./weights_picture.js";

/** `about`: scores at first. */
export function trySoftmax(host, about, changed = (_state) => {}) {
  const scores = [...about.scores];
  let temperature = 1;
  const names = scores.map((_, n) => `key ${n + 1}`);
  const verdict = el("p", { class: "try-verdict", role: "status" });
  const shares = el("div");
  const table = el("div");

  const show = () => {
    const scaled = scores.map((score) => score / temperature);
    const weights = softmax([scaled])[0];
    const bits = weights.map((weight) => -Math.log2(weight));
    const entropy = weights.reduce((sum, weight, n) => sum + (weight > 0 ? weight * bits[n] : 0), 0);
    shares.replaceChildren(
      bars(
        names.map((_, n) => String(n + 1)),
        weights,
        largest(weights),
      ),
    );
    verdict.textContent = `The weights have an entropy of ${fixed(entropy)} bits: as spread out as ${fixed(2 ** entropy)} equal weights.`;
    const powers = scaled.map(Math.exp);
    table.replaceChildren(
      matrixTable({
        caption: "each step, key by key",
        rows: names,
        columns: ["score / T", "e to that", "weight", "surprise, bits"],
        numbers: names.map((_, n) => [scaled[n], powers[n], weights[n], bits[n]]),
      }),
    );
    changed({ scores, temperature, weights, entropy });
  };
  const slider = (name, value, least, most, step, take) => {
    const shown = el("output", { text: fixed(value) });
    const input = el("input", {
      type: "range",
      min: String(least),
      max: String(most),
      step: String(step),
      value: String(value),
      "aria-label": name,
    });
    input.addEventListener("input", () => {
      shown.textContent = fixed(Number(input.value));
      take(Number(input.value));
      show();
    });
    return el("div", { class: "try-slider" }, el("span", { text: name }), input, shown);
  };
  const sliders = scores.map((score, n) =>
    slider(`score ${n + 1}`, score, -5, 5, 0.1, (value) => {
      scores[n] = value;
    }),
  );
  host.replaceChildren(
    el(
      "div",
      { class: "try-row" },
      part(
        "Move the scores",
        ...sliders,
        slider("temperature T", temperature, 0.1, 5, 0.1, (value) => {
          temperature = value;
        }),
      ),
      part("The weights", verdict, shares),
    ),
    table,
  );
  show();
}
