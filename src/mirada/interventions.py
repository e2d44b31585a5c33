"""What can be changed in a model's attention while it is watched: heads ablated, edges knocked out, weights made even.

>>> import torch, mirada
>>> model = torch.nn.MultiheadAttention(8, 2, bias=False)
>>> with mirada.watch(model, edit=mirada.interventions.ablate(heads=[0, 1])):
...     output, _ = model(*[torch.randn(3, 1, 8)] * 3)
>>> output.abs().max().item()
0.0
"""

from __future__ import annotations

from mirada.watching.edits import Edit as Edit
from mirada.watching.edits import ablate, knock_out_edges, uniform

__all__ = ["Edit", "ablate", "knock_out_edges", "uniform"]
