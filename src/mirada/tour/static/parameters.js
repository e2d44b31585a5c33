// A model's parameters, by the names that torch gives them.

export class Parameters {
  constructor(tensors, prefix = "") {
    this.tensors = tensors;
    this.prefix = prefix;
  }

  get(name) {
    const found = this.tensors.get(this.prefix + name);
    if (!found) throw new Error(`the model has no parameter ${this.prefix}${name}`);
    return found;
  }

  has(name) {
    return this.tensors.has(this.prefix + name);
  }

  /** Those of a part of the model. */
  of(part) {
    return new Parameters(this.tensors, `${this.prefix}${part}.`);
  }
}

/** From names and shapes and the bytes of all numbers, one tensor after the other, float32 little-endian in base64. */
export function readParameters(shapes, base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  const tensors = shapes.map(([name, shape]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const data = Float64Array.from({ length: count }, (_, n) => view.getFloat32(at + 4 * n, true));
    at += 4 * count;
    return [name, { shape, data }];
  });
  return new Parameters(new Map(tensors));
}
