// Short names of layers: what tells them apart, and no more.

const COMMON =
  /^(model|module|base_model|transformer|layers?|blocks?|h|attn|attention|self|core|sdpa|language_model|text_model|vision_model|backbone|mixer|temporal_block)$/i;
const CROSS = /cross|enc_?dec|encoder_?attn|encoder_?attention|multihead_attn/i;
const SELF = /^self|self_?attn|selfattention|self_?attention/i;

/** "encoder.layers.3.self_attn" → "encoder L3 · self"; every layer keeps a name of its own. */
export function shortNames(names) {
  if (names.length === 1) return [...names];
  const words = names.map((name) => name.split(/[. ]/).filter(Boolean));
  const everywhere = words[0].filter((word) => !/^\d+$/.test(word) && words.every((one) => one.includes(word)));
  const bare = words.map((one) => one.filter((word) => !everywhere.includes(word)));
  const parts = bare.every((one) => one.length > 0) ? bare : words;
  const crossed = names.some((name) => CROSS.test(name));
  for (const shorten of [(one) => shortened(one, crossed, 1), (one) => shortened(one, crossed, 9)]) {
    const found = parts.map(shorten);
    if (new Set(found).size === found.length && found.every(Boolean)) return found;
  }
  return withoutShared(parts).map((found, n) => found || names[n]);
}

/** Sides ("encoder"), at most so many numbers, and which attention it is where there are several kinds. */
function shortened(parts, crossed, most) {
  const name = parts.join(".");
  const numbers = parts.filter((part) => /^\d+$/.test(part)).slice(0, most);
  const cross = CROSS.test(name);
  const sides = parts.filter(
    (part) => !/^\d+$/.test(part) && !COMMON.test(part) && !CROSS.test(part) && !SELF.test(part),
  );
  const kind = cross ? "cross" : crossed && SELF.test(name) ? "self" : "";
  const where = [...sides, numbers.length ? `L${numbers.join(".")}` : ""].filter(Boolean).join(" ");
  return [where, kind].filter(Boolean).join(" · ");
}

/** Names without the parts that all of them share at their beginning and end. */
function withoutShared(parts) {
  const least = Math.min(...parts.map((one) => one.length));
  const shared = (at) => new Set(parts.map((one) => one.at(at))).size === 1;
  let [start, end] = [0, 0];
  while (start < least - 1 && shared(start)) start++;
  while (end < least - 1 - start && shared(-1 - end)) end++;
  return parts.map((one) => one.slice(start, one.length - end).join("."));
}
