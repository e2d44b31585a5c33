// Draw a digit: what a model takes it for, and what a patch of it attends to.
import { scaleWords } from "./colour.js";
import { button, clamp, el, percent } from "./dom.js";

export function drawTrial(eye, about, send) {
  const [height, width] = about.size;
  const pixels = new Uint8Array(height * width);
  let [query, result] = [0, null];
  const paper = el("canvas", {
    class: "paper",
    width,
    height,
    tabIndex: 0,
    role: "application",
    aria: { label: "Draw here with the pointer; with the keyboard: arrows move, space draws" },
  });
  const attended = el("canvas", {
    class: "paper",
    width,
    height,
    tabIndex: 0,
    role: "application",
    aria: { label: "What the chosen patch attends to: arrow keys choose another" },
  });
  const bars = el("div", { class: "class-bars", role: "status" });
  const cursor = { x: Math.floor(width / 2), y: Math.floor(height / 2) };
  const paint = () => {
    paintDrawing(paper, pixels, null, about, query, eye);
    // Drawing by keyboard needs a visible cursor.
    if (paper.matches(":focus-visible"))
      outline(paper, cursor.x, cursor.y, paper.width / width, paper.height / height, eye);
  };
  for (const name of ["focus", "blur"]) paper.addEventListener(name, paint);
  const again = () => {
    paint();
    if (result) showDrawing(attended, bars, pixels, result, about, query, eye);
  };
  const changed = () => {
    paint();
    send({ pixels: [...pixels], query }, (found) => {
      result = found;
      again();
    });
  };
  const choose = (at) => {
    if (at === query) return;
    query = at;
    changed();
  };
  drawing(paper, pixels, about.size, cursor, changed);
  if (about.grid) choosing(attended, about.grid, () => query, choose);
  const fill = (values) => () => {
    pixels.set(values);
    changed();
  };
  const tools = el(
    "span",
    { class: "group" },
    button("Clear", fill(new Array(pixels.length).fill(0))),
    button("An example", fill(about.example)),
  );
  pixels.set(about.example);
  changed();
  const part = (title, ...inside) => el("section", { class: "try-part" }, el(eye.heading, { text: title }), ...inside);
  const element = el(
    "div",
    { class: "try-row" },
    part("Draw a digit", paper, tools),
    about.grid ? part("What a patch attends to: point at one", attended) : null,
    part("What it is", bars),
  );
  return { element, again };
}

/** A patch is chosen by pointing at it, or by arrow keys. */
function choosing(canvas, [rows, columns], chosen, choose) {
  for (const name of ["pointermove", "pointerdown"])
    canvas.addEventListener(name, (event) => choose(patchAt(event, canvas, [rows, columns])));
  canvas.addEventListener("keydown", (event) => {
    const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ] ?? [0, 0];
    if (!across && !down) return;
    event.preventDefault();
    event.stopPropagation();
    const [row, column] = [Math.floor(chosen() / columns) + down, (chosen() % columns) + across];
    choose(clamp(row, 0, rows - 1) * columns + clamp(column, 0, columns - 1));
  });
}

