"""What watching costs, against the same forward unwatched, and what it keeps in memory.

    python benchmarks/watch.py [--quick]

Prints four tables and writes benchmarks/results/watch.json. Times are CPU time of one thread, since what is added is
less than what other work on the machine takes away. The last table takes minutes: a forward of 12 layers with 12
heads at length 16,384, unwatched and watched, each in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import mirada
import timing
from mirada.watching import Records

WIDTH, HEADS, LAYERS = 768, 12, 12
CONSOLE = Console(width=120)


class Block(nn.Module):
    """One layer of a decoder, as GPT-2 has it."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.norm, self.project, self.merge = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.held: list[tuple[Tensor, Tensor, Tensor]] | None = None

    def forward(self, x: Tensor) -> Tensor:  # (N, L, width)
        split = self.project(self.norm(x)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2) for part in split)
        if self.held is not None:
            self.held.append((query, key, value))
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.merge(context.transpose(1, 2).flatten(-2))
        return x + self.feed(x)


class Attention(nn.Module):
    """Nothing but the call: what summaries are compared with."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value)


def decoder(layers: int, width: int = WIDTH) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(Block(width) for _ in range(layers))).eval()


def holding(model: nn.Sequential, x: Tensor) -> None:
    """A forward that does nothing more than hold on to queries, keys and values: their memory can't be used again."""
    for block in model:
        block.held = []
    model(x)
    for block in model:
        block.held = None


def watched(model: nn.Module, *inputs: Tensor, **options: Any) -> Records:
    with mirada.watch(model, **options) as records:
        model(*inputs)
    return records


def cost_of_inputs(lengths: list[int], rounds: int, width: int = WIDTH) -> list[dict[str, Any]]:
    model, rows = decoder(4, width), []
    for length in lengths:
        x = torch.randn(1, length, width)
        works = {
            "forward": lambda x=x: model(x),
            "holding": lambda x=x: holding(model, x),
            "watched": lambda x=x: watched(model, x),
        }
        seconds = timing.interleaved(works, rounds, clock=time.process_time)
        held = timing.ratio(seconds["holding"], seconds["forward"])
        row = _row(length, seconds, timing.ratio(seconds["watched"], seconds["forward"]))
        rows.append(row | {"holding / forward": held})
    return rows


def cost_of_summaries(lengths: list[int], rounds: int) -> list[dict[str, Any]]:
    model, rows = Attention(), []
    for length in lengths:
        tensors = torch.randn(3, 1, 8, length, 64).unbind()
        works = {
            "attention": lambda t=tensors: model(*t),
            "entropy, received, map": lambda t=tensors: watched(model, *t, keep="statistics"),
        }
        seconds = timing.interleaved(works, rounds, clock=time.process_time)
        added = [both - alone for both, alone in zip(*reversed(seconds.values()), strict=True)]
        rows.append(_row(length, seconds, timing.ratio(added, seconds["attention"])))
    return rows


def memory(length: int) -> list[dict[str, Any]]:
    peaks = {how: _peak_in_a_process(how, length) for how in ("unwatched", "inputs", "statistics")}
    return [
        {"length": length, "kept": how, "peak GiB": peak, "above unwatched GiB": peak - peaks["unwatched"]}
        for how, peak in peaks.items()
    ]


def peak(how: str, length: int) -> float:
    """Peak resident memory of this process after one forward, in GiB."""
    model, x = decoder(LAYERS), torch.randn(1, length, WIDTH)
    with torch.no_grad():
        records = model(x) if how == "unwatched" else watched(model, x, keep=how)
    assert len(records) == (1 if how == "unwatched" else LAYERS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _peak_in_a_process(how: str, length: int) -> float:
    command = [sys.executable, __file__, "--peak", how, "--length", str(length)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _row(length: int, seconds: dict[str, list[float]], ratio: timing.Ratio) -> dict[str, Any]:
    milliseconds = {f"{name}, ms": 1000 * timing.times(taken).median for name, taken in seconds.items()}
    return {"length": length, **milliseconds, "ratio": ratio}


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row.values()))
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short lengths, few rounds")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak(arguments.peak, arguments.length))
        return
    torch.set_num_threads(1)
    quick = arguments.quick
    with torch.no_grad():
        results = {
            "inputs": cost_of_inputs([512] if quick else [512, 1024, 2048], rounds=9 if quick else 21),
            "inputs, narrow": cost_of_inputs(
                [512] if quick else [512, 1024, 2048], rounds=21 if quick else 61, width=256
            ),
            "statistics": cost_of_summaries([512, 1024] if quick else [512, 1024, 4096], rounds=9 if quick else 21),
            "memory": memory(2048 if quick else 16_384),
        }
    show("keep='inputs': a decoder of 4 layers, 12 heads, width 768; watched / forward", results["inputs"])
    show("keep='inputs': 4 heads, width 256; 'holding' only keeps the tensors alive", results["inputs, narrow"])
    show("keep='statistics': 8 heads, width 64; what it adds / attention itself", results["statistics"])
    show("peak memory of a forward: 12 layers, 12 heads, width 768", results["memory"])
    timing.write(Path(__file__).parent / "results" / "watch.json", results)


if __name__ == "__main__":
    main()
