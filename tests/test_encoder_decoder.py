"""The encoder and decoder by numbers: each tensor that the original write-up of squares prints, told and drawn."""

from __future__ import annotations

import pytest
import torch

from mirada.cli import main
from mirada.plots import png
from mirada.systems._encoder_decoder import walk


@pytest.fixture(scope="module")
def steps():
    return walk()


@pytest.mark.parametrize(
    ("step", "panel", "wanted"),
    [
        ("states", 0, [[0.0832, -0.0356], [0.3105, -0.5263]]),
        ("decoder", 1, [[-0.2339, 0.4702], [-0.0226, 0.4628]]),
        ("teacher-forcing", 0, [[-0.0226, 0.4628], [0.2265, 0.4529]]),
        ("query", 0, [[0.3913, -0.6853]]),
        ("uniform", 1, [[0.1968, -0.2809]]),
        ("uniform", 2, [[0.1968, -0.2809, 0.3913, -0.6853]]),
        ("scores", 0, [[0.0569, 0.4821]]),
        ("scores", 1, [[0.3953, 0.6047]]),
        ("scaled", 0, [[0.0403, 0.3409]]),
        ("scaled", 1, [[0.4254, 0.5746]]),
        ("scaled", 2, [[0.2138, -0.3175]]),
        ("weighted-sum", 0, [[0.5557, 0.3508, 0.0935]]),
        ("weighted-sum", 1, [[0.5706, -0.0993]]),
        ("mask", 1, [[1.0, 0.0]]),
        ("attention", 0, [[-0.3555, -0.1220], [-0.2641, -0.2521]]),
    ],
)
def test_the_tensors_of_the_write_up(steps, step, panel, wanted):
    torch.testing.assert_close(steps[step].panels[panel].numbers, torch.tensor(wanted), rtol=0, atol=5.1e-5)


def test_a_score_is_length_times_length_times_cosine(steps):
    query, key, cosine, product, score = steps["geometry"].panels[0].numbers.unbind(-1)
    torch.testing.assert_close(query * key * cosine, product)
    torch.testing.assert_close(product, score)
    assert [round(float(number), 2) for number in (query[0], key[0], cosine[0])] == [1.1, 0.68, 0.73]


def test_it_is_the_same_whatever_was_drawn_before_and_draws_nothing_itself(steps):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = walk()
    assert torch.equal(torch.get_rng_state(), before)
    assert str(again) == str(steps)


def test_every_step_is_drawn(steps):
    assert all(png(step.picture)[:4] == b"\x89PNG" for step in steps.steps)
    page = next(step for step in steps.steps if step.name == "geometry").picture
    words = [text.get_text() for text in page.axes[0].get_legend().get_texts()]
    assert words[1] == "key 1: length 0.68, cosine 0.73, score 0.55"


def test_the_command_tells_and_draws_it(tmp_path, capsys):
    assert main(["walkthrough", "encoder-decoder", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "query    0.2138   -0.3175" in said
    assert len(list(tmp_path.iterdir())) == len(walk().steps)


def test_numbers_of_ones_own_are_for_the_mechanism(capsys):
    assert main(["walkthrough", "encoder-decoder", "--scale", "2"]) == 2
    assert "--scale: encoder-decoder has numbers of its own" in capsys.readouterr().err
