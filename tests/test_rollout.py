"""Rollout sends vectors back through the layers, and gives what multiplying the built matrices gives."""

from __future__ import annotations

import pytest
import torch

import mirada
from mirada import AttentionMatrix, masks, rollout


def layers(count: int, *leading: int, mask: masks.Mask | None = None) -> list[AttentionMatrix]:
    torch.manual_seed(0)
    return [AttentionMatrix(torch.randn(*leading, 7, 4), torch.randn(*leading, 7, 4), mask) for _ in range(count)]


def product(matrices: list[AttentionMatrix], residual: float, weights: torch.Tensor) -> torch.Tensor:
    joint = torch.eye(7)
    for number, matrix in enumerate(matrices):
        mean = (weights[number][:, None, None] * matrix.to_dense()).sum(-3)
        joint = (residual * torch.eye(7) + (1 - residual) * mean) @ joint
    return joint


@pytest.mark.parametrize("residual", [0.0, 0.5, 1.0])
def test_rollout_is_the_product_of_the_layers(residual: float):
    matrices = layers(3, 2, 4, mask=masks.causal(7))
    expected = product(matrices, residual, torch.full((3, 4), 0.25))
    torch.testing.assert_close(rollout(matrices, residual=residual), expected)
    torch.testing.assert_close(rollout(matrices, residual=residual, queries=[6, 0]), expected[:, [6, 0]])


def test_heads_can_be_weighted_for_all_layers_or_for_each():
    matrices = layers(2, 3)
    one = torch.tensor([0.0, 3.0, 1.0])
    each = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    torch.testing.assert_close(rollout(matrices, heads=one), product(matrices, 0.5, (one / 4).expand(2, 3)))
    scaled = each / each.sum(-1, keepdim=True)
    torch.testing.assert_close(rollout(matrices, heads=each), product(matrices, 0.5, scaled))


def test_a_single_matrix_needs_no_heads():
    (matrix,) = layers(1)
    torch.testing.assert_close(rollout([matrix]), 0.5 * torch.eye(7) + 0.5 * matrix.to_dense())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_float32(dtype: torch.dtype):
    matrices = layers(6, 4)
    halves = [AttentionMatrix(matrix.query.to(dtype), matrix.key.to(dtype)) for matrix in matrices]
    found = rollout(halves, heads=torch.tensor([1.0, 2.0, 3.0, 0.0]))
    assert found.dtype == torch.float32
    wanted = rollout(matrices, heads=torch.tensor([1.0, 2.0, 3.0, 0.0]))
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: {"matrices": []}, "at least one"),
        (lambda: {"matrices": layers(1, 2) + layers(1, 3)}, r"matrix 1 has \(3, 7, 7\), matrix 0 has \(2, 7, 7\)"),
        (lambda: {"matrices": [AttentionMatrix(torch.ones(2, 1), torch.ones(3, 1))]}, "square"),
        (
            lambda: {"matrices": [*layers(1), AttentionMatrix(*torch.ones(2, 7, 4).double())]},
            "matrix 1 has torch.float64 on cpu, matrix 0 has torch.float32 on cpu",
        ),
        (lambda: {"matrices": layers(1, 2), "residual": 1.5}, "residual must lie between 0 and 1, got 1.5"),
        (lambda: {"matrices": layers(1, 2), "heads": torch.ones(3)}, r"heads must be \(2,\) weights.*got \(3,\)"),
        (lambda: {"matrices": layers(1, 2), "heads": torch.zeros(2)}, "not all of them 0"),
        (
            lambda: {"matrices": [AttentionMatrix(torch.ones(32768, 1), torch.ones(32768, 1))]},
            "4,294,967,296 bytes: choose some with queries",
        ),
    ],
)
def test_bad_input_is_named(arguments, message: str):
    with pytest.raises(ValueError, match=message):
        rollout(**arguments())


def test_an_output_that_does_not_exist():
    with pytest.raises(IndexError, match="queries must lie between -7 and 6"):
        rollout(layers(1, 2), queries=[7])


class OneHead(torch.nn.Module):
    """Attention without a dimension of heads: (batch, L, E)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(x, x, x)


def test_examples_are_not_averaged_as_heads():
    x, model = torch.randn(3, 5, 8), OneHead()
    with mirada.watch(model) as records:
        model(x)
    for layers in (records, [record.matrix for record in records]):
        with pytest.raises(ValueError, match=r"matrix 0, \(3, 5, 5\).*weights\[:, None\]"):
            rollout(layers)
    weights = records[0].matrix.to_dense()
    torch.testing.assert_close(rollout([weights[:, None]]), 0.5 * torch.eye(5) + 0.5 * weights)


def test_a_view_of_attention_without_heads_shows_one_head_of_one_example():
    x, model = torch.randn(3, 5, 8), OneHead()
    with mirada.watch(model) as records:
        model(x)
    shown = mirada.view(records, item=1).scene
    assert shown.layers[0].heads == 1
    torch.testing.assert_close(shown.layers[0].matrix.rows([0, 4])[0], records[0].matrix.to_dense()[1, [0, 4]])
    assert any("not known" in note for note in shown.notes)
    assert shown.layers[0].value is not None
    torch.testing.assert_close(shown.layers[0].value[0], x[1])
