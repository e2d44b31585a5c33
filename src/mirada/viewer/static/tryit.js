// View 6: try it. What the hand does goes to the model, and what the model says follows the hand.
import { inkOnScale, scaleColour, scaleWords } from "./colour.js";
import { button, clamp, el, number, percent } from "./dom.js";

const KINDS = { draw: drawTrial, digits: digitsTrial, corners: cornersTrial, matrix: matrixTrial };

export function tryView(eye) {
  const trials = Object.entries(eye.about.trials)
    .filter(([, { kind }]) => KINDS[kind])
    .map(([name, about]) => {
      const send = latest(
        (given, signal) => eye.ask(name, given, { json: true, post: true, signal }),
        (error) => eye.say(error.message),
      );
      return KINDS[about.kind](eye, about, send);
    });
  return {
    element: el("div", { class: "view tryit" }, ...trials.map((one) => one.element)),
    update(changed) {
      if (changed.has("dark")) for (const one of trials) one.again();
    },
  };
}

/** One request at a time; of those that come meanwhile, only the last one counts. */
function latest(ask, failed) {
  let [running, next] = [false, null];
  return async function send(given, show) {
    next = { given, show };
    if (running) return;
    running = true;
    while (next) {
      const { given: now, show: then } = next;
      next = null;
      try {
        then(await ask(now));
      } catch (error) {
        failed(error);
      }
    }
    running = false;
  };
}

// --- draw a digit ---

function drawTrial(eye, about, send) {
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
  const looks = el("canvas", {
    class: "paper",
    width,
    height,
    tabIndex: 0,
    role: "application",
    aria: { label: "Where the chosen patch looks: arrow keys choose another" },
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
    if (result) showDrawing(looks, bars, pixels, result, about, query, eye);
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
  if (about.grid) choosing(looks, about.grid, () => query, choose);
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
    about.grid ? part("Where a patch looks: point at one", looks) : null,
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

/** The drawing in ink; or, with `weights`, what a patch looks at. */
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

function showDrawing(looks, bars, pixels, result, about, query, eye) {
  if (about.grid) paintDrawing(looks, pixels, result.looks, about, query, eye);
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

// --- type ten digits ---

function digitsTrial(eye, about, send) {
  const input = el("input", {
    class: "digits-input",
    value: about.example,
    maxLength: about.count,
    inputMode: "numeric",
    aria: { label: `${about.count} digits` },
  });
  const cells = el("div", { class: "digit-cells", role: "status" });
  let result = null;
  const again = () => result && showDigits(cells, result, about, eye);
  const changed = () => {
    if (!new RegExp(`^[0-9]{${about.count}}$`).test(input.value)) {
      cells.replaceChildren(el("p", { class: "soft", text: `${input.value.length} of ${about.count} digits` }));
      return;
    }
    const digits = input.value;
    send({ digits }, (found) => {
      result = { ...found, digits };
      again();
    });
  };
  input.addEventListener("input", changed);
  changed();
  return {
    element: el(
      "section",
      { class: "try-part" },
      el(eye.heading, { text: `Type ${about.count} digits: ${about.question}` }),
      input,
      cells,
    ),
    again,
  };
}

function showDigits(cells, { digits, weights, probability }, about, eye) {
  const most = Math.max(...weights);
  const each = [...digits].map((digit, n) => {
    const share = weights[n] / most;
    const cell = el(
      "div",
      { class: "digit-cell" },
      el("strong", { text: digit }),
      el("span", { class: "figure", text: percent(weights[n]) }),
    );
    cell.style.backgroundColor = scaleColour(share, eye.dark());
    cell.style.color = inkOnScale(share, eye.dark());
    return cell;
  });
  cells.replaceChildren(
    el("div", { class: "digit-row" }, ...each),
    el("p", {
      class: "verdict",
      text: `${about.question} ${probability > 0.5 ? "yes" : "no"}, probability ${number(probability, 3)}`,
    }),
  );
}

// --- drag two corners ---

const REACH = 1.7;

function cornersTrial(eye, about, send) {
  const points = about.example.map((point) => [...point]);
  const canvas = el("canvas", {
    class: "square",
    tabIndex: 0,
    role: "application",
    aria: { label: "Drag the first two corners; with the keyboard: 1 or 2 chooses, arrows move" },
  });
  const words = el("div", { class: "finished", role: "status" });
  let [result, held, chosen] = [null, null, 0];
  const again = () => {
    paintSquare(canvas, points, result, chosen, eye);
    if (result) words.replaceChildren(...result.finished.map((one, n) => finishedWords(one, n, eye)));
  };
  const changed = () => {
    again();
    send({ points }, (found) => {
      result = found;
      again();
    });
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [
      (((event.clientX - box.left) / box.width) * 2 - 1) * REACH,
      (1 - ((event.clientY - box.top) / box.height) * 2) * REACH,
    ];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const [x, y] = place(event);
    const apart = points.map((point) => Math.hypot(point[0] - x, point[1] - y));
    held = chosen = apart[0] <= apart[1] ? 0 : 1;
    points[held] = [x, y];
    changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (held === null) return;
    points[held] = place(event).map((value) => clamp(value, -REACH, REACH));
    changed();
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, () => {
      held = null;
    });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] }[event.key];
    if (event.key === "1" || event.key === "2") chosen = Number(event.key) - 1;
    else if (move) points[chosen] = points[chosen].map((value, n) => clamp(value + move[n], -REACH, REACH));
    else return;
    event.preventDefault();
    event.stopPropagation();
    changed();
  });
  changed();
  return {
    element: el(
      "div",
      { class: "try-row" },
      el("section", { class: "try-part" }, el(eye.heading, { text: "Drag the two filled corners" }), canvas),
      el("section", { class: "try-part" }, el(eye.heading, { text: "The decoder goes on" }), words),
    ),
    again,
  };
}

