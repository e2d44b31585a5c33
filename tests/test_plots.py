"""What the pictures promise: right cells, right words, readable colours, whole files, nothing global touched."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pytest
import torch

import mirada
from mirada import plots
from mirada.plots.style import COLOUR_MAP

WEIGHTS = torch.tensor([[0.9, 0.1], [0.5, 0.5]])


def texts(ax):
    return [text.get_text() for text in ax.texts]


def oklab(rgb):
    """Björn Ottosson's OKLab, in which equal distances look equal."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    cone = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cone) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )


def test_the_colour_map_takes_even_steps_from_pale_to_deep():
    colours = oklab(COLOUR_MAP(np.linspace(0, 1, 33))[:, :3])
    steps = np.linalg.norm(np.diff(colours, axis=0), axis=1)
    assert np.all(np.diff(colours[:, 0]) < 0)
    assert steps.std() / steps.mean() < 0.05


class TestHeatmap:
    def test_writes_decimals_and_whole_percents(self):
        assert texts(plots.heatmap(WEIGHTS, values="decimals")) == ["0.90", "0.10", "0.50", "0.50"]
        assert texts(plots.heatmap(WEIGHTS, values="percents")) == ["90", "10", "50", "50"]

    def test_writes_given_texts_and_the_chosen_ones_in_red(self):
        ax = plots.heatmap(WEIGHTS, values=[["2", "7"], ["", "4"]], red=[[True, False], [False, True]])
        assert texts(ax) == ["2", "7", "4"]
        assert [text.get_color() == plots.style.RED for text in ax.texts] == [True, False, True]

    def test_hidden_cells_look_unlike_weights_of_zero(self):
        ax = plots.heatmap([[0.0, 0.0]], hidden=[[False, True]])
        pixels = mpl.image.imread(io.BytesIO(plots.png(ax.figure)))[::-1, :, :3]  # from the bottom up
        box = ax.get_window_extent()
        inside = pixels[int(box.y0) + 9 : int(box.y1) - 9, int(box.x0) + 9 : int(box.x1) - 9]
        zero, hidden = inside[:, : inside.shape[1] // 2 - 9], inside[:, inside.shape[1] // 2 + 9 :]
        assert zero.std(axis=(0, 1)).max() < 0.001
        assert hidden.std(axis=(0, 1)).min() > 0.02  # the hatching
        assert np.abs(zero.mean((0, 1)) - hidden.mean((0, 1))).max() > 0.1  # the grey

    def test_minus_infinity_is_hidden_by_itself(self):
        ax = plots.heatmap([[1.0, -np.inf]], values="decimals")
        assert texts(ax) == ["1.00", "−∞"]
        assert ax.images[0].get_array().mask.tolist() == [[False, True]]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_takes_tensors_of_any_kind_arrays_and_attention_matrices(self, dtype):
        query = torch.randn(3, 4, dtype=dtype, requires_grad=True)
        matrix = mirada.AttentionMatrix(query, torch.randn(5, 4, dtype=dtype))
        drawn = plots.heatmap(matrix).images[0].get_array()
        np.testing.assert_array_equal(drawn, matrix.to_dense().detach().double().numpy())
        np.testing.assert_array_equal(plots.heatmap(np.eye(3)).images[0].get_array(), np.eye(3))

    def test_draws_on_the_axes_that_it_is_given_and_gives_them_back(self):
        ax = plots.figure(2, 2).add_subplot()
        assert plots.heatmap(WEIGHTS, ax=ax, title="Each query looks.") is ax
        assert ax.get_title(loc="left") == "Each query looks."

    def test_names_queries_and_keys(self):
        ax = plots.heatmap(WEIGHTS, row_labels=["il", "y"], column_labels=[1, 2])
        assert [label.get_text() for label in ax.get_yticklabels()] == ["il", "y"]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (200, 300)])
    def test_draws_any_size(self, shape):
        assert plots.png(plots.heatmap(np.zeros(shape), hidden=np.ones(shape, bool)).figure)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"weights": torch.zeros(2, 3, 4)}, "weights must be a matrix"),
            ({"weights": WEIGHTS, "hidden": [[True]]}, "hidden must have the shape of weights"),
            ({"weights": WEIGHTS, "red": [[True]]}, "red must have the shape of weights"),
            ({"weights": WEIGHTS, "values": "fractions"}, "values must be"),
            ({"weights": WEIGHTS, "values": [["a"]]}, "values must have the shape of weights"),
            ({"weights": WEIGHTS, "row_labels": ["a"]}, "row_labels must name all 2"),
        ],
    )
    def test_says_what_does_not_fit(self, given, message):
        with pytest.raises(ValueError, match=message):
            plots.heatmap(**given)


