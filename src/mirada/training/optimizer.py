"""torch's Adam without its wrapping: the same arithmetic, state and schedules.

Every optimizer of torch imports the compiler, a second of start-up, and opens a profiler's record at each step. A small
model that is trained as it stands needs neither.
"""

from __future__ import annotations

from inspect import unwrap

import torch


class Adam(torch.optim.Adam):
    """Adam (Kingma & Ba 2015). Hooks before and after a step, and ``differentiable``, are not for it.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = Adam([weight], lr=0.5)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> round(weight.item(), 6)
    0.5
    """

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    setattr(step, "hooked", True)  # noqa: B010 - else torch wraps it again; pyright knows no attribute of a function
    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
