// What can be tried, by its kind: fills an element of any page.
import { modelOf } from "./models.js";
import { tryCorners } from "./try_corners.js";
import { tryDigit } from "./try_digit.js";
import { tryMatrix } from "./try_matrix.js";
import { tryTenDigits } from "./try_ten_digits.js";

/** `data`: kind, about, and what a model is made of, `model` or `models`. `changed` hears what was done and what came of it. */
export function trial(host, data, changed) {
  if (data.kind === "matrix") return tryMatrix(host, data.about, changed);
  if (data.kind === "corners") {
    const models = Object.fromEntries(Object.entries(data.models).map(([name, about]) => [name, modelOf(about)]));
    return tryCorners(host, models, data.about, changed);
  }
  const make = { digit: tryDigit, digits: tryTenDigits }[data.kind];
  return make(host, modelOf(data.model), data.about, changed);
}
