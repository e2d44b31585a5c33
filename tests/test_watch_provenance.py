"""Attention by hand in many forms: each is recorded as it was, whatever was written, moved or read in between."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
import pytest
import torch
from torch import einsum, nn
from torch.nn import functional
from torch.nn.functional import pad

import mirada
from mirada.interventions import ablate, uniform
from mirada.watching import UnseenAttention

B, H, L, E = 2, 4, 6, 8
CAUSAL = torch.ones(L, L, dtype=torch.bool).tril()
LATER = ~CAUSAL


class Attention(nn.Module):
    """Attention by whatever function of query, key and value; keeps the weights that it gives."""

    def __init__(self, function, **attributes):
        super().__init__()
        self.function = function
        self.weights = None
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, *tensors):
        return self.function(self, *tensors)


def tensors(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.randn(3, B, H, L, E).to(dtype).unbind()


def watched(model, *inputs, **options):
    """The records of a call that gives the same bits as unwatched."""
    with torch.no_grad():
        plain = model(*inputs)
        with mirada.watch(model, **options) as records:
            assert torch.equal(model(*inputs), plain)
    return records


def of_weights(function):
    def forward(self, q, k, v):
        self.weights = function(q, k)
        return self.weights @ v

    return Attention(forward)


WRITES = {
    "data": lambda s: s.data.masked_fill_(LATER, -torch.inf),
    "detach": lambda s: s.detach().masked_fill_(LATER, -torch.inf),
    "view": lambda s: s.view(1, *s.shape).masked_fill_(LATER, -torch.inf),
    "transpose": lambda s: s.transpose(0, 1).masked_fill_(LATER, -torch.inf),
    "transposed slice": lambda s: s.mT[..., 3, :].add_(5.0),
    "diagonal": lambda s: s.diagonal(dim1=-2, dim2=-1).fill_(-1e9),
    "slice": lambda s: s[..., :2].fill_(-1e9),
    "each example": lambda s: [part.masked_fill_(LATER, -torch.inf) for part in s],
    "one head": lambda s: s[:, 1].mul_(2.0),
    "numpy": lambda s: s.numpy().__imul__(2),
    "item": lambda s: s.__setitem__((..., 0), -1e9),
}


@pytest.mark.parametrize("way", WRITES)
@pytest.mark.parametrize("inference", [False, True])
def test_scores_that_are_written_to(way, inference):
    def weights(q, k):
        scores = q @ k.mT / math.sqrt(E)
        WRITES[way](scores)
        return scores.softmax(-1)

    model = of_weights(weights)
    with torch.inference_mode(inference), torch.no_grad(), mirada.watch(model) as records:
        model(*tensors())
        found = records[0].matrix.to_dense()
    torch.testing.assert_close(found, model.weights, rtol=0, atol=1e-5)


def written_query(q, k):
    q = q.clone()
    scores = q @ k.mT
    q.zero_()
    return scores.softmax(-1)


def written_mask(q, k):
    mask = torch.zeros(L, L)
    mask[:, 4:] = -1e9
    scores = q @ k.mT + mask
    mask.zero_()
    return scores.softmax(-1)


@pytest.mark.parametrize("weights", [written_query, written_mask])
def test_what_scores_were_made_of_is_written_to(weights):
    model = of_weights(weights)
    records = watched(model, *tensors())
    torch.testing.assert_close(records[0].matrix.to_dense(), model.weights, rtol=0, atol=1e-5)


def test_weights_that_are_written_to_are_named():
    def weights(q, k):
        found = (q @ k.mT).softmax(-1)
        found[..., 3].zero_()
        return found

    with pytest.raises(ValueError, match="changed after the softmax, by writes to them"):
        watched(of_weights(weights), *tensors())


FORMS = {
    "two dimensions": lambda q, k, v: (q[0, 0] @ k[0, 0].T).softmax(-1) @ v[0, 0],
    "Luong": lambda q, k, v: torch.bmm(torch.bmm(q[:, 0, :1], k[:, 0].mT).squeeze(1).softmax(-1).unsqueeze(1), v[:, 0]),
    "Luong, key first": lambda q, k, v: torch.bmm(
        torch.softmax(torch.bmm(k[:, 0], q[:, 0, -1, :, None]).squeeze(2), 1)[:, None], v[:, 0]
    ),
    "value first": lambda q, k, v: (v.mT @ torch.softmax(q @ k.mT, -1).mT).mT,
    "value first, einsum": lambda q, k, v: einsum("bhjd,bhij->bhid", v, (q @ k.mT).softmax(-1)),
    "keys first": lambda q, k, v: torch.softmax(k @ q.mT, -2).mT @ v,
    "keys first, einsum": lambda q, k, v: einsum("bhjd,bhid->bhij", k, q).softmax(-1) @ v,
    "heads last": lambda q, k, v: einsum("bqkh,bhkd->bhqd", torch.softmax(einsum("bhqd,bhkd->bqkh", q, k), 2), v),
    "folded scores": lambda q, k, v: (q @ k.mT).flatten(0, 1).softmax(-1) @ v.flatten(0, 1),
    "folded weights": lambda q, k, v: (torch.softmax(q @ k.mT, -1).flatten(0, 1) @ v.flatten(0, 1)).view(B, H, L, E),
    "where, method": lambda q, k, v: (q @ k.mT).where(CAUSAL, torch.tensor(-torch.inf)).softmax(-1) @ v,
    "where, full": lambda q, k, v: torch.where(CAUSAL, s := q @ k.mT, torch.full_like(s, -9e15)).softmax(-1) @ v,
    "filled again": lambda q, k, v: (q @ k.mT).masked_fill(LATER, -1e30).softmax(-1).masked_fill(LATER, 0.0) @ v,
    "where nan": lambda q, k, v: torch.where(torch.isnan(w := (q @ k.mT).softmax(-1)), torch.zeros_like(w), w) @ v,
    "nan_to_num": lambda q, k, v: torch.nan_to_num((q @ k.mT).masked_fill(LATER, -torch.inf).softmax(-1)) @ v,
    "max": lambda q, k, v: torch.max(q @ k.mT, torch.tensor(torch.finfo(torch.float32).min)).softmax(-1) @ v,
    "clamp": lambda q, k, v: torch.softmax((q @ k.mT).clamp(-5e4, 5e4), -1) @ v,
    "0/1 mask": lambda q, k, v: torch.softmax((q @ k.mT) * CAUSAL + -1e4 * (1 - CAUSAL.float()), -1) @ v,
    "whole numbers": lambda q, k, v: torch.softmax(q @ k.mT + (1 - CAUSAL.long()) * -10000, -1) @ v,
    "softcap": lambda q, k, v: torch.softmax(5 * torch.tanh(q @ k.mT / 5), -1) @ v,
    "exp / sum": lambda q, k, v: (e := torch.exp(q @ k.mT)) / e.sum(-1, keepdim=True) @ v,
    "log_softmax": lambda q, k, v: (q @ k.mT).log_softmax(-1).exp() @ v,
    "elementwise": lambda q, k, v: (
        (q[..., None, :] * k[..., None, :, :]).sum(-1).softmax(-1)[..., None] * v[..., None, :, :]
    ).sum(-2),
    "by name": lambda q, k, v: (
        torch.masked_fill(input=torch.matmul(other=k.mT, input=q), mask=LATER, value=-1e9).softmax(-1) @ v
    ),
    "Shaw": lambda q, k, v: einsum("bhij,ijd->bhid", (q @ k.mT).softmax(-1), torch.ones(L, L, E)),
    "pairs": lambda q, k, v: einsum("bhij,bijd->bhid", (q @ k.mT).softmax(-1), torch.ones(B, L, L, E)),
    "one step": lambda q, k, v: einsum("bhm,bhmv->bhv", einsum("bhk,bhmk->bhm", q[:, :, -1], k).softmax(-1), v),
    "wide values": lambda q, k, v: einsum("bhij,bhjcd->bhicd", (q @ k.mT).softmax(-1), v.unflatten(-1, (2, 4))),
}


class Softmaxes(torch.overrides.TorchFunctionMode):
    """What every softmax gave."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if (func.__name__ in ("softmax", "div", "nan_to_num") and out.shape[-1] != 1) or func.__name__ == "exp":
            self.found.append(out)
        return out


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_people_write(form):
    model = Attention(lambda _, q, k, v: FORMS[form](q, k, v))
    records = watched(model, *tensors())
    assert len(records) == 1
    with torch.no_grad(), Softmaxes() as softmaxes:
        model(*tensors())
    found = records[0].matrix.to_dense()
    same = [weights for weights in softmaxes.found if weights.numel() == found.numel()]
    if form in ("keys first", "heads last"):
        same = [weights.mT if form == "keys first" else weights.permute(0, 3, 1, 2) for weights in same]
    assert min(float((weights.reshape(found.shape) - found).abs().max()) for weights in same) < 1e-5


