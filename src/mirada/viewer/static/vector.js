// A canvas' drawing calls as SVG: what paints a view on the screen also writes its figure, words as text.

const SVG = "http://www.w3.org/2000/svg";
const MOST_CELLS = 10_000; // of a picture that becomes rectangles; a larger one stays a picture
const ANCHORS = { left: "start", start: "start", center: "middle", right: "end", end: "end" };

/** An SVG element. */
export function node(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** What XML can't hold, replaced; marks of direction, which editors of figures show as boxes, left out. */
export function withoutControls(text) {
  return text
    .replace(/[\u2066-\u2069]/g, "")
    .replace(
      /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
      "\ufffd",
    );
}

let clips = 0;

/** A group that is seen within a shape only. */
export function clipped(into, shape) {
  const id = `clip-${clips++}`;
  const group = node("g", { "clip-path": `url(#${id})` });
  into.append(node("clipPath", { id }, shape), group);
  return group;
}

/** As much of CanvasRenderingContext2D as the views use, written into an SVG group. */
export class VectorContext {
  constructor(group) {
    this.group = group;
    this.fillStyle = "#000";
    this.strokeStyle = "#000";
    this.lineWidth = 1;
    this.globalAlpha = 1;
    this.font = "12px sans-serif";
    this.textAlign = "left";
    this.textBaseline = "alphabetic";
    this.imageSmoothingEnabled = true;
    this.dashes = [];
    this.matrix = new DOMMatrix();
    this.path = [];
    this.stack = [];
    this.ruler = document.createElement("canvas").getContext("2d");
  }

  save() {
    const { group, fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, dashes } = this;
    const { matrix } = this;
    this.stack.push({
      ...{ group, fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, dashes, matrix },
    });
  }

  restore() {
    Object.assign(this, this.stack.pop());
  }

  translate(x, y) {
    this.matrix = this.matrix.translate(x, y);
  }

  rotate(angle) {
    this.matrix = this.matrix.rotate((angle * 180) / Math.PI);
  }

  scale(x, y) {
    this.matrix = this.matrix.scale(x, y);
  }

  setTransform() {}

  clearRect() {}

  setLineDash(dashes) {
    this.dashes = dashes;
  }

  measureText(text) {
    this.ruler.font = this.font;
    return this.ruler.measureText(text);
  }

  /** A pattern that stands where it is used as a colour. */
  createPattern(canvas) {
    const id = `pattern-${clips++}`;
    const size = { width: canvas.width, height: canvas.height };
    const pattern = node("pattern", { id, patternUnits: "userSpaceOnUse", ...size });
    new VectorContext(pattern).drawImage(canvas, 0, 0, canvas.width, canvas.height);
    this.group.append(pattern);
    return { id };
  }

  // --- paths ---

  beginPath() {
    this.path = [];
  }

  moveTo(x, y) {
    this.path.push(`M${short(x)} ${short(y)}`);
  }

  lineTo(x, y) {
    this.path.push(`L${short(x)} ${short(y)}`);
  }

  bezierCurveTo(...points) {
    this.path.push(`C${points.map(short).join(" ")}`);
  }

  closePath() {
    this.path.push("Z");
  }

  rect(x, y, width, height) {
    this.path.push(`M${short(x)} ${short(y)}h${short(width)}v${short(height)}h${short(-width)}Z`);
  }

  roundRect(x, y, width, height) {
    this.rect(x, y, width, height);
  }

  fill() {
    this.add("path", { d: this.path.join(""), ...this.filled() });
  }

  stroke() {
    this.add("path", { d: this.path.join(""), ...this.stroked() });
  }

  clip() {
    this.group = clipped(this.group, node("path", { d: this.path.join(""), ...this.moved() }));
  }

  // --- shapes, words, pictures ---

  fillRect(x, y, width, height) {
    this.add("rect", { ...box(x, y, width, height), ...this.filled() });
  }

  strokeRect(x, y, width, height) {
    this.add("rect", { ...box(x, y, width, height), ...this.stroked() });
  }

  fillText(text, x, y) {
    const [, style = "", size = "12", family = "sans-serif"] = this.font.match(/^(.*?)([\d.]+)px\s+(.*)$/) ?? [];
    const middle = this.textBaseline === "middle" ? 0.35 * Number(size) : 0;
    const words = node("text", {
      ...{ x: short(x), y: short(y + middle), ...this.filled(), ...this.moved() },
      ...{ "font-size": short(Number(size)), "font-family": family.replaceAll('"', "'") },
      ...{ "text-anchor": ANCHORS[this.textAlign], ...(/bold|[5-9]00/.test(style) ? { "font-weight": 600 } : {}) },
    });
    words.textContent = withoutControls(text);
    this.group.append(words);
  }

  drawImage(canvas, x, y, width, height) {
    if (canvas.width * canvas.height <= MOST_CELLS) this.cells(canvas, x, y, width, height);
    else {
      const look = { preserveAspectRatio: "none", "image-rendering": "pixelated", href: canvas.toDataURL() };
      this.add("image", { ...box(x, y, width, height), ...look });
    }
  }

  /** A rectangle for each run of cells of one colour. */
  cells(canvas, x, y, width, height) {
    // From a copy: a canvas that is read becomes a slow one.
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Uint32Array(data.buffer);
    const [wide, high] = [width / canvas.width, height / canvas.height];
    const group = node("g", { "shape-rendering": "crispEdges", ...this.moved() });
    for (let row = 0; row < canvas.height; row++) {
      for (let from = 0, to = 0; from < canvas.width; from = to) {
        const colour = colours[row * canvas.width + from];
        while (to < canvas.width && colours[row * canvas.width + to] === colour) to++;
        if (colour >>> 24 === 0) continue;
        const fill = `#${[0, 8, 16].map((by) => ((colour >> by) & 255).toString(16).padStart(2, "0")).join("")}`;
        group.append(node("rect", { ...box(x + from * wide, y + row * high, (to - from) * wide, high), fill }));
      }
    }
    this.group.append(group);
  }

  // --- how ---

  add(tag, attributes) {
    this.group.append(node(tag, { ...attributes, ...this.moved() }));
  }

  filled() {
    return { fill: colourOf(this.fillStyle), ...this.faint() };
  }

  stroked() {
    const dashes = this.dashes.length ? { "stroke-dasharray": this.dashes.join(" ") } : {};
    const line = { stroke: colourOf(this.strokeStyle), "stroke-width": short(this.lineWidth) };
    return { fill: "none", ...line, ...dashes, ...this.faint() };
  }

  faint() {
    return this.globalAlpha === 1 ? {} : { opacity: short(this.globalAlpha) };
  }

  moved() {
    return this.matrix.isIdentity ? {} : { transform: this.matrix.toString() };
  }
}

function box(x, y, width, height) {
  return { x: short(x), y: short(y), width: short(Math.max(0, width)), height: short(Math.max(0, height)) };
}

/** Hundredths of a pixel are enough. */
function short(value) {
  return Math.round(100 * value) / 100;
}

function colourOf(style) {
  return typeof style === "string" ? style : `url(#${style.id})`;
}
