"""The encoder–decoder of the squares, decoded step by step and fed by a DataLoader."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


class Plain(nn.Module):
    """One head; every step asks by itself, teacher or not."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRU(2, 2, batch_first=True), nn.GRU(2, 2, batch_first=True)
        self.query, self.key = nn.Linear(2, 2), nn.Linear(2, 2)
        self.out = nn.Linear(4, 2)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """(N, 2, 2) and (N, 2, 2) to (N, 2, 2)."""
        states, hidden = self.encoder(source)
        keys, point, points = self.key(states), source[:, -1:], []
        for step in range(2):
            query, hidden = self.decoder(point, hidden)
            weights = torch.softmax(self.query(query) @ keys.transpose(1, 2) / math.sqrt(2), dim=-1)
            said = self.out(torch.cat([weights @ states, query], dim=-1))
            points.append(said)
            point = target[:, step : step + 1] if self.training and torch.rand(1) < 0.5 else said
        return torch.cat(points, dim=1)


def train(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], epochs: int) -> None:
    """Epochs of batches of 16, each followed by a look at the test sequences."""
    model = Plain()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batches = DataLoader(TensorDataset(*train), batch_size=16, shuffle=True)
    looks = DataLoader(TensorDataset(*test), batch_size=16)
    for _ in range(epochs):
        model.train()
        for source, target in batches:
            loss = functional.mse_loss(model(source, target), target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            for source, target in looks:
                float(functional.mse_loss(model(source, target), target))


def recurrence(steps: int) -> None:
    """The GRUs alone, forward and backward: what no decoder of this size can do without."""
    encoder, decoder = nn.GRU(2, 2, batch_first=True), nn.GRU(2, 2, batch_first=True)
    x = torch.randn(16, 2, 2)
    for step in range(steps):
        _, hidden = encoder(x)
        if step % 2:  # half of the time the teacher says all points at once
            said, _ = decoder(x, hidden)
        else:
            said, hidden = decoder(x[:, :1], hidden)
            said, _ = decoder(said, hidden)
        said.sum().backward()
