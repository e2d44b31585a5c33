// The system `pixels`: self-attention with one channel.
import { linear, flatten, softmax } from "./arithmetic.js";
import { attend } from "./attention.js";

export function pixels({ parameters }) {
  return (ink) => {
    const [mean, scale] = [parameters.get("mean").data, parameters.get("scale").data[0]];
    const sequence = Array.from(ink, (value, n) => Float64Array.of((value - mean[n]) / scale));
    const part = parameters.of("attend");
    const [query, key, value] = ["query", "key", "value"].map((name) => linear(sequence, part.get(`${name}.weight`)));
    const seen = attend(query, key, value);
    const logits = linear(flatten(seen.context), parameters.get("classify.weight"), parameters.get("classify.bias"));
    return { heads: [seen], logits: logits[0], probabilities: softmax(logits)[0] };
  };
}
