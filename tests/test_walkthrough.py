"""The worked example, figure by figure; the slips beside the right result; and the user's own matrices."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from mirada.systems import walkthrough
from mirada.systems.walkthrough import Settings, walk

PADDING_PERCENTS = [
    [23, 24, 26, 27, 0],
    [20, 23, 27, 31, 0],
    [17, 21, 27, 35, 0],
    [14, 20, 28, 39, 0],
    [11, 18, 28, 43, 0],
]


@pytest.fixture(scope="module")
def example():
    return walk()


def percents(panel):
    return (100 * panel.numbers).round().int().tolist()


def test_the_steps_in_their_order(example):
    assert [step.name for step in example.steps] == [
        *("input", "scores", "padding", "no-peek", "both", "weights", "percents", "context"),
        *("batch", "slip-fill", "slip-dimension", "scale"),
    ]
    assert all(step.title and step.explanation.endswith(".") and step.panels for step in example.steps)


def test_the_scores(example):
    (scores,) = example["scores"].panels
    assert scores.numbers[0].tolist() == pytest.approx([0.0285, 0.0735, 0.1185, 0.1635, 0.2085], abs=5e-5)
    assert scores.numbers[4, 4].item() == pytest.approx(1.9885, abs=5e-5)


def test_each_mask_hides_what_it_says_and_nothing_else(example):
    last = torch.zeros(5, 5, dtype=torch.bool)
    last[:, 4] = True
    future = torch.ones(5, 5).triu(1).bool()
    for name, hidden in {"padding": last, "no-peek": future, "both": last | future}.items():
        mask, panel = example[name].panels
        assert torch.equal(mask.numbers, (~hidden).float())
        assert torch.equal(panel.numbers == -torch.inf, hidden)
        assert torch.equal(panel.numbers[~hidden], example["scores"].panels[0].numbers[~hidden])


def test_the_weights_in_percents(example):
    padding, causal, both = example["percents"].panels
    assert percents(padding) == PADDING_PERCENTS
    assert percents(causal)[:2] == [[100, 0, 0, 0, 0], [46, 54, 0, 0, 0]]
    assert percents(both)[4] == PADDING_PERCENTS[4]  # the last query peeks at nothing that padding doesn't hide
    assert [panel.values for panel in example["weights"].panels] == ["decimals"] * 3


def test_a_cell_is_read_aloud(example):
    assert "row 3, column 4 of the first table: query 3 takes 35 % of its context" in example["percents"].explanation
    assert "query 3 attends to nothing" in walk(Settings(padding=5))["percents"].explanation


def test_the_context_has_the_shape_of_the_input_and_is_the_mean_of_the_values(example):
    weights, context = example["context"].panels
    value = torch.arange(50).view(5, 10) / 100
    assert context.numbers.shape == value.shape
    torch.testing.assert_close(context.numbers, weights.numbers @ value)
    assert percents(weights) == PADDING_PERCENTS


def test_in_a_batch_each_sequence_has_its_own_padding_and_nothing_to_see_gives_zeros(example):
    four, two, none = example["batch"].panels
    assert percents(four) == PADDING_PERCENTS
    assert percents(two)[0] == [49, 51, 0, 0, 0]
    assert none.numbers.eq(0).all()
    assert "3 × 5 × 10" in example["batch"].explanation


def test_the_slip_of_the_fill_hides_nothing(example):
    right, wrong, _ = example["slip-fill"].panels
    assert percents(right) == PADDING_PERCENTS
    # By hand: e^0.0285, e^0.0735, e^0.1185, e^0.1635 and e^0, over their sum.
    assert percents(wrong)[0] == [19, 20, 21, 22, 18]
    assert (wrong.numbers[:, 4] > 0.05).all()
    assert "18 %" in example["slip-fill"].explanation


def test_the_slip_of_the_dimension_lets_sequences_compete(example):
    right, wrong, _, sums = example["slip-dimension"].panels
    assert percents(right) == PADDING_PERCENTS
    # Keys 0 and 1 are seen by two equal sequences, 2 and 3 by one, 4 by none.
    assert wrong.numbers[0, :4].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert wrong.numbers[:, 4].isnan().all()
    assert percents(sums) == [[100] * 5, [300] * 5]


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_that_slip_is_what_torch_does_when_no_dimension_is_named(example):
    scores = torch.randn(3, 4, 5)
    torch.testing.assert_close(torch.nn.functional.softmax(scores), torch.softmax(scores, 0))
    torch.testing.assert_close(torch.nn.functional.softmax(scores[0]), torch.softmax(scores[0], 1))


def test_why_scores_are_scaled(example):
    variances, shares = example["scale"].panels
    assert variances.numbers[:, 0].tolist() == pytest.approx([1, 10, 100, 1000], rel=0.1)
    assert variances.numbers[:, 1].tolist() == pytest.approx([1] * 4, rel=0.1)
    assert shares.numbers[0].tolist() == pytest.approx([0.9526, 0.0474], abs=5e-5)
    assert shares.numbers[-1].tolist() == [1, 0]


def test_told_as_a_lesson(example):
    told = str(example)
    for number, step in enumerate(example.steps, start=1):
        assert f"{number}  {step.title} ─" in told
    assert "query 1    23    24    26    27     0" in told
    assert "query 1 0.0285 0.0735 0.1185 0.1635     −∞" in told


def test_drawn_and_saved_step_by_step(example, tmp_path):
    paths = example.save(tmp_path / "pictures")
    assert [path.name for path in paths][:2] == ["01-input.png", "02-scores.png"]
    assert sorted((tmp_path / "pictures").iterdir()) == paths
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


class TestOwnMatrices:
    @pytest.fixture
    def write(self, tmp_path):
        def write(name, numbers):
            path = tmp_path / name
            if path.suffix == ".npy":
                np.save(path, numbers)
            else:
                np.savetxt(path, numbers, delimiter=",")
            return path

        return write

    @pytest.mark.parametrize("ending", ["npy", "csv"])
    def test_take_the_examples_place(self, write, ending):
        rng = np.random.default_rng(0)
        query, key, value = rng.normal(size=(3, 4)), rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
        settings = Settings(
            query=write(f"q.{ending}", query),
            key=write(f"k.{ending}", key),
            value=write(f"v.{ending}", value),
            scale=0.5,
            padding=2,
            align="end",
            mask="both",
        )
        walked = walk(settings)
        scores = 0.5 * query @ key.T
        scores[:, 4:] = -np.inf
        scores[np.arange(6) > np.arange(3)[:, None] + 3] = -np.inf
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        np.testing.assert_allclose(walked["context"].panels[0].numbers, weights, atol=1e-6)
        np.testing.assert_allclose(walked["context"].panels[1].numbers, weights @ value, atol=1e-6)
        assert len(walked["scores"].panels) == 2
        assert walked["input"].picture
        assert "3 × 2" in walked["context"].explanation

    def test_a_batch_of_ones_own(self, write):
        numbers = np.random.default_rng(0).normal(size=(2, 3, 4))
        walked = walk(Settings(query=write("q.npy", numbers)))
        assert len(walked["batch"].panels) == 2
        expected = torch.softmax(torch.from_numpy(numbers @ numbers.swapaxes(1, 2))[..., :2].float(), -1)
        for panel, weights in zip(walked["batch"].panels, expected, strict=True):
            torch.testing.assert_close(panel.numbers[:, :2], weights)

    def test_keys_alone_are_asked_by_the_example(self, write):
        walked = walk(Settings(key=write("k.csv", np.ones((5, 10)))))
        assert percents(walked["percents"].panels[0]) == [[25, 25, 25, 25, 0]] * 5

    @pytest.mark.parametrize(("align", "seen"), [("start", [1, 2, 3]), ("end", [3, 4, 5])])
    def test_queries_and_keys_that_differ_in_number_are_aligned_as_told(self, write, align, seen):
        files = {"query": write("q.npy", np.ones((3, 2))), "key": write("k.npy", np.ones((5, 2)))}
        step = walk(Settings(**files, align=align))["no-peek"]
        assert step.panels[0].numbers.sum(-1).tolist() == seen
        assert step.panels[1].numbers.isfinite().sum(-1).tolist() == seen
        assert "Of 3 queries and 5 keys" in step.explanation

    def test_whole_numbers_will_do(self, write):
        assert (
            walk(Settings(query=write("q.npy", np.eye(3, dtype=np.int64)))).traces["none"].scores.dtype == torch.float32
        )

    def test_all_padding_gives_zeros(self, write):
        walked = walk(Settings(query=write("q.npy", np.eye(3)), padding=3))
        assert walked["context"].panels[1].numbers.eq(0).all()
        assert "NaN" not in str(walked["context"].panels[0].numbers)

    def test_one_query_and_one_key(self, write):
        walked = walk(Settings(query=write("q.csv", np.ones((1, 1)))))
        assert str(walked)
        assert all(step.picture for step in walked.steps)

    def test_large_ones_are_told_and_drawn_without_every_number(self, write):
        walked = walk(Settings(query=write("q.npy", np.random.default_rng(0).normal(size=(150, 32)))))
        assert "⋮" in str(walked)
        assert not walked["percents"].picture.axes[0].texts

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("missing.csv", None, "query: there is no file"),
            ("q.txt", b"1,2", r"must be a \.npy or a \.csv file"),
            ("q.csv", b"1,2\n3,cat\n", "query: .* line 2: 'cat' is not a number"),
            ("q.csv", b"1,2\n3,\n", "line 2: '' is not a number"),
            ("q.csv", b"1,2\n3\n", "line 2 has 1 numbers, the first has 2"),
            ("q.csv", b"", "it is empty"),
            ("q.csv", b"\xff\xfe\x00", "can't be read"),
            ("q.npy", b"1,2\n3,4\n", "can't be read: the magic string is not correct"),
            ("q.npy", b"", "can't be read"),
            ("q.npy", pickle.dumps([[1.0]]), "can't be read"),
        ],
    )
    def test_a_file_that_is_none_is_told_in_one_line(self, tmp_path, name, content, message):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            walk(Settings(query=tmp_path / name))
        assert "\n" not in str(caught.value)

    def test_a_pickled_array_is_refused_unread(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (open, (str(tmp_path / "sprung"), "w"))

        np.save(tmp_path / "q.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match=r"query: .* can't be read"):
            walk(Settings(query=tmp_path / "q.npy"))
        assert not (tmp_path / "sprung").exists()

    def test_a_truncated_array_is_told(self, write, tmp_path):
        path = write("q.npy", np.ones((5, 10)))
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ValueError, match=r"query: .* can't be read"):
            walk(Settings(query=path))

    @pytest.mark.parametrize(
        ("numbers", "message"),
        [
            (np.ones(3), "must hold a matrix"),
            (np.ones((2, 2, 2, 2)), "must hold a matrix"),
            (np.ones((0, 3)), "must hold a matrix"),
            (np.array([["a"]]), "must hold real numbers"),
            (np.ones((2, 2), dtype=complex), "must hold real numbers"),
        ],
    )
    def test_what_is_no_matrix_is_told(self, write, numbers, message):
        with pytest.raises(ValueError, match=f"query: .*{message}"):
            walk(Settings(query=write("q.npy", numbers)))

    def test_shapes_that_do_not_fit_are_told(self, write):
        with pytest.raises(ValueError, match="key must be as wide as query"):
            walk(Settings(key=write("k.npy", np.ones((5, 3)))))
        with pytest.raises(ValueError, match="value must have one row for each of the 5 keys"):
            walk(Settings(value=write("v.npy", np.ones((4, 3)))))
        with pytest.raises(ValueError, match="padding must be 0 to 5"):
            walk(Settings(padding=6))


def test_it_is_found_among_the_systems():
    from mirada import systems

    assert systems.get("walkthrough") is walkthrough
    assert walkthrough.SUMMARY


def test_slip_of_the_fill_as_written_uncovers_the_padding():
    written = walk()["slip-fill"].panels[2].numbers
    torch.testing.assert_close(written[0], torch.tensor([0.2046, 0.1989, 0.1989, 0.1989, 0.1989]), atol=5e-5, rtol=0)


def test_softmax_over_a_batch_of_one_gives_ones():
    panels = {panel.title: panel.numbers for panel in walk()["slip-dimension"].panels}
    assert torch.equal(panels["over a batch of one: wrong"], torch.ones(5, 5))


def test_slip_of_the_fill_without_padding_names_no_padded_key():
    assert "Here no key is padded" in walk(Settings(padding=0))["slip-fill"].explanation