class TestImages:
    def test_the_grid_says_label_and_prediction_green_when_right_red_when_wrong(self):
        page = plots.grid(torch.rand(3, 1, 8, 8), torch.tensor([3, 1, 4]), torch.tensor([3, 7, 4]), rows=2, columns=2)
        titles = [ax.title for ax in page.axes]
        assert [title.get_text() for title in titles] == ["3/3", "1/7", "4/4", ""]
        assert [title.get_color() for title in titles[:3]] == [plots.style.GREEN, plots.style.RED, plots.style.GREEN]

    def test_the_grid_takes_flat_square_images_and_draws_the_first(self):
        page = plots.grid(np.arange(2 * 9).reshape(2, 9), ["a", "b"], rows=1, columns=1)
        assert [ax.get_title() for ax in page.axes] == ["a"]
        assert page.axes[0].images[0].get_array().shape == (3, 3)

    def test_patches_are_cut_and_numbered_in_reading_order(self):
        image = np.arange(16.0).reshape(4, 4)
        ax = plots.patches(image, 2)
        assert texts(ax) == ["1", "2", "3", "4"]
        drawn = ax.images[0].get_array() * 15
        np.testing.assert_allclose(drawn[:2, 3:], image[:2, 2:])  # the second, right of a gap of one pixel
        np.testing.assert_allclose(drawn[3:, :2], image[2:, :2])

    def test_weights_dye_their_patch_the_largest_fully(self):
        ax = plots.over_image(np.zeros((4, 4)), [0.0, 0.1, 0.2, 0.0], query=3)
        drawn = ax.images[0].get_array()
        np.testing.assert_allclose(drawn[0, 0], [1, 1, 1])
        np.testing.assert_allclose(drawn[2, 0], mpl.colors.to_rgb(plots.style.ORANGE))
        np.testing.assert_allclose(drawn[0, 2], (1 + drawn[2, 0]) / 2)
        assert ax.patches[0].get_bbox().bounds == (1.5, 1.5, 2, 2)

    def test_pixels_are_patches_of_one(self):
        drawn = plots.over_image(np.zeros(4), [1.0, 0.0, 0.0, 0.0]).images[0].get_array()
        assert drawn.shape == (2, 2, 3)

    def test_gazes_draw_every_head_and_every_query(self):
        page = plots.gazes(np.zeros((4, 4)), torch.softmax(torch.randn(5, 4, 4), -1))
        drawn = [ax for ax in page.axes if ax.images]
        assert [ax.get_title(loc="left") for ax in drawn] == [f"head {n}" for n in (1, 2, 3, 4, 5)]
        assert all(len(ax.patches) == 4 for ax in drawn)

    @pytest.mark.parametrize(
        ("draw", "message"),
        [
            (lambda: plots.grid(np.zeros((2, 2, 2, 2)), [1, 2]), "images must be"),
            (lambda: plots.grid(np.zeros((2, 2, 2)), [1]), "labels must be one for each of the 2"),
            (lambda: plots.patches(np.zeros((4, 4)), 3), "patch must divide"),
            (lambda: plots.patches(np.zeros(5), 1), "image must be"),
            (lambda: plots.over_image(np.zeros((4, 4)), np.zeros(3)), "weights must be one for each patch"),
            (lambda: plots.over_image(np.zeros((4, 4)), np.zeros(4), patch=1), "patches of 1×1"),
            (lambda: plots.gaze(np.zeros((4, 4)), np.zeros((4, 3))), "weights must be"),
            (lambda: plots.gazes(np.zeros((4, 4)), np.zeros((4, 4))), "weights must be"),
        ],
    )
    def test_says_what_does_not_fit(self, draw, message):
        with pytest.raises(ValueError, match=message):
            draw()