function modelColour(n, eye) {
  return n === 0 ? eye.ink().accent : eye.ink().warm;
}

function paintSquare(canvas, points, result, chosen, eye) {
  const side = 420;
  Object.assign(canvas, { width: 2 * side, height: 2 * side });
  const context = canvas.getContext("2d");
  context.scale(2, 2);
  const at = ([x, y]) => [((x / REACH + 1) / 2) * side, ((1 - y / REACH) / 2) * side];
  const ink = eye.ink();
  const line = (from, to, colour, dashes = []) => {
    context.strokeStyle = colour;
    context.setLineDash(dashes);
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(...at(from));
    context.lineTo(...at(to));
    context.stroke();
  };
  const dot = (point, colour, filled, label) => {
    context.setLineDash([]);
    context.beginPath();
    context.arc(...at(point), 8, 0, 7);
    context.lineWidth = 2.5;
    context.strokeStyle = context.fillStyle = colour;
    if (filled) context.fill();
    else context.stroke();
    context.font = "12px system-ui, sans-serif";
    const [x, y] = at(point);
    context.fillText(label, x + 12, y - 8);
  };
  [
    [-1, -1],
    [-1, 1],
    [1, 1],
    [1, -1],
  ].forEach((corner, n, all) => line(corner, all[(n + 1) % 4], ink.line, [4, 4]));
  result?.finished.forEach((one, n) => {
    const colour = modelColour(n, eye);
    line(points[1], one.points[0], colour);
    line(one.points[0], one.points[1], colour);
    one.points.forEach((point, step) => dot(point, colour, false, `${step + 3}`));
  });
  line(points[0], points[1], ink.ink);
  points.forEach((point, n) => dot(point, n === chosen ? ink.ink : ink.soft, true, `${n + 1}`));
}

function finishedWords(one, n, eye) {
  const title = el("p", { class: "verdict", text: one.name });
  title.style.color = modelColour(n, eye);
  const point = ([x, y]) => `(${number(x, 2)}, ${number(y, 2)})`;
  const looks = (step) =>
    one.weights
      ? `, looks ${one.weights[step].map((weight, key) => `${percent(weight)} at ${key + 1}`).join(" and ")}`
      : "";
  return el(
    "div",
    {},
    title,
    ...one.points.map((place, step) =>
      el("p", { class: "figure", text: `corner ${step + 3}: ${point(place)}${looks(step)}` }),
    ),
  );
}

