// The system `patches`: an MLP, a bare layer of attention, or a transformer.
import { add, flatten, layerNorm, linear, relu, softmax } from "./arithmetic.js";
import { narrowHeads, wideHeads } from "./attention.js";

const MODELS = { mlp, wide: bare, narrow: bare, block: transformer };

export function patches(about) {
  const forward = MODELS[about.model];
  return (ink) => {
    const { heads, logits } = forward(
      about,
      Float64Array.from(ink, (value) => value / 255),
    );
    return { heads, logits: logits[0], probabilities: softmax(logits)[0] };
  };
}

/** An image as its patches, in reading order. */
export function cut(ink, [height, width], side) {
  const cells = [];
  for (let top = 0; top < height; top += side) {
    for (let left = 0; left < width; left += side) {
      cells.push(
        Float64Array.from(
          { length: side * side },
          (_, n) => ink[(top + Math.floor(n / side)) * width + left + (n % side)],
        ),
      );
    }
  }
  return cells;
}

function mlp({ parameters }, ink) {
  const hidden = relu(linear([ink], parameters.get("hidden.weight"), parameters.get("hidden.bias")));
  return { heads: [], logits: classify(parameters, hidden) };
}

function bare({ parameters, model, size, patch, heads }, ink) {
  const tokens = cut(ink, size, patch);
  const part = parameters.of("attend");
  const seen = model === "wide" ? wideHeads(part, heads, tokens, tokens) : narrowHeads(part, heads, tokens);
  return { heads: seen.heads, logits: classify(parameters, flatten(relu(seen.output))) };
}

function transformer({ parameters, size, patch, heads, positions }, ink) {
  const tokens = linear(cut(ink, size, patch), parameters.get("embed.weight"), parameters.get("embed.bias"));
  const {
    shape: [, width],
    data,
  } = parameters.get(positions);
  let x = tokens.map((row, i) => row.map((value, n) => value + data[i * width + n]));
  let seen = [];
  for (let n = 0; parameters.has(`blocks.${n}.norm_tokens.weight`); n++)
    ({ x, seen } = block(parameters.of(`blocks.${n}`), heads, x));
  return { heads: seen, logits: classify(parameters, flatten(x)) };
}

/** Attention among the tokens, then a feed-forward on each; both added to what came in (residuals). */
function block(parameters, heads, x) {
  const normed = layerNorm(x, parameters.get("norm_tokens.weight"), parameters.get("norm_tokens.bias"));
  const { heads: seen, output } = narrowHeads(parameters.of("attend"), heads, normed);
  const between = add(x, output);
  const again = layerNorm(between, parameters.get("norm_features.weight"), parameters.get("norm_features.bias"));
  const part = parameters.of("feed_forward");
  const hidden = relu(linear(again, part.get("0.weight"), part.get("0.bias")));
  return { x: add(between, linear(hidden, part.get("2.weight"), part.get("2.bias"))), seen };
}

function classify(parameters, rows) {
  return linear(rows, parameters.get("classify.weight"), parameters.get("classify.bias"));
}
