// An image of a digit as SVG: its ink, and over it the weights of one query.
import { svg } from "./elements.js";

/** `ink` 0 … 255 of an image (height, width); draws into `node`, an SVG element. */
export function drawInk(node, ink, [height, width]) {
  node.setAttribute("viewBox", `-0.2 -0.2 ${width + 0.4} ${height + 0.4}`);
  const field = svg("rect", { class: "field", width, height });
  const pixels = Array.from(ink, (value, n) =>
    value > 0 ? square("ink", n % width, Math.floor(n / width), 1, 1, value / 255) : null,
  );
  node.replaceChildren(field, ...pixels.filter(Boolean));
}

/** Over the ink: each of `weights` as strong as its share of the largest; the query's own cell framed. */
export function drawWeights(node, weights, query, [height, width], [rows, columns]) {
  const [high, wide] = [height / rows, width / columns];
  const most = Math.max(...weights);
  const place = (n) => [(n % columns) * wide, Math.floor(n / columns) * high, wide, high];
  node.append(
    ...Array.from(weights, (weight, n) => square("key", ...place(n), (0.85 * weight) / most)),
    square("query", ...place(query), 1),
  );
}

function square(kind, x, y, width, height, opacity) {
  return svg("rect", {
    class: kind,
    x,
    y,
    width,
    height,
    "fill-opacity": kind === "query" ? null : opacity.toFixed(3),
  });
}

/** The point of an image (in its pixels) under the pointer. */
export function pointOf(event, node, [height, width]) {
  const box = node.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * (width + 0.4) - 0.2,
    y: ((event.clientY - box.top) / box.height) * (height + 0.4) - 0.2,
  };
}
