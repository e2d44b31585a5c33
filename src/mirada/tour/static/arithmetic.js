// The arithmetic of small models, in double precision. A matrix is an array of rows; a parameter has `shape` and `data`.

/** Rows (L, in) through a linear layer: x Wᵀ + b, `weight` (out, in) as torch keeps it. */
export function linear(rows, weight, bias = null) {
  const [outputs, inputs] = weight.shape;
  return rows.map((row) =>
    Float64Array.from({ length: outputs }, (_, o) => {
      let sum = bias ? bias.data[o] : 0;
      for (let i = 0; i < inputs; i++) sum += weight.data[o * inputs + i] * row[i];
      return sum;
    }),
  );
}

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** Each row's numbers as positive shares that add up to 1; −∞ becomes 0, and a row of −∞ alone becomes zeros. */
export function softmax(rows) {
  return rows.map((row) => {
    const most = Math.max(...row);
    if (most === -Infinity) return new Float64Array(row.length);
    // Less the largest: the shares stay the same, and no exponential overflows.
    const powers = Float64Array.from(row, (score) => Math.exp(score - most));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  });
}

/** Each row less its mean, divided by its standard deviation, then stretched and shifted (Ba et al. 2016). */
export function layerNorm(rows, weight, bias, epsilon = 1e-5) {
  return rows.map((row) => {
    const mean = row.reduce((sum, x) => sum + x, 0) / row.length;
    const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row.length;
    return row.map((x, i) => ((x - mean) / Math.sqrt(variance + epsilon)) * weight.data[i] + bias.data[i]);
  });
}

export function relu(rows) {
  return rows.map((row) => row.map((x) => Math.max(0, x)));
}

export function add(left, right) {
  return left.map((row, i) => row.map((x, j) => x + right[i][j]));
}

/** The columns `from` … `to` − 1 of every row. */
export function columns(rows, from, to) {
  return rows.map((row) => row.slice(from, to));
}

/** All rows, one after the other, as a single row. */
export function flatten(rows) {
  return [Float64Array.from(rows.flatMap((row) => [...row]))];
}

/** Row i of every matrix, side by side. */
export function beside(matrices) {
  return matrices[0].map((_, i) => Float64Array.from(matrices.flatMap((matrix) => [...matrix[i]])));
}

export function logistic(x) {
  return 1 / (1 + Math.exp(-x));
}
