// The system `squares`: an encoder, and a decoder with or without attention to the encoder's states.
import { linear } from "./arithmetic.js";
import { attend, wideHeads } from "./attention.js";
import { recurrentStep } from "./recurrent.js";

export function squares({ parameters, attention, heads }) {
  /** `source`: the given points, each [x, y]. Gives the `count` points that follow, and each step's attention. */
  return (source, count = 2) => {
    const encoder = parameters.of("encoder");
    const size = encoder.get("weight_hh_l0").shape[1];
    const states = [];
    for (const point of source) states.push(recurrentStep(encoder, point, states.at(-1) ?? new Float64Array(size)));
    const decoder = parameters.of("decoder");
    let [state, point] = [states.at(-1), Float64Array.from(source.at(-1))];
    const steps = [];
    for (let n = 0; n < count; n++) {
      state = recurrentStep(decoder.of("gru"), point, state);
      const seen = ATTENTION[attention](decoder.of("attention"), state, states, heads);
      const read = seen ? Float64Array.of(...seen.output, ...state) : state;
      [point] = linear([read], decoder.get("out.weight"), decoder.get("out.bias"));
      steps.push({ point, state, heads: seen?.heads ?? [] });
    }
    return { states, steps, points: steps.map((step) => step.point) };
  };
}

const ATTENTION = {
  none: () => null,
  single(parameters, state, states) {
    const query = linear([state], parameters.get("query.weight"), parameters.get("query.bias"));
    const key = linear(states, parameters.get("key.weight"), parameters.get("key.bias"));
    const value = parameters.has("value.weight")
      ? linear(states, parameters.get("value.weight"), parameters.get("value.bias"))
      : states;
    const seen = attend(query, key, value);
    return { heads: [seen], output: seen.context[0] };
  },
  multihead(parameters, state, states, heads) {
    const seen = wideHeads(parameters, heads, [state], states);
    return { heads: seen.heads, output: seen.output[0] };
  },
};
