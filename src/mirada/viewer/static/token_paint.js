// What is painted behind the tokens of a text: shades and stripes of keys, lines, and underlines of queries.
import { NOT_FINITE, css } from "./colour.js";
import { hatching } from "./hatch.js";
import { isHidden } from "./matrix.js";

const FAINTEST = 0.03;
const DEEPEST = 0.42; // of a shade: every word on it keeps a contrast of 4.5 : 1
const STRIPES = 5; // pixels

/** The colour of a weight: opaque in proportion to its square root. */
export function shadeOf(colour, weight) {
  return css(colour, DEEPEST * Math.sqrt(weight));
}

function visible(view, boxes, visit) {
  const [top, bottom] = [view.scroller.scrollTop, view.scroller.scrollTop + view.scroller.clientHeight];
  boxes.forEach((box, at) => box.y < bottom && box.y + box.height > top && visit(box, at));
}

/** The keys that the token attends to, in the colours of the heads. */
export function paintShades(view, context) {
  if (!view.attended) return;
  const { mean, colour, parts } = view.attended;
  visible(view, view.keyBoxes, (box, at) => {
    if (isHidden(mean[at])) {
      context.fillStyle = hatching(context, view.eye.dark());
      context.fillRect(box.x, box.y, box.width, box.height);
      return;
    }
    if (mean[at] < view.least) return;
    const finite = Number.isFinite(mean[at]);
    if (!finite || Math.sqrt(mean[at]) >= FAINTEST) {
      context.fillStyle = finite ? shadeOf(colour, mean[at]) : css(NOT_FINITE, DEEPEST);
      context.beginPath();
      context.roundRect(box.x, box.y, box.width, box.height, 4);
      context.fill();
    }
    if (parts.length > 1) paintStripes(view.attended, context, box, at);
  });
}

/** A stripe for every head, as opaque as its weight is large. */
function paintStripes({ parts, colours }, context, box, at) {
  const width = box.width / parts.length;
  parts.forEach((part, n) => {
    const share = Math.sqrt(part[at]);
    if (share < FAINTEST) return;
    context.fillStyle = css(colours[n], share);
    context.fillRect(box.x + n * width, box.y + box.height - 1, Math.max(1, width - (width > 4 ? 1 : 0)), STRIPES);
  });
}

/** The queries that attend to the token, underlined. */
export function paintAttending(view, context) {
  if (!view.attending?.most) return;
  const { warmBytes } = view.eye.ink();
  visible(view, view.queryBoxes, (box, at) => {
    const share = Math.sqrt(view.attending.mean[at]);
    if (share < FAINTEST || view.attending.mean[at] < view.least) return;
    context.fillStyle = css(warmBytes, 0.25 + 0.75 * share);
    context.fillRect(
      box.x,
      box.y + box.height + (view.attended?.parts.length > 1 ? STRIPES : 0),
      box.width,
      1 + 3 * share,
    );
  });
}

/** From the token to the strongest keys, and to it from the strongest queries. */
export function paintLines(view, context, here) {
  const columns = view.form === "columns";
  const { warmBytes } = view.eye.ink();
  for (const { at, weight, colour } of view.attended?.strongest ?? []) {
    if (view.keyBoxes[at] !== here) oneLine(context, here, view.keyBoxes[at], colour, Math.sqrt(weight), columns, []);
  }
  for (const { at, weight, colour } of view.attending?.strongest ?? []) {
    if (view.queryBoxes[at] !== here)
      oneLine(
        context,
        view.queryBoxes[at],
        here,
        columns ? colour : warmBytes,
        Math.sqrt(weight),
        columns,
        columns ? [] : [3, 3],
      );
  }
}

function oneLine(context, from, to, colour, share, columns, dashes) {
  const [x1, x2] = columns ? [from.x + from.width + 3, to.x - 3] : [from.x + from.width / 2, to.x + to.width / 2];
  const [y1, y2] = columns ? [from.y + from.height / 2, to.y + to.height / 2] : [from.y, to.y];
  const bend = columns ? (x2 - x1) / 2 : 0;
  const lift = columns ? 0 : Math.min(34, 8 + Math.abs(x2 - x1) / 8);
  context.strokeStyle = css(colour, 0.15 + 0.75 * share);
  context.lineWidth = 0.75 + 2.25 * share;
  context.setLineDash(dashes);
  context.beginPath();
  context.moveTo(x1, y1);
  context.bezierCurveTo(x1 + bend, y1 - lift, x2 - bend, y2 - lift, x2, y2);
  context.stroke();
}
