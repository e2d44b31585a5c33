"""What it costs to ask the attention matrix: against one fused attention call, against building it, and in memory.

    python benchmarks/questions.py [--quick]

Prints three tables and writes benchmarks/results/questions.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import timing
from mirada import AttentionMatrix, masks, rollout

HEADS, WIDTH, LONG = 8, 64, 32_768
DENSE_UP_TO = 4_096  # beyond, a dense matrix of 8 heads takes gigabytes
CONSOLE = Console(width=120)


def tensors(length: int, heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, length, WIDTH) for _ in range(3))
    return query, key, value


def questions(query: Tensor, key: Tensor, mask: masks.Mask | None = None) -> dict[str, Callable[[], Any]]:
    """Each asked of a fresh matrix, log-normalisers included."""
    length = query.shape[-2]
    whole = ((0, length), (0, length))

    def fresh() -> AttentionMatrix:
        return AttentionMatrix(query, key, mask)

    return {
        "entropy": lambda: fresh().entropy(),
        "received": lambda: fresh().received(),
        "64 × 64 map": lambda: fresh().tile(*whole, (64, 64)),
        "256 × 256 map": lambda: fresh().tile(*whole, (256, 256)),
        "statistics": lambda: fresh().statistics(),
        "top(8)": lambda: fresh().topk(8),
    }


def built(query: Tensor, key: Tensor) -> dict[str, Callable[[], Any]]:
    """The same from the weights, written out."""

    def weights() -> Tensor:
        return torch.softmax(query @ key.mT * WIDTH**-0.5, -1)

    def entropy() -> Tensor:
        found = weights()
        return -torch.special.xlogy(found, found).sum(-1)

    def binned() -> Tensor:
        found, size = weights(), query.shape[-2] // 64
        return found.unflatten(-1, (64, size)).sum(-1).unflatten(-2, (64, size)).mean(-2)

    return {
        "entropy": entropy,
        "received": lambda: weights().sum(-2),
        "64 × 64 map": binned,
        "top(8)": lambda: weights().topk(8, -1),
    }


def costs(lengths: list[int], rounds: int) -> list[dict[str, Any]]:
    return [row for length in lengths for causal in (False, True) for row in _costs(length, causal, rounds)]


def _costs(length: int, causal: bool, rounds: int) -> list[dict[str, Any]]:
    query, key, value = tensors(length)
    asked = questions(query, key, masks.causal(length) if causal else None)
    works: dict[str, Callable[[], Any]] = {
        "sdpa": lambda: scaled_dot_product_attention(query, key, value, is_causal=causal)
    }
    works |= asked
    if length <= DENSE_UP_TO and not causal:
        works |= {f"dense {name}": work for name, work in built(query, key).items()}
    seconds = timing.interleaved(works, max(3, rounds * 1024 // length))
    rows = []
    for name in asked:
        against_dense = seconds.get(f"dense {name}")
        rows.append(
            {
                "length": length,
                "mask": "causal" if causal else "none",
                "question": name,
                "milliseconds": timing.times(seconds[name]).median * 1e3,
                "against one fused call": timing.ratio(seconds[name], seconds["sdpa"]),
                "building it takes": against_dense and timing.ratio(against_dense, seconds[name]),
            }
        )
    return rows


def zooms(rounds: int) -> list[dict[str, Any]]:
    """Tiles of a long matrix whose log-normalisers are there."""
    query, key, _ = tensors(LONG, heads=1)
    matrix = AttentionMatrix(query, key)
    matrix.logsumexp()
    works = {
        "a window of 256 × 256 weights": lambda: matrix.tile((9000, 9256), (20000, 20256), (256, 256)),
        "4,096 × 4,096 as 256 × 256": lambda: matrix.tile((8000, 12096), (16000, 20096), (256, 256)),
    }
    seconds = timing.interleaved(works, rounds)
    return [{"tile": name, "milliseconds": timing.times(seconds[name]).median * 1e3} for name in works]


MEMORY: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "entropy": lambda query, key: AttentionMatrix(query, key).entropy(),
    "received": lambda query, key: AttentionMatrix(query, key).received(),
    "top(8)": lambda query, key: AttentionMatrix(query, key).topk(8),
    "256 × 256 map": lambda query, key: AttentionMatrix(query, key).tile((0, LONG), (0, LONG), (256, 256)),
    "rollout of 3, one query": lambda query, key: rollout([AttentionMatrix(query, key)] * 3, queries=[LONG - 1]),
}


def peak_above_inputs(question: str, heads: int) -> int:
    """Bytes of resident memory above what the inputs and the libraries take. Meant for a process of its own."""
    query, key, _ = tensors(LONG, heads)
    # The first call of a kernel loads its library: that is not the question's memory.
    AttentionMatrix(query[..., :64, :], key[..., :64, :]).entropy()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: begin the peak anew
    before = _resident("VmRSS")
    MEMORY[question](query, key)
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    """Bytes of resident memory: VmRSS now, VmHWM at the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def memory(heads: list[int]) -> list[dict[str, Any]]:
    rows = []
    for count in heads:
        for question in MEMORY:
            command = [sys.executable, __file__, "--peak", question, "--heads", str(count)]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            dense = count * LONG**2 * 4
            rows.append(
                {"heads": count, "question": question, "peak MiB": int(found) / 2**20, "dense MiB": dense / 2**20}
            )
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{cell:,.1f}" if isinstance(cell, float) else str(cell or "–") for cell in row.values()))
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short lengths, few rounds, one head in memory")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--heads", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak_above_inputs(arguments.peak, arguments.heads))
        return
    quick = arguments.quick
    results = {
        "costs": costs([1024, 4096] if quick else [1024, 4096, 16384], rounds=15 if quick else 40),
        "zooms": zooms(rounds=10 if quick else 40),
        "memory": memory([1] if quick else [1, 8]),
    }
    show(f"{HEADS} heads, width {WIDTH}: cost of a question", results["costs"])
    show(f"one head, length {LONG:,}, log-normalisers there: cost of a tile", results["zooms"])
    show(f"length {LONG:,}: peak resident memory above the inputs, in a process of its own", results["memory"])
    timing.write(Path(__file__).parent / "results" / "questions.json", results)


if __name__ == "__main__":
    main()