// --- edit the matrix and its mask ---

function matrixTrial(eye, about, send) {
  const matrix = about.example.map((row) => [...row]);
  const size = matrix.length;
  const mask = matrix.map(() => new Array(size).fill(1));
  let [scale, result] = [1, null];
  const out = el("div", { class: "try-row" });
  const again = () =>
    result &&
    out.replaceChildren(
      heatTable("scores  QKᵀ", result.scores, eye),
      heatTable("masked", result.masked, eye),
      heatTable("weights", result.weights, eye),
      heatTable("context", result.context, eye),
    );
  const changed = () =>
    send({ matrix, mask, scale }, (found) => {
      result = found;
      again();
    });
  const cell = (i, j) =>
    el("input", {
      type: "number",
      step: "0.01",
      value: matrix[i][j].toFixed(2),
      aria: { label: `row ${i + 1}, feature ${j + 1}` },
      on: {
        input: (event) => {
          matrix[i][j] = Number(event.target.value) || 0;
          changed();
        },
      },
    });
  const inputs = el("div", { class: "matrix-input" }, ...matrix.flatMap((row, i) => row.map((_, j) => cell(i, j))));
  inputs.style.gridTemplateColumns = `repeat(${matrix[0].length}, 4.6em)`;
  const eyes = mask.map((row, i) =>
    row.map((_, j) =>
      button(
        "",
        () => {
          mask[i][j] = 1 - mask[i][j];
          drawMask();
          changed();
        },
        { class: "mask-cell", aria: { label: `query ${i + 1} may look at key ${j + 1}` } },
      ),
    ),
  );
  const drawMask = () =>
    eyes.forEach((row, i) => row.forEach((one, j) => one.setAttribute("aria-pressed", String(Boolean(mask[i][j])))));
  const preset = (words, rule) =>
    button(words, () => {
      mask.forEach((row, i) =>
        row.forEach((_, j) => {
          row[j] = rule(i, j) ? 1 : 0;
        }),
      );
      drawMask();
      changed();
    });
  const presets = el(
    "span",
    { class: "group" },
    preset("all", () => true),
    preset("padding", (_i, j) => j < size - 1),
    preset("no peek", (i, j) => j <= i),
    preset("both", (i, j) => j <= i && j < size - 1),
  );
  const scaleInput = el("input", {
    type: "number",
    step: "0.1",
    value: scale,
    on: {
      input: (event) => {
        scale = Number(event.target.value) || 0;
        changed();
      },
    },
  });
  const grid = el("div", { class: "mask-input" }, ...eyes.flat());
  grid.style.gridTemplateColumns = `repeat(${size}, 30px)`;
  drawMask();
  changed();
  const part = (title, ...inside) => el("section", { class: "try-part" }, el(eye.heading, { text: title }), ...inside);
  return {
    element: el(
      "div",
      {},
      el(
        "div",
        { class: "try-row" },
        part("The matrix: query, key and value at once", inputs),
        part(
          "Who may look at whom",
          grid,
          presets,
          el("label", { class: "choice" }, el("span", { text: "scale" }), scaleInput),
        ),
      ),
      out,
    ),
    again,
  };
}

function heatTable(title, rows, eye) {
  const finite = rows.flat().filter((value) => value !== null);
  const [least, most] = [Math.min(0, ...finite), Math.max(...finite, 1e-9)];
  const cells = rows.map((row) =>
    el(
      "tr",
      {},
      ...row.map((value) => {
        const share = value === null ? 0 : (value - least) / (most - least);
        const cell = el("td", { class: "figure", text: value === null ? "−∞" : number(value, 4) });
        if (value !== null) {
          cell.style.backgroundColor = scaleColour(share, eye.dark());
          cell.style.color = inkOnScale(share, eye.dark());
        }
        return cell;
      }),
    ),
  );
  return el(
    "section",
    { class: "try-part" },
    el(eye.heading, { text: title }),
    el("table", { class: "heat-table", role: "status" }, el("tbody", {}, ...cells)),
  );
}