class TestCurves:
    METRICS = (
        *({"epoch": epoch, "split": "train", "loss": 1 / epoch, "seconds": 1.0} for epoch in (1, 2, 3)),
        *({"epoch": epoch, "split": "validation", "loss": 2 / epoch, "bits": 3.0} for epoch in (1, 2, 3)),
        {"epoch": 3, "split": "test", "loss": 0.5},
    )

    def test_one_line_for_each_split_and_a_point_for_what_was_measured_once(self):
        ax = plots.curves(self.METRICS, "loss", log=True)
        assert [line.get_label() for line in ax.lines] == ["train", "validation", "test"]
        assert [line.get_marker() for line in ax.lines] == ["", "", "o"]
        assert ax.lines[0].get_ydata().tolist() == [1, 1 / 2, 1 / 3]
        assert ax.get_yscale() == "log"

    def test_passes_over_rows_without_the_metric(self):
        assert [line.get_label() for line in plots.curves(self.METRICS, "bits").lines] == ["validation"]

    def test_says_which_metrics_there_are(self):
        with pytest.raises(ValueError, match="key 'accuracy' is in no row of metrics; there are: bits, loss, seconds"):
            plots.curves(self.METRICS, "accuracy")


class TestPlane:
    def test_a_score_is_read_off_as_length_times_length_times_cosine(self):
        ax = plots.vectors([0.55, 0.95], [[0.65, 0.2], [0.85, -0.4], [-0.95, -0.75]])
        words = [text.get_text() for text in ax.get_legend().get_texts()]
        assert words[1] == "key 1: length 0.68, cosine 0.73, score 0.55"
        assert words[3].endswith("score −1.23")

    def test_the_context_is_where_the_weighted_values_lead(self):
        ax = plots.weighted_sum([[0.65, 0.2], [0.85, -0.4], [-0.95, -0.75]], [0.5557, 0.3508, 0.0935])
        assert ax.get_legend().get_texts()[-1].get_text() == "context: (0.57, −0.10)"

    def test_a_vector_of_length_zero_can_be_drawn(self):
        assert plots.png(plots.vectors([0.0, 0.0], [[0.0, 0.0]]).figure)

    def test_corners_are_numbered_in_their_order(self):
        points = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
        assert texts(plots.corners(points, points[2:])) == ["1", "2", "3", "4"]

    @pytest.mark.parametrize(
        ("draw", "message"),
        [
            (lambda: plots.vectors([1.0, 0.0, 0.0], [[1.0, 0.0]]), "query must be of shape"),
            (lambda: plots.vectors([1.0, 0.0], [1.0, 0.0]), "keys must be of shape"),
            (lambda: plots.weighted_sum([[1.0, 0.0]], [0.5, 0.5]), "weights must be one for each of the 1 values"),
            (lambda: plots.corners([1, 2]), "points must be of shape"),
            (lambda: plots.corners([(0, 0)], [(0, 0), (1, 1)]), "predictions must not be more"),
        ],
    )
    def test_says_what_does_not_fit(self, draw, message):
        with pytest.raises(ValueError, match=message):
            draw()


class TestPages:
    def test_panels_come_in_reading_order(self):
        page, axes = plots.panels(2, 3, width=1.0, title="Six")
        assert [ax.get_subplotspec().num1 for ax in axes] == list(range(6))
        assert page.get_size_inches().tolist() == [3.0, 2.4]

    @pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
    def test_saves_what_the_ending_says_and_makes_the_folder(self, tmp_path, ending, start):
        path = plots.save(plots.heatmap(WEIGHTS).figure, tmp_path / "new" / f"map.{ending}")
        assert path.read_bytes().startswith(start)
        assert [file.name for file in path.parent.iterdir()] == [f"map.{ending}"]

    def test_a_failed_save_leaves_the_old_picture_and_nothing_else(self, tmp_path):
        path = tmp_path / "map.png"
        path.write_bytes(b"old")
        page = plots.heatmap(WEIGHTS).figure
        page.text(0, 0, "$no such \\formula$")
        with pytest.raises(ValueError, match="formula"):
            plots.save(page, path)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_strange_ending_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"must end in a picture format: .*\.png"):
            plots.save(plots.figure(1, 1), tmp_path / "map.doc")

    def test_matplotlib_is_left_as_it_was(self):
        before = dict(mpl.rcParams)
        plots.png(plots.heatmap(WEIGHTS, values="percents", title="A map").figure)
        plots.png(plots.curves(TestCurves.METRICS, "loss").figure)
        assert dict(mpl.rcParams) == before
