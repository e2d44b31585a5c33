// Drag two corners of a square: models finish it.
import { clamp, el, number, percent } from "./dom.js";

const REACH = 1.7;

export function cornersTrial(eye, about, send) {
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
  const attends = (step) =>
    one.weights
      ? `, attends ${one.weights[step].map((weight, key) => `${percent(weight)} to ${key + 1}`).join(" and ")}`
      : "";
  return el(
    "div",
    {},
    title,
    ...one.points.map((place, step) =>
      el("p", { class: "figure", text: `corner ${step + 3}: ${point(place)}${attends(step)}` }),
    ),
  );
}
