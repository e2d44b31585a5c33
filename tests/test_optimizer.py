"""torch's Adam without its wrapping is torch's Adam."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from mirada.training.optimizer import Adam


def trained(kind: type[torch.optim.Adam], *, schedule: bool, resume: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(16, 4)
    optimizer = kind(model.parameters(), lr=0.05, fused=True)
    cycle = OneCycleLR(optimizer, 0.05, total_steps=20) if schedule else None
    for step in range(20):
        if resume and step == 10:
            state = optimizer.state_dict()
            optimizer = kind(model.parameters(), lr=0.05, fused=True)
            optimizer.load_state_dict(state)
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert all(parameter.grad is None for parameter in model.parameters())
        if cycle and not resume:
            cycle.step()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize(("schedule", "resume"), [(False, False), (True, False), (False, True)])
def test_every_bit_is_the_same(schedule: bool, resume: bool):
    ours = trained(Adam, schedule=schedule, resume=resume)
    theirs = trained(torch.optim.Adam, schedule=schedule, resume=resume)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_torchs_own_stays_as_it_is():
    assert torch.optim.Adam.step is not Adam.step
    assert torch.optim.Adam.add_param_group is not Adam.add_param_group


def test_it_leaves_the_compiler_alone():
    script = """if True:
    import sys, torch
    from mirada.training.optimizer import Adam
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Adam([weight], fused=True)
    weight.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
    assert "torch._dynamo" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", script], check=True)
