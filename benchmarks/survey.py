"""What a survey costs beside a plain forward pass, and beside eager attention with the same statistics by hand.

    python benchmarks/survey.py [--quick]

Six random layers of the size of SmolLM2-135M's: its thirty are alike, and the ratios are those of one. One thread. Time
is processor time of the thread, in turns, the least of each, so that other programs on the machine matter little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import timing
from mirada.surveys.batches import as_batch
from mirada.surveys.measuring import Measurer
from mirada.surveys.questions import questions


def llama(layers: int = 6):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": layers, "vocab_size": 49_152}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()


def by_hand(weights: torch.Tensor, ids: torch.Tensor) -> None:
    """The default summaries from the weights (1, heads, L, L), as one would write them."""
    length = len(ids)
    place = torch.arange(length)
    same = (ids[:, None] == ids) & (place < place[:, None])
    followed = torch.nn.functional.pad(same[:, :-1], (1, 0))
    entropy = -torch.special.xlogy(weights, weights).sum(-1)
    found = [entropy, entropy.exp(), weights[..., 0], weights.diagonal(-1, -2, -1)]
    found += [(weights * same).sum(-1), (weights * followed).sum(-1)]
    found += [(weights * (place[:, None] - place).abs()).sum(-1)]
    for values in found:
        values.double().mean(-1)


def cost(model: torch.nn.Module, length: int, rounds: int) -> dict[str, float]:
    ids = torch.randint(0, 400, (1, length), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "use_cache": False, "logits_to_keep": 1}
    batch, measurers = as_batch(inputs, 0), {}
    for name, ask in (("entropy", "entropy"), ("survey", None)):
        measurers[name] = Measurer(model, questions(ask, scored=False))

    def plain(**more: bool) -> object:
        with torch.no_grad():
            return model(**inputs, **more)

    def eager() -> None:
        model.set_attn_implementation("eager")
        for weights in plain(output_attentions=True).attentions:
            by_hand(weights, ids[0])
        model.set_attn_implementation("sdpa")

    tasks: dict[str, Callable[[], object]] = {"plain": plain, "eager": eager}
    tasks |= {name: (lambda one=one: one.measure(batch)) for name, one in measurers.items()}
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for name, task in tasks.items():
            since = time.thread_time()
            task()
            best[name] = min(best[name], time.thread_time() - since)
    return {
        "plain, s": best["plain"],
        "entropy / plain": best["entropy"] / best["plain"],
        "all defaults / plain": best["survey"] / best["plain"],
        "eager by hand / survey": best["eager"] / best["survey"],
        "tokens / s": length / best["survey"],
    }


def main() -> None:
    torch.set_num_threads(1)
    quick = "--quick" in sys.argv
    model = llama()
    results = {str(length): cost(model, length, 2 if quick else 7) for length in (256, 1024, 2048)}
    for length, row in results.items():
        print(length, {name: round(value, 3) for name, value in row.items()}, flush=True)
    if not quick:
        timing.write(Path(__file__).parent / "results" / "survey.json", results)


if __name__ == "__main__":
    main()
