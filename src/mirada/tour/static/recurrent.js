// A gated recurrent unit (Cho et al. 2014), as torch.nn.GRU computes it.
import { linear, logistic } from "./arithmetic.js";

/** One step: an input and the state before it give the state after it. */
export function recurrentStep(parameters, input, state) {
  const size = state.length;
  const [fromInput] = linear([input], parameters.get("weight_ih_l0"), parameters.get("bias_ih_l0"));
  const [fromState] = linear([state], parameters.get("weight_hh_l0"), parameters.get("bias_hh_l0"));
  return Float64Array.from(state, (before, n) => {
    const reset = logistic(fromInput[n] + fromState[n]);
    const keep = logistic(fromInput[size + n] + fromState[size + n]);
    const candidate = Math.tanh(fromInput[2 * size + n] + reset * fromState[2 * size + n]);
    return (1 - keep) * candidate + keep * before;
  });
}
