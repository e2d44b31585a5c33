// Attention with every step kept: what it is for is to be seen.
import { dot, linear, softmax, beside, columns } from "./arithmetic.js";

/**
 * Scaled dot-product attention of query (L, E), key (S, E), value (S, Ev).
 * `scale` null means 1/√E; `mask` (L, S) of booleans, true = may attend.
 */
export function attend(query, key, value, { scale = null, mask = null } = {}) {
  const factor = scale ?? 1 / Math.sqrt(query[0].length);
  const scores = query.map((q) => Float64Array.from(key, (k) => dot(q, k)));
  const scaled = scores.map((row) => row.map((score) => score * factor));
  const masked = scaled.map((row, i) => row.map((score, j) => (mask && !mask[i][j] ? -Infinity : score)));
  const weights = softmax(masked);
  const context = weights.map((row) =>
    Float64Array.from({ length: value[0].length }, (_, n) => {
      let sum = 0;
      // What has the weight 0 has no influence, even where it is not finite.
      row.forEach((weight, j) => {
        if (weight !== 0) sum += weight * value[j][n];
      });
      return sum;
    }),
  );
  return { query, key, value, scale: factor, scores, scaled, masked, weights, context };
}

/** Several heads: queries, keys and values (L or S, H · width) are split, and the contexts laid side by side. */
export function attendInHeads(query, key, value, heads) {
  const width = query[0].length / heads;
  const part = (rows, head) => columns(rows, head * width, (head + 1) * width);
  const seen = Array.from({ length: heads }, (_, head) =>
    attend(part(query, head), part(key, head), part(value, head)),
  );
  return { heads: seen, context: beside(seen.map(({ context }) => context)) };
}

/** `mirada.nn.WideMultiHeadAttention`: every head sees all features. */
export function wideHeads(parameters, heads, query, source) {
  const [q, k, v] = [
    ["query", query],
    ["key", source],
    ["value", source],
  ].map(([name, rows]) => linear(rows, parameters.get(`${name}.weight`), parameters.get(`${name}.bias`)));
  const seen = attendInHeads(q, k, v, heads);
  return { heads: seen.heads, output: linear(seen.context, parameters.get("out.weight"), parameters.get("out.bias")) };
}

/** `mirada.nn.MultiHeadAttention`: the heads share the features. Its three projections are packed in one matrix. */
export function narrowHeads(parameters, heads, rows) {
  const width = rows[0].length;
  const packed = linear(rows, parameters.get("in_proj_weight"), parameters.get("in_proj_bias"));
  const seen = attendInHeads(...[0, 1, 2].map((n) => columns(packed, n * width, (n + 1) * width)), heads);
  return {
    heads: seen.heads,
    output: linear(seen.context, parameters.get("out_proj.weight"), parameters.get("out_proj.bias")),
  };
}