READS = {
    "print": lambda t: print(t, file=io.StringIO()),
    "len": len,
    "format": lambda t: f"{t}",
    "equal": lambda t: (t == 0).any(),
    "greater": lambda t: (t > 0).any(),
    "complement": lambda t: 1 - t,
    "in": lambda t: 0.5 in t,
    "requires_grad_": lambda t: t.requires_grad_(),
    "sum": lambda t: t.sum(),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("at", ["scores", "weights"])
def test_reading_loses_nothing(read, at):
    def weights(q, k):
        scores = q @ k.mT
        if at == "scores":
            READS[read](scores)
        found = scores.softmax(-1)
        if at == "weights":
            READS[read](found)
        return found

    model = of_weights(weights)
    with mirada.watch(model) as records:
        model(*tensors())
    torch.testing.assert_close(records[0].matrix.to_dense(), model.weights.detach(), rtol=0, atol=1e-5)


def test_an_index_of_numpy():
    order = np.array([1, 0, 2, 3])
    model = Attention(lambda self, q, k, v: ((q @ k.mT).softmax(-1) @ v)[..., order])
    assert len(watched(model, *tensors())) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("factor", [0.5, 100.0, 3e4])
def test_scores_in_float32_of_a_half_model(dtype, factor):
    bias = 1000 + 5 * torch.randn(H, L, L)
    model = of_weights(lambda q, k: ((q.float() * factor) @ k.float().mT + bias).softmax(-1).to(dtype))
    records = watched(model, *tensors(dtype))
    assert float((records[0].matrix.to_dense().float() - model.weights.float()).abs().max()) < 0.01


@pytest.mark.parametrize("number", [-1e9, -1e4, torch.finfo(torch.float32).min, -torch.inf])
def test_a_row_that_is_hidden_whole(number):
    """By a finite number the model shares its attention out evenly, or as its scores say; by −inf it has none."""
    hidden = torch.zeros(L, L, dtype=torch.bool)
    hidden[3] = True
    model = of_weights(lambda q, k: (q @ k.mT).masked_fill(hidden, number).softmax(-1))
    with torch.no_grad(), mirada.watch(model) as records:
        model(*tensors())
    expected = model.weights.nan_to_num(0.0)
    torch.testing.assert_close(records[0].matrix.to_dense(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", [-1e4, -1e5, -1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("by_hand", [False, True])
def test_uniform_attends_to_no_padding(number, by_hand):
    mask = (1.0 - torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])[:, None, None, :].float()) * number

    def forward(self, q, k, v):
        if by_hand:
            return (q @ k.mT / math.sqrt(E) + mask).softmax(-1) @ v
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    model = Attention(forward)
    with torch.no_grad(), mirada.watch(model, edit=uniform()) as records:
        model(*tensors())
    torch.testing.assert_close(records[0].matrix.to_dense()[1, 0, 0], torch.tensor([1, 1, 1, 0, 0, 0]) / 3)


def test_an_edit_of_scores_written_to_through_another_name():
    def weights(q, k):
        scores = q @ k.mT
        scores.data.masked_fill_(LATER, -torch.inf)
        return scores.softmax(-1)

    model, (q, k, v) = of_weights(weights), tensors()
    with torch.no_grad(), mirada.watch(model, edit=uniform(heads=[1])):
        context = model(q, k, v)
    expected = CAUSAL / CAUSAL.sum(-1, keepdim=True) @ v[:, 1]
    torch.testing.assert_close(context[:, 1], expected)


def test_one_softmax_used_twice_is_one_record():
    model = Attention(lambda self, q, k, v: (w := (q @ k.mT).softmax(-1)) @ v + w @ (2 * v))
    records = watched(model, *tensors())
    assert [tuple(record.shape) for record in records] == [(B, H, L, L)]
    assert [tuple(record.shape) for record in records.stitched()] == [(B, H, L, L)]


def test_windows_of_five_dimensions_know_their_heads():
    def forward(self, q, k, v):
        k, v = (pad(t, (0, 0, 1, 1)).unfold(2, 3, 1).mT for t in (k, v))
        return (torch.softmax(q[..., None, :] @ k.mT, -1) @ v)[..., 0, :]  # (batch, heads, positions, width)

    model, inputs = Attention(forward, num_heads=H), tensors()
    plain = model(*inputs)
    with mirada.watch(model, edit=ablate(heads=[1])) as records:
        changed = (model(*inputs) != plain).any(-1)
    assert records[0].dims == ("unknown", "heads", "unknown")
    assert changed[:, 1].all()
    assert not changed[:, [0, 2, 3]].any()


@pytest.mark.parametrize("attributes", [{}, {"num_heads": 6}])
def test_heads_that_cannot_be_told_are_refused(attributes):
    """(batch, groups, heads of a group, L, S): no dimension counts all heads."""

    def forward(self, q, k, v):
        q, k, v = (t.unflatten(1, (2, 2)) for t in (q, k, v))
        return (q @ k.mT).softmax(-1) @ v

    model = Attention(forward, **attributes)
    with pytest.raises(ValueError, match="counts heads is not known"), mirada.watch(model, heads=[0]):
        model(*tensors())


def test_heads_folded_into_the_batch():
    def forward(self, q, k, v):
        q, k, v = (t.reshape(B * H, L, E) for t in (q, k, v))
        return torch.bmm((torch.bmm(q, k.mT)).softmax(-1), v).view(B, H, L, E)

    model, inputs = Attention(forward), tensors()
    records = watched(model, *inputs)
    assert records[0].shape == (B, H, L, L)
    assert records[0].dims == ("batch", "heads")
    with torch.no_grad(), mirada.watch(model, edit=ablate(heads=[1])):
        edited = model(*inputs)
    assert not edited[:, 1].any()
    assert edited[:, [0, 2, 3]].any()


def test_torchs_function_called_directly():
    class AttentionPool(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.MultiheadAttention(32, 4)

        def forward(self, x):
            p = self.p
            weights, bias, out = p.in_proj_weight, p.in_proj_bias, p.out_proj
            rest = (None, None, False, 0.0, out.weight, out.bias)
            return functional.multi_head_attention_forward(x, x, x, 32, 4, weights, bias, *rest, need_weights=True)[0]

    assert watched(AttentionPool(), torch.randn(5, 2, 32))[0].shape == (2, 4, 5, 5)


CHANGES = {
    "mul": lambda a: a * 0.5,
    "convolution": lambda a: functional.conv2d(a, torch.ones(H, H, 1, 1) / H),
    "mean over heads": lambda a: a.mean(1, keepdim=True),
    "threshold": lambda a: torch.where(a > 0.1, a, torch.zeros_like(a)),
    "clamp": lambda a: a.clamp(0.1, 0.2),
    "slice of the keys": lambda a: a[..., :4],
    "transposed": lambda a: a.mT,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("default::mirada.watching.UnseenAttention")
def test_nothing_is_silent_beside_an_attention_that_is_seen(change):
    def forward(self, q, k, v):
        weights = CHANGES[change]((q @ k.mT).softmax(-1))
        return functional.scaled_dot_product_attention(q, k, v) + weights @ v[..., : weights.shape[-1], :]

    model = Attention(forward)
    with torch.no_grad(), pytest.warns(UnseenAttention), mirada.watch(model) as records:
        model(*tensors())
    assert len(records) == 1


class Encoder(nn.Module):
    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize("how", ["scripted", "traced", "exported"])
def test_closed_parts_are_named_where_they_run(how):
    x = torch.randn(2, 4, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = {
            "scripted": lambda: torch.jit.script(Encoder()),
            "traced": lambda: torch.jit.trace(Encoder(), x),
            "exported": lambda: torch.export.export(Encoder(), (x,)).module(),
        }[how]()
    model = nn.Sequential(Encoder(), part)
    with pytest.warns(UnseenAttention, match="1: it is"), mirada.watch(model) as records:
        model(x)
    assert records.names() == ["0"]
    with mirada.watch(model) as records:
        model[0](x)
    assert not records.unseen


def test_a_part_in_another_thread_is_named():
    import threading

    class Threaded(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Encoder(), Encoder()

        def forward(self, x):
            thread = threading.Thread(target=self.second, args=(x,))
            thread.start()
            thread.join()
            return self.first(x)

    model = Threaded()
    with pytest.warns(UnseenAttention, match="second: it ran in another thread"), mirada.watch(model):
        model(torch.randn(2, 4, 8, 8))


def test_a_gate_that_is_called_an_attention_is_no_alarm():
    class ChannelAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.squeeze = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return x * torch.sigmoid(self.squeeze(x.mean((-2, -1), keepdim=True)))

    model = nn.Sequential(Encoder(), ChannelAttention())
    with mirada.watch(model) as records:
        model(torch.randn(2, 4, 8, 8))
    assert not records.unseen


def test_layers_by_number_are_blocks_in_any_wrapper():
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 48, batch_first=True), 3)
    model = nn.Sequential(nn.Linear(32, 32), stack).eval()
    for number in range(3):
        with torch.no_grad(), mirada.watch(model, layers=[number]) as records:
            model(torch.randn(2, 5, 32))
        assert records.names() == [f"1.layers.{number}.self_attn"]
    with pytest.raises(ValueError, match=r"0\.layers\.1.*1\.layers\.1"):
        mirada.watch(nn.ModuleList([stack, stack.__class__(stack.layers[0], 2)]), layers=1)


@pytest.mark.parametrize("how", ["module", "function"])
def test_transforms_within_transforms(how):
    from torch.func import functional_call, grad, hessian, vmap

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.q = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)

        def forward(self, x):
            q = self.q(x)
            return self.attn(x, x, x)[0] if how == "module" else functional.scaled_dot_product_attention(q, q, q)

    model, x = Model(), torch.randn(4, 5, 8)
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return functional_call(model, parameters, (x[None],)).sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for run in (
            lambda: vmap(grad(loss), in_dims=(None, 0))(parameters, x),
            lambda: hessian(lambda x: loss(parameters, x))(x[0]),
            lambda: grad(lambda x: grad(lambda x: loss(parameters, x))(x).sum())(x[0]),
        ):
            with mirada.watch(model) as records:
                run()
            assert len(records) >= 1


def test_a_question_after_a_watch_walks_few_modules():
    import sys

    model = Encoder()
    with torch.no_grad(), mirada.watch(model) as records:
        model(torch.randn(2, 4, 8, 8))
    assert records[0].matrix is records[0].matrix
    with torch.no_grad(), mirada.watch(model) as records:
        model(torch.randn(2, 4, 8, 8))
    files = set()
    sys.setprofile(lambda frame, event, _: files.add(frame.f_code.co_filename))
    try:
        records[0].matrix.entropy()
    finally:
        sys.setprofile(None)
    walked = {name.partition("/src/mirada/")[2] for name in files if "/src/mirada/" in name}
    assert len({name for name in walked if name.startswith("watching/")}) <= 6, walked


def test_a_part_of_an_attention_that_is_recorded_is_no_alarm():
    class InnerAttention(nn.Module):
        def forward(self, x):
            return x.relu()

    class OuterAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = InnerAttention()

        def forward(self, x):
            return functional.scaled_dot_product_attention(x, x, self.inner(x))

    with mirada.watch(model := OuterAttention()) as records:
        model(torch.randn(2, 4, 8, 8))
    assert not records.unseen
    with pytest.raises(ValueError, match="it ran, and no attention"), mirada.watch(model := InnerAttention()):
        model(torch.randn(2, 4, 8, 8))
