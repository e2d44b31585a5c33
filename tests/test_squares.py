"""What the squares promise: the worked figures, nothing read from padding, and an error that attention brings down."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mirada
from mirada import attention
from mirada.nn import CrossAttention
from mirada.systems import squares
from mirada.systems.squares import AttentionDecoder, Decoder, EncoderDecoder, Settings
from mirada.training.run import RunError

PERFECT = torch.tensor([[[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]])
KINDS = ("none", "single", "multihead")


def close(found: Tensor, wanted: list) -> None:
    torch.testing.assert_close(found.detach().squeeze(), torch.tensor(wanted), rtol=0, atol=5.1e-5)


def model(kind: str, **options: Any) -> EncoderDecoder:
    torch.manual_seed(0)
    settings = Settings(attention=kind, **options)  # pyright: ignore[reportArgumentType]
    return squares.build(settings, squares.load(settings))


# --- the worked figures ---


@pytest.fixture
def encoder() -> nn.GRU:
    torch.manual_seed(21)
    return EncoderDecoder(Decoder).encoder


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(21)
    return Decoder()


def test_encoder_states(encoder):
    close(encoder(PERFECT[:, :2])[0], [[0.0832, -0.0356], [0.3105, -0.5263]])


def test_plain_decoder_fed_back_and_taught(encoder, decoder):
    _, state = encoder(PERFECT[:, :2])
    first, state, _ = decoder(PERFECT[:, 1:2], state, None, None)
    close(first, [-0.2339, 0.4702])
    close(decoder(first, state, None, None)[0], [-0.0226, 0.4628])
    close(decoder(PERFECT[:, 2:3], state, None, None)[0], [0.2265, 0.4529])


def test_a_query_among_the_encoder_s_states(encoder, decoder):
    states, state = encoder(PERFECT[:, :2])
    _, query, _ = decoder(PERFECT[:, 1:2], state, None, None)
    close(query, [0.3913, -0.6853])
    trace = mirada.trace(query[0], states[0], states[0])
    close(trace.scores, [0.0569, 0.4821])
    close(attention(query, states, states, scale=1.0, need_weights=True)[1], [0.3953, 0.6047])
    close(trace.weights, [0.4254, 0.5746])
    close(trace.context, [0.2138, -0.3175])


def test_a_query_among_three_keys():
    query, keys = torch.tensor([[0.55, 0.95]]), torch.tensor([[0.65, 0.2], [0.85, -0.4], [-0.95, -0.75]])
    trace = mirada.trace(query, keys, keys, scale=1.0)
    close(trace.scores, [0.5475, 0.0875, -1.2350])
    close(trace.weights, [0.5557, 0.3508, 0.0935])
    close(trace.context, [0.5706, -0.0993])


def test_a_seed_draws_gru_query_key_value_and_output_in_this_order():
    torch.manual_seed(21)
    found = AttentionDecoder().state_dict()
    torch.manual_seed(21)
    gru, query, key = nn.GRU(2, 2, batch_first=True), nn.Linear(2, 2), nn.Linear(2, 2)
    nn.Linear(2, 2)  # the value's, drawn and left unused
    wanted = {"gru": gru, "attention.query": query, "attention.key": key, "out": nn.Linear(4, 2)}
    assert found.keys() == {f"{place}.{name}" for place, layer in wanted.items() for name in layer.state_dict()}
    for place, layer in wanted.items():
        for name, tensor in layer.state_dict().items():
            assert torch.equal(found[f"{place}.{name}"], tensor)


# --- the model ---


@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind):
    points, weights = model(kind)(torch.randn(5, 4, 2), torch.tensor([2, 3, 4, 2, 4]))
    assert points.shape == (5, 2, 2)
    assert (None if weights is None else weights.shape) == {
        "none": None,
        "single": (5, 2, 4),
        "multihead": (3, 5, 2, 4),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_neither_looked_at_nor_the_last_state(kind):
    net, source, lengths = model(kind), torch.randn(3, 4, 2), torch.tensor([2, 3, 4])
    points, weights = net(source, lengths)
    for n, length in enumerate(lengths.tolist()):
        alone, _ = net(source[n : n + 1, :length], lengths[n : n + 1])
        torch.testing.assert_close(points[n : n + 1], alone)
        if weights is not None:
            assert weights[..., n, :, length:].count_nonzero() == 0
            assert (weights[..., n, :, :length] > 0).all()


def test_a_real_point_on_an_axis_is_seen():
    source = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [9.0, 9.0]]])
    _, weights = model("single")(source, torch.tensor([2]))
    assert (weights > 0).tolist() == [[[True, True, False]] * 2]


@pytest.mark.parametrize("kind", KINDS)
def test_teaching_feeds_the_true_point_half_the_time(kind):
    net = model(kind)
    source, lengths, target = torch.randn(4, 2, 2), torch.full((4,), 2), torch.randn(4, 2, 2)
    states, state, point, mask = net.encode(source, lengths)
    memory = net.decoder.remember(states)
    first, state, _ = net.decoder(point, state, memory, mask)
    taught, _, _ = net.decoder(target[:, :1], state, memory, mask)
    free, _, _ = net.decoder(first, state, memory, mask)
    times = {"taught": 0, "free": 0}
    for _ in range(200):
        points, _ = net(source, lengths, target)
        torch.testing.assert_close(points[:, :1], first)
        is_taught = torch.allclose(points[:, 1:], taught, atol=1e-6)
        assert is_taught or torch.allclose(points[:, 1:], free, atol=1e-6)
        times["taught" if is_taught else "free"] += 1
    assert min(times.values()) > 60


@pytest.mark.parametrize(("forcing", "taught"), [(0.0, False), (1.0, True)])
def test_teacher_forcing_never_and_always(forcing, taught):
    net = model("single", teacher_forcing=forcing)
    source, lengths, target = torch.randn(4, 2, 2), torch.full((4,), 2), torch.randn(4, 2, 2)
    states, state, point, mask = net.encode(source, lengths)
    memory = net.decoder.remember(states)
    first, state, _ = net.decoder(point, state, memory, mask)
    wanted, _, _ = net.decoder(target[:, :1] if taught else first, state, memory, mask)
    for _ in range(20):
        torch.testing.assert_close(net(source, lengths, target)[0][:, 1:], wanted)


@pytest.mark.parametrize("score", ["scaled", "general", "additive"])
def test_each_score_gives_the_weights_of_its_own_layer(score):
    net = model("single", score=score, hidden=3, project_values=True)
    source, lengths = torch.randn(4, 2, 2), torch.full((4,), 2)
    points, weights = net(source, lengths)
    assert points.shape == (4, 2, 2)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 2))
    assert net.decoder.attention.score == ("dot" if score == "scaled" else score)
    assert net.encoder.hidden_size == 3
    assert isinstance(net.decoder.attention.value, nn.Linear)


def test_queries_and_keys_have_a_width_of_their_own():
    net = model("single", hidden=3, embed_dim=5)
    assert (net.decoder.attention.query.weight.shape, net.decoder.attention.key.weight.shape) == ((5, 3), (5, 3))
    assert net.decoder.out.in_features == 3 + 3  # the states are averaged as they are
    projected = model("single", hidden=3, embed_dim=5, project_values=True)
    assert projected.decoder.out.in_features == 3 + 5
    assert projected(torch.randn(4, 2, 2), torch.full((4,), 2))[0].shape == (4, 2, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("given", "wanted"), [(1, 1), (3, 1), (2, 5)])
def test_walks_of_other_lengths(kind, given, wanted):
    settings = Settings(attention=kind, source_length=given, target_length=wanted)
    data = squares.load(settings)
    assert (data.train.source.shape, data.train.target.shape) == ((256, given, 2), (256, wanted, 2))
    net = squares.build(settings, data)
    points, weights = net(data.test.source, data.test.lengths)
    assert points.shape == data.test.target.shape
    assert weights is None or weights.shape[-3:] == (128, wanted, given)
    # Forced, each step depends on the true point before it alone: the same as the steps one by one.
    net.teacher_forcing = 1.0
    forced, _ = net(data.test.source, data.test.lengths, data.test.target)
    states, state, point, mask = net.encode(data.test.source, data.test.lengths)
    memory = net.decoder.remember(states)
    for step in range(wanted):
        found, state, _ = net.decoder(point, state, memory, mask)
        torch.testing.assert_close(found, forced[:, step : step + 1])
        point = data.test.target[:, step : step + 1]


def test_each_step_has_a_coin_of_its_own():
    net = model("single", target_length=4)
    source, lengths, target = torch.randn(2, 2, 2), torch.full((2,), 2), torch.randn(2, 4, 2)
    found = {tuple(net(source, lengths, target)[0][0, :, 0].tolist()) for _ in range(200)}
    assert len({tuple(round(x, 5) for x in one) for one in found}) == 2**3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"attention": "none", "heads": 7}, "heads=7"),
        ({"attention": "single", "heads": 2}, "heads=2"),
        ({"attention": "none", "score": "general"}, "score='general'"),
        ({"attention": "multihead", "project_values": True}, "project_values=True"),
        ({"teacher_forcing": 1.5}, "teacher_forcing=1.5"),
        ({"hidden": 0}, "hidden=0"),
        ({"attention": "none", "embed_dim": 3}, "embed_dim=3"),
        ({"score": "general", "embed_dim": 3}, "embed_dim=3"),
        ({"variable_length": True, "source_length": 3}, "source_length=3"),
        ({"target_length": 65}, "target_length=65: at most 64"),
    ],
)
def test_an_option_that_the_model_would_ignore_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        Settings(**options)


def test_going_on_compares_an_option_with_the_run_it_belongs_to(tmp_path):
    begun = mirada.train("squares", out=tmp_path / "run", epochs=1, attention="multihead", progress=False)
    again = mirada.train("squares", out=tmp_path / "run", resume=True, heads=3, progress=False)
    assert again.settings == begun.settings
    with pytest.raises(RunError, match="begun with heads=3, not 2"):
        mirada.train("squares", out=tmp_path / "run", resume=True, heads=2, progress=False)
    with pytest.raises(RunError, match="begun with attention='multihead', not 'single'"):
        mirada.train("squares", out=tmp_path / "run", resume=True, attention="single", progress=False)


def test_the_direction_of_a_walk_is_the_sign_of_its_area():
    data = squares.load(Settings()).train
    x, y = torch.cat([data.source, data.target], 1).unbind(-1)  # (N, 4) each
    area = (x * y.roll(-1, 1) - x.roll(-1, 1) * y).sum(1)  # the shoelace formula: negative where clockwise
    assert torch.equal(area < 0, data.clockwise)


def test_by_default_each_point_of_the_first_training_square_attends_to_one_corner(tmp_path):
    run = mirada.train("squares", out=tmp_path / "run", progress=False)
    train = run.data.train
    with torch.no_grad():
        _, weights = run.model(train.source[:1], train.lengths[:1])
    assert weights[0].amax(-1).min() >= 0.9


def test_no_teaching_when_measured():
    net = model("single").eval()
    batch = torch.randn(4, 2, 2), torch.full((4,), 2), torch.randn(4, 2, 2)
    with torch.no_grad():
        losses = {float(squares.measure(net, batch)["loss"]) for _ in range(20)}
        own = float((net(*batch[:2])[0] - batch[2]).square().mean((1, 2)).sum())
    assert list(losses) == [pytest.approx(own)]


def test_every_parameter_gets_a_gradient():
    for kind in KINDS:
        net = model(kind)
        squares.measure(net, (torch.randn(4, 2, 2), torch.full((4,), 2), torch.randn(4, 2, 2)))["loss"].backward()
        assert all(parameter.grad is not None for parameter in net.parameters())


def test_three_draws_of_their_own():
    data = squares.load(Settings())
    assert [len(split.source) for split in (data.train, data.validation, data.test)] == [256, 128, 128]
    assert not torch.equal(data.validation.source, data.test.source)


# --- a run ---


@pytest.fixture(scope="module", params=["single", "multihead", "none"])
def run(request, tmp_path_factory) -> mirada.Run:
    folder = tmp_path_factory.mktemp("runs") / request.param
    variable_length = request.param == "multihead"
    return mirada.train(
        "squares", out=folder, attention=request.param, variable_length=variable_length, epochs=2, progress=False
    )


def test_every_split_is_measured_every_epoch_and_the_test_again_at_the_end(run):
    told = [(line["epoch"], line["split"]) for line in run.metrics]
    assert told[:-1] == [(epoch, split) for epoch in (1, 2) for split in ("train", "validation", "test")]
    assert told[-1][1] == "test"
    assert run.evaluate()["test"]["loss"] == pytest.approx(run.metrics[-1]["loss"])


def test_pictures(run):
    names = {path.stem for path in run.plot()}
    wanted = {"squares", "learning", "predictions"}
    wanted |= set() if run.settings.attention == "none" else {"attention"}
    assert names == wanted | ({"vectors"} if run.settings.attention == "single" else set())


def test_predict(run):
    text, figure = run.predict(["-1,-1", "-1, 1"])
    assert [line.split()[-1] for line in text.splitlines()[:4]] == ["given", "given", "predicted", "predicted"]
    source = torch.zeros(1, 4 if run.settings.variable_length else 2, 2)
    source[:, :2] = PERFECT[:, :2]
    points, _ = run.model(source, torch.tensor([2]))
    assert f"{points[0, 0, 0]:.2f}" in text.splitlines()[2]
    maps = {"none": 0, "single": 1, "multihead": 3}[run.settings.attention]
    assert len(figure.axes) == 1 + maps
    assert text.count("attends") == 2 * maps


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "got 0, wanted 2"),
        (["1,1"], "got 1, wanted 2"),
        (["1,1"] * 5, "got 5, wanted 2"),
        (["1,1", "1"], "a corner is two numbers, x,y, as in .* got '1'"),
        (["1,1", "1,1,1"], "got '1,1,1'"),
        (["1,1", "one,two"], "got 'one,two'"),
        (["1,1", "nan,1"], "must be finite"),
    ],
)
def test_bad_corners(run, inputs, words):
    with pytest.raises(ValueError, match=words):
        run.predict(inputs)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match=r"heads=0: .*\b1\b"):
        Settings(attention="multihead", heads=0)
    with pytest.raises(ValueError, match=r"batch_size=0: .*\b1\b"):
        Settings(batch_size=0)


@pytest.mark.slow
@pytest.mark.parametrize("variable_length", [False, True])
def test_attention_brings_the_error_down_tenfold(tmp_path: Path, variable_length):
    def error(kind: str) -> float:
        run = mirada.train(
            "squares", out=tmp_path / kind, attention=kind, variable_length=variable_length, progress=False
        )
        return run.metrics[-1]["loss"]

    without = error("none")
    for kind in ("single", "multihead"):
        assert error(kind) <= min(0.03, without / 10)


def test_the_attention_of_one_head_has_no_value_layer():
    layer = AttentionDecoder().attention
    assert isinstance(layer, CrossAttention)
    assert math.prod(layer.key.weight.shape) == 4
    assert not list(layer.value.parameters())
