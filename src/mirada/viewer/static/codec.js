// From the bytes that a page carries to numbers.

/** base64 to bytes. */
export function bytesOf(text) {
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let n = 0; n < binary.length; n++) bytes[n] = binary.charCodeAt(n);
  return bytes;
}

/** zlib-compressed bytes to bytes. */
export async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Bytes as float32 numbers, wherever they begin. */
export function floats(bytes) {
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

export function integers(bytes) {
  return new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Bytes as float16 numbers. */
export function halves(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.byteLength / 2 }, (_, n) => half(view.getUint16(2 * n, true)));
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** One head's numbers out of a packed tensor (heads, count, width): ranges first, then `bits` bits a number. */
export function unpack(bytes, { heads, count, width, bits, head }) {
  const ranges = floats(bytes.subarray(head * width * 8, (head + 1) * width * 8)); // (width, 2): least, step
  const stride = Math.ceil((count * width * bits) / 8);
  const start = heads * width * 8 + head * stride;
  const values = new Float32Array(count * width);
  let [at, held, have] = [start, 0, 0];
  for (let n = 0, feature = 0; n < values.length; n++) {
    while (have < bits) {
      held = ((held << 8) | bytes[at++]) & 0xffffff;
      have += 8;
    }
    have -= bits;
    values[n] = ranges[2 * feature] + ranges[2 * feature + 1] * (held >> have);
    held &= (1 << have) - 1;
    if (++feature === width) feature = 0;
  }
  return values;
}

/** One head's weights out of bytes: 255ths of each row's largest. */
export function sharesOf({ shares, largest }, head, rows, columns) {
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    const unit = largest[head * rows + i] / 255;
    const from = (head * rows + i) * columns;
    for (let j = 0; j < columns; j++) values[i * columns + j] = shares[from + j] * unit;
  }
  return values;
}
