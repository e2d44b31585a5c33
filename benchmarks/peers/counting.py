"""One learned query that counts, as a script of its own: python counting.py [STEPS]."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Embeds every digit of every sequence, and gives each its key, value, score and weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.key, self.value = nn.Embedding(10, 5), nn.Linear(5, 5), nn.Linear(5, 1)
        self.query = nn.Parameter(torch.randn(1, 5))
        self.judge = nn.Sequential(nn.Linear(1, 200), nn.ReLU(), nn.Linear(200, 1), nn.Sigmoid())

    def forward(self, digits: Tensor) -> Tensor:
        """(N, 10) to probabilities (N, 1)."""
        embedded = self.embed(digits)
        weights = torch.softmax(self.query @ self.key(embedded).transpose(1, 2) / math.sqrt(5), dim=-1)
        return self.judge((weights @ self.value(embedded)).squeeze(-1))


def train(steps: int) -> None:
    """Steps of 500 fresh sequences."""
    model, loss = Plain(), nn.BCELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-5)
    for _ in range(steps):
        digits = torch.randint(0, 10, (500, 10))
        answer = ((digits == 2).sum(1) > (digits == 4).sum(1)).float()[:, None]
        optimizer.zero_grad()
        loss(model(digits), answer).backward()
        optimizer.step()


if __name__ == "__main__":
    train(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
