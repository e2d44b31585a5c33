// Which of many weights are the strongest, in several heads at once.

/** The mean over heads, every head's part, and the strongest places; a place has the colour of the head that leads there. */
export function strongest(parts, colours, colour, { how, sizes, most: count, least }) {
  const { length } = parts[0];
  const mean = new Float32Array(length).fill(-0); // where every head's mask hides the key, it stays so
  const all = sizes.reduce((sum, size) => sum + size, 0);
  parts.forEach((part, p) => {
    for (let n = 0; n < length; n++) {
      if (how === "mean") mean[n] += (part[n] * sizes[p]) / all;
      else mean[n] = Math.max(mean[n], part[n]);
    }
  });
  let most = 0;
  for (const weight of mean) if (weight > most) most = weight;
  const leader = (at) => colours[parts.reduce((best, part, n) => (part[at] > parts[best][at] ? n : best), 0)];
  const found = best(mean, count).filter((at) => mean[at] >= least);
  return {
    mean,
    most,
    parts,
    colours,
    colour,
    strongest: found.map((at) => ({ at, weight: mean[at], colour: leader(at) })),
  };
}

/** The places of the largest values, largest first; none that is 0. */
function best(values, count) {
  const found = [];
  for (let n = 0; n < values.length; n++) {
    if (!(values[n] > 0) || (found.length === count && values[n] <= values[found[count - 1]])) continue;
    let at = found.length;
    while (at > 0 && values[found[at - 1]] < values[n]) at--;
    found.splice(at, 0, n);
    if (found.length > count) found.pop();
  }
  return found;
}
