"""Self-attention on pixels, image by image in Python, or a batch in one fused call."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Plain(nn.Module):
    """Every image's 784 × 784 weights, written out one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Parameter(torch.rand(1, 1) * 2 - 1) for _ in range(3))
        self.classify = nn.Linear(784, 10)

    def context(self, x: Tensor) -> Tensor:
        """(N, L, 1) to (N, L, 1)."""
        contexts = []
        for image in x:
            query, key, value = image @ self.query, image @ self.key, image @ self.value
            contexts.append(torch.softmax(query @ key.T, dim=-1) @ value)
        return torch.stack(contexts)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self.context(x).flatten(1))


class Fused(Plain):
    """One call of scaled_dot_product_attention a batch."""

    def context(self, x: Tensor) -> Tensor:
        """The same."""
        query, key, value = (x[:, None] @ weight for weight in (self.query, self.key, self.value))
        return functional.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0]


def train(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> None:
    """Steps of 16 images drawn with replacement; images (N, 784, 1) floating."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        index = torch.randint(len(images), (16,))
        loss = functional.cross_entropy(model(images[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def validate(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mean loss."""
    return sum(
        float(functional.cross_entropy(model(some), their, reduction="sum"))
        for some, their in zip(images.split(16), labels.split(16), strict=True)
    ) / len(images)
