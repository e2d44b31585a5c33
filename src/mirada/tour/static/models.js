// The systems by name: what a page carries of a run, as a function from an input to all that the model computes.
import { counting } from "./model_counting.js";
import { patches } from "./model_patches.js";
import { pixels } from "./model_pixels.js";
import { squares } from "./model_squares.js";
import { readParameters } from "./parameters.js";

const SYSTEMS = { counting, patches, pixels, squares };

/** `about`: the system, its settings, its parameters' shapes and numbers, as `mirada.tour.carried` writes them. */
export function modelOf(about) {
  return SYSTEMS[about.system]({ ...about, parameters: readParameters(about.shapes, about.numbers) });
}
