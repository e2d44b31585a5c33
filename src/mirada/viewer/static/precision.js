// How true the numbers of a page are, in words.
import { formedAtOnce } from "./source.js";

export function precision({ kind, bits, error, cell, queries, keys, levels, query_width: width }) {
  const size = `${queries.toLocaleString("en")} × ${keys.toLocaleString("en")}`;
  const within = error > 0 ? `within 1/${Math.floor(1 / error).toLocaleString("en")} of each row's largest weight` : "";
  if (kind === "live")
    return `${size}, live: every number is computed by the model's side as it is asked for, in its own precision.`;
  if (kind === "cells")
    return `${size}: detail ends at ${cell} × ${cell} tokens a cell, ${within.replace("weight", "cell")}; single weights are not in this page.`;
  const far = levels?.[0];
  const between =
    far > 2 * formedAtOnce(width)
      ? ` Records from afar, cells of more than ${formedAtOnce(width)} tokens are drawn from cells of ${far}.`
      : "";
  if (kind === "weights")
    return bits === 32 ? `${size} weights as they were given, in 32 bits.` : `${size} weights in 8 bits, ${within}.`;
  if (bits === 32)
    return `${size}: weights are formed here from the model's own queries and keys, in 32 bits.${between}`;
  return `${size}: weights are formed here from the model's queries and keys in ${bits} bits, ${within}.${between}`;
}
