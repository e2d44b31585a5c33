// View 6: try it. What the hand does goes to the model, and what the model says follows the hand.
import { el } from "./dom.js";
import { cornersTrial } from "./try_corners.js";
import { digitsTrial } from "./try_digits.js";
import { drawTrial } from "./try_drawing.js";
import { matrixTrial } from "./try_matrix.js";

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
