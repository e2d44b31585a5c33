"""Wide multi-head attention on patches by plain products, fed by a Dataset that gives one item at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset


class Items(Dataset[tuple[Tensor, int]]):
    """Patches (16, 49) and label, made when asked for."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, n: int) -> tuple[Tensor, int]:
        image = self.images[n].float() / 255
        return image.unfold(0, 7, 7).unfold(1, 7, 7).reshape(16, 49), int(self.labels[n])


class Plain(nn.Module):
    """Sixteen heads, each as wide as a patch; scores, weights and contexts written out."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(49, 16 * 49) for _ in range(3))
        self.out = nn.Linear(16 * 49, 49)
        self.classify = nn.Linear(16 * 49, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 16, 49) to logits."""
        query, key, value = (f(x).view(-1, 16, 16, 49).transpose(1, 2) for f in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-2, -1) / math.sqrt(49), dim=-1)  # (N, heads, 16, 16)
        context = (weights @ value).transpose(1, 2).reshape(-1, 16, 16 * 49)
        return self.classify(torch.relu(self.out(context)).flatten(1))


def epoch(train: Items, held_out: Items) -> None:
    """Training, then measuring, with a DataLoader each."""
    model = Plain()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for x, label in DataLoader(train, batch_size=64, shuffle=True):
        loss = functional.cross_entropy(model(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for x, label in DataLoader(held_out, batch_size=64):
            float(functional.cross_entropy(model(x), label))


def products(items: int) -> None:
    """The matrix products alone of that epoch's steps, in the form with the least arithmetic: projections folded.

    Per head M = Wq Wkᵀ and N = Wv Wo, 49 × 49; then X M, (X M) Xᵀ, A X, and (A X) N; backward, two products for each.
    """
    batch, heads, length, width = 64, 16, 16, 49
    x = torch.randn(batch, length, width)
    small, folded = torch.randn(heads, width, width), torch.randn(heads * width, width)
    asked, weights = torch.randn(batch, heads * length, width), torch.randn(batch, heads * length, length)
    context, tall = torch.randn(batch * length, heads * width), torch.randn(batch * length, width)
    flat, classify = torch.randn(batch, 784), torch.randn(784, 10)
    for _ in range(items // batch):
        for _ in range(2):  # M and N
            small @ small, small @ small, small @ small
        for _ in range(2):  # by M and by N: once forward, for the weights' gradient, and (N alone) for the input's
            tall @ folded.T, context.T @ tall
        tall @ folded.T
        asked @ x.mT, weights @ x, asked @ x.mT, weights.mT @ asked, weights @ x
        flat @ classify, flat.T @ (flat @ classify), (flat @ classify) @ classify.T
