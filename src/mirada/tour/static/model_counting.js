// The system `counting`: one learned query over ten digits.
import { linear, relu, logistic } from "./arithmetic.js";
import { attend } from "./attention.js";

export function counting({ parameters }) {
  return (digits) => {
    const table = parameters.get("embed.weight");
    const width = table.shape[1];
    const embedded = digits.map((digit) => table.data.slice(digit * width, (digit + 1) * width));
    const part = parameters.of("attention");
    const learned = part.get("query");
    const query = [learned.data.slice(0, learned.shape[1])];
    const key = linear(embedded, part.get("key.weight"), part.get("key.bias"));
    const value = linear(embedded, part.get("value.weight"), part.get("value.bias"));
    const seen = attend(query, key, value);
    const judge = parameters.of("judge");
    const hidden = relu(linear(seen.context, judge.get("0.weight"), judge.get("0.bias")));
    const [[logit]] = linear(hidden, judge.get("2.weight"), judge.get("2.bias"));
    return { ...seen, logit, probability: logistic(logit) };
  };
}