function drawing(paper, pixels, size, cursor, changed) {
  const [height, width] = size;
  let before = null;
  const reach = Math.max(0.75, width / 22);
  const dab = (x, y) => {
    for (let i = Math.floor(y - reach - 1); i <= y + reach + 1; i++) {
      for (let j = Math.floor(x - reach - 1); j <= x + reach + 1; j++) {
        if (i < 0 || j < 0 || i >= height || j >= width) continue;
        const ink = clamp(reach + 0.5 - Math.hypot(j + 0.5 - x, i + 0.5 - y), 0, 1);
        pixels[i * width + j] = Math.max(pixels[i * width + j], Math.round(255 * ink));
      }
    }
  };
  const pointOf = (event) => {
    const box = paper.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * width,
      y: ((event.clientY - box.top) / box.height) * height,
    };
  };
  paper.addEventListener("pointerdown", (event) => {
    paper.setPointerCapture(event.pointerId);
    before = pointOf(event);
    dab(before.x, before.y);
    changed();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!before) return;
    const point = pointOf(event);
    const steps = Math.ceil(Math.hypot(point.x - before.x, point.y - before.y) * 3);
    for (let n = 1; n <= steps; n++)
      dab(before.x + ((point.x - before.x) * n) / steps, before.y + ((point.y - before.y) * n) / steps);
    before = point;
    changed();
  });
  for (const name of ["pointerup", "pointercancel"])
    paper.addEventListener(name, () => {
      before = null;
    });
  paper.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move)
      Object.assign(cursor, {
        x: clamp(cursor.x + move[0], 0, width - 1),
        y: clamp(cursor.y + move[1], 0, height - 1),
      });
    if (move || event.key === " ") {
      if (event.key === " " || event.shiftKey) dab(cursor.x + 0.5, cursor.y + 0.5);
      event.preventDefault();
      event.stopPropagation();
      changed();
    }
  });
}

/** A frame around a part of a picture, as thick on small pictures as on large ones. */
function outline(canvas, column, row, wide, high, eye) {
  const context = canvas.getContext("2d");
  const thick = canvas.width / 100;
  Object.assign(context, { strokeStyle: eye.ink().warm, lineWidth: thick });
  context.strokeRect(column * wide + thick / 2, row * high + thick / 2, wide - thick, high - thick);
}

function patchAt(event, canvas, [rows, columns]) {
  const box = canvas.getBoundingClientRect();
  const row = clamp(Math.floor(((event.clientY - box.top) / box.height) * rows), 0, rows - 1);
  return row * columns + clamp(Math.floor(((event.clientX - box.left) / box.width) * columns), 0, columns - 1);
}

/** The drawing in ink; or, with `weights`, what a patch attends to. */
function paintDrawing(canvas, pixels, weights, { size: [height, width], grid }, query, eye) {
  const dot = 16;
  Object.assign(canvas, { width: width * dot, height: height * dot });
  const context = canvas.getContext("2d");
  const [paper, ink] = eye.dark()
    ? [
        [24, 32, 39],
        [231, 234, 236],
      ]
    : [
        [255, 255, 255],
        [29, 42, 53],
      ];
  pixels.forEach((value, n) => {
    const mix = paper.map((from, part) => Math.round(from + ((ink[part] - from) * value) / 255));
    context.fillStyle = `rgb(${mix.join(" ")})`;
    context.fillRect((n % width) * dot, Math.floor(n / width) * dot, dot, dot);
  });
  if (!weights) return;
  const [wide, high] = [canvas.width / grid[1], canvas.height / grid[0]];
  const [least, most] = [Math.min(...weights), Math.max(...weights)];
  const scale = scaleWords(eye.dark());
  weights.forEach((weight, n) => {
    const share = most > least ? (weight - least) / (most - least) : 0;
    const word = scale[Math.round(255 * share)];
    context.fillStyle = `rgb(${word & 255} ${(word >> 8) & 255} ${(word >> 16) & 255} / 0.72)`;
    context.fillRect((n % grid[1]) * wide, Math.floor(n / grid[1]) * high, wide, high);
  });
  outline(canvas, query % grid[1], Math.floor(query / grid[1]), wide, high, eye);
}

function showDrawing(attended, bars, pixels, result, about, query, eye) {
  if (about.grid) paintDrawing(attended, pixels, result.weights, about, query, eye);
  const best = result.probabilities.indexOf(Math.max(...result.probabilities));
  bars.replaceChildren(
    ...result.probabilities.map((share, n) => {
      const fill = el("span", { class: "fill" });
      fill.style.width = `${100 * share}%`;
      return el(
        "div",
        { class: `class-bar ${n === best ? "best" : ""}` },
        el("bdi", { text: about.classes[n] }),
        el("span", { class: "track" }, fill),
        el("span", { class: "figure", text: percent(share) }),
      );
    }),
  );
}
