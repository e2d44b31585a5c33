// A point of a plane that the pointer drags and the arrow keys move.
import { clamp, fixed, svg } from "./elements.js";

const ARROWS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };

/** A plane from −`reach` to `reach` in both directions, y upwards as in a book: what lies in it turns y over. */
export function planeOf(reach) {
  return svg("svg", { class: "try-plane", viewBox: `${-reach} ${-reach} ${2 * reach} ${2 * reach}` });
}

/** `point` [x, y] is changed in place, then `moved` is called. `place(node)` sets the node where the point is. */
export function handle(plane, reach, point, name, moved, ...inside) {
  const node = svg(
    "g",
    {
      class: "handle",
      tabindex: "0",
      role: "slider",
      "aria-label": name,
      "aria-valuemin": String(-reach),
      "aria-valuemax": String(reach),
    },
    svg("circle", { class: "grip", r: "0.26" }),
    ...inside,
  );
  let held = false;
  const move = (x, y) => {
    [point[0], point[1]] = [x, y].map((value) => clamp(value, -reach + 0.1, reach - 0.1));
    moved();
  };
  node.addEventListener("pointerdown", (event) => {
    held = true;
    node.setPointerCapture(event.pointerId);
  });
  node.addEventListener("pointermove", (event) => {
    if (!held) return;
    const box = plane.getBoundingClientRect();
    move(
      ((event.clientX - box.left) / box.width - 0.5) * 2 * reach,
      -((event.clientY - box.top) / box.height - 0.5) * 2 * reach,
    );
  });
  for (const ended of ["pointerup", "pointercancel"])
    node.addEventListener(ended, () => {
      held = false;
    });
  node.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    move(point[0] + step[0], point[1] + step[1]);
  });
  return node;
}

/** Puts a handle where its point is. */
export function place(node, /** @type {number[]} */ [x, y]) {
  node.setAttribute("transform", `translate(${x} ${-y})`);
  node.setAttribute("aria-valuenow", x.toFixed(2));
  node.setAttribute("aria-valuetext", `x ${fixed(x)}, y ${fixed(y)}`);
}
