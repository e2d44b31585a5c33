// What can be tried, by its kind: fills an element of any page.
import { modelOf } from "./models.js";
import { tryCorners } from "./try_corners.js";
import { tryDigit } from "./try_digit.js";
import { tryMatrix } from "./try_matrix.js";
import { trySoftmax } from "./try_softmax.js";
import { tryTenDigits } from "./try_ten_digits.js";
import { tryVectors } from "./try_vectors.js";

/** `data`: kind, about, and what a model is made of, `model` or `models`. `changed` hears what was done and what came of it. */
export function trial(host, data, changed) {
  const alone = { matrix: tryMatrix, softmax: trySoftmax, vectors: tryVectors }[data.kind];
  if (alone) return alone(host, data.about, changed);
  if (data.kind === "corners") {
    const models = Object.fromEntries(Object.entries(data.models).map(([name, about]) => [name, modelOf(about)]));
    return tryCorners(host, models, data.about, changed);
  }
  const make = { digit: tryDigit, digits: tryTenDigits }[data.kind];
  return make(host, modelOf(data.model), data.about, changed);
}
