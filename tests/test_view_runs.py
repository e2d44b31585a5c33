"""`mirada view RUN`: every system's attention, as the model has it, and what can be tried by hand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

import mirada
from mirada.cli import main
from mirada.systems import patches, walkthrough
from mirada.training.run import Folder, RunError
from mirada.viewer.queries import Answers
from mirada.viewer.server import HOST, Server

RUNS = {
    "pixels": ("pixels", {}),
    "wide": ("patches", {"model": "wide"}),
    "narrow": ("patches", {"model": "narrow"}),
    "features": ("patches", {"model": "features"}),
    "block": ("patches", {"model": "block", "blocks": 2}),
    "mlp": ("patches", {"model": "mlp"}),
    "single": ("squares", {"epochs": 20}),
    "general": ("squares", {"score": "general", "variable_length": True}),
    "additive": ("squares", {"score": "additive", "hidden": 3, "variable_length": True}),
    "multihead": ("squares", {"attention": "multihead", "variable_length": True}),
    "none": ("squares", {"attention": "none"}),
    "counting": ("counting", {"steps_per_epoch": 10}),
}

SHOWN = [name for name in RUNS if name not in ("mlp", "none")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one epoch, trained when first asked for."""
    kept, home = {}, tmp_path_factory.mktemp("runs")

    def run(name):
        if name not in kept:
            system, settings = RUNS[name]
            kept[name] = mirada.train(system, out=home / name, progress=False, **({"epochs": 1} | settings))
        return kept[name]

    return run


def weights_of(run, index):
    """What the model itself says, by its own `need_weights`: (H, L, S) a layer."""
    with torch.no_grad():
        if run.name == "squares":
            data = run.data.test
            _, weights = run.model(data.source[index : index + 1], data.lengths[index : index + 1])
            return [weights[:, 0] if weights.ndim == 4 else weights]
        if run.name == "counting":
            return [run.model(run.data.test[0][index : index + 1])[1]]
        if run.name == "pixels":
            return [run.model.weights(run.data.images.test_images[index : index + 1])]
        return [layer[0] for layer in run.model.weights(run.data.test_images[index : index + 1])]


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown_are_the_models_own_weights(runs, name, tmp_path):
    run = runs(name)
    shown = run.exhibit(3)
    for layer, wanted in zip(mirada.view(run, item=3).scene.layers, weights_of(run, 3), strict=True):
        torch.testing.assert_close(layer.matrix.to_dense(), wanted, atol=1e-6, rtol=0)
    view = mirada.view(run, item=3)
    assert (view.scene.title, set(view.trials)) == (shown.title, {"try"})
    assert view.save(tmp_path / "page.html").stat().st_size < 2e6


@pytest.mark.parametrize("name", ["single", "multihead"])
def test_the_keys_of_squares_are_the_given_points(runs, name):
    run = runs(name)
    (layer,) = mirada.view(run, item=3).scene.layers
    given = [tuple(float(number) for number in label.strip("()").split(",")) for label in layer.keys]
    torch.testing.assert_close(torch.tensor(given), run.data.test.source[3], atol=0.0051, rtol=0)
    assert list(layer.queries) == ["step 1", "step 2"]


@pytest.mark.parametrize(("name", "error"), [("mlp", "no attention to look at"), ("none", "nothing to show")])
def test_models_without_attention(runs, name, error):
    with pytest.raises(ValueError, match=error):
        runs(name).exhibit()


def test_an_example_that_isnt_there(runs):
    with pytest.raises(ValueError, match="example=9999 is not among the"):
        mirada.view(runs("block"), item=9999)
    with pytest.raises(TypeError, match=r"item=\(0, 1\): a run's test examples are numbered"):
        mirada.view(runs("block"), item=(0, 1))


def test_what_is_given_goes_before_what_the_run_brings(runs):
    view = mirada.view(runs("counting"), title="mine", labels=(["?"], list("abcdefghij")), trials={})
    assert (view.scene.title, view.scene.layers[0].queries.labels, view.trials) == ("mine", ("?",), {})


def test_a_run_without_weights(runs, tmp_path):
    run = runs("block")
    bare = mirada.Run(run.system, run.settings, Folder(tmp_path))
    with pytest.raises(RunError, match=r"has no model\.safetensors"):
        mirada.view(bare)


# --- the command ---


def test_a_page_is_saved_from_the_command_line(runs, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["view", str(runs("block").folder.path), "--save", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_text().startswith("<!doctype html>")
    assert main(["view", "walkthrough", "--save", str(out)]) == 0


def test_folders_that_cant_be_viewed(runs, tmp_path, capsys):
    assert main(["view", str(tmp_path)]) == 2
    assert "is no run's folder" in capsys.readouterr().err
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "settings.json").write_text((runs("block").folder.path / "settings.json").read_text())
    assert main(["view", str(broken)]) == 2
    assert "has no model.safetensors" in capsys.readouterr().err
    assert main(["view", str(runs("block").folder.path), "--beside", str(runs("single").folder.path)]) == 2
    assert "a run of patches can't be shown beside a run of squares" in capsys.readouterr().err
    assert main(["view", str(runs("block").folder.path), "--beside", str(runs("wide").folder.path)]) == 2
    assert "a run of patches can't be shown beside a run of patches" in capsys.readouterr().err


def test_the_command_serves_until_ctrl_c(runs):
    command = [sys.executable, "-m", "mirada", "view", str(runs("single").folder.path), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"http://{HOST}:")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


# --- by hand ---


def test_a_drawn_digit_is_named_and_its_weights_shown(runs):
    run = runs("block")
    tried = run.exhibit().trials["try"]
    image = run.data.test_images[5]
    said = tried.answer({"pixels": image.flatten().tolist(), "query": 6})
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(said["probabilities"]), run.model(image[None]).softmax(-1)[0])
    torch.testing.assert_close(torch.tensor(said["weights"]), weights_of(run, 5)[-1].mean(0)[6])


def test_a_pixel_attends_as_it_does_in_the_model(runs):
    run = runs("pixels")
    image = run.data.images.test_images[2]
    said = run.exhibit().trials["try"].answer({"pixels": image.flatten().tolist(), "query": 11})
    torch.testing.assert_close(torch.tensor(said["weights"]), weights_of(run, 2)[0][0, 11])


def test_an_mlp_can_be_drawn_for_too(runs):
    tried = patches.sheet(runs("mlp"))
    assert tried.answer({"pixels": tried.about["example"]})["weights"] is None


def test_ten_digits_are_judged(runs):
    run = runs("counting")
    said = run.exhibit().trials["try"].answer({"digits": "2242000219"})
    with torch.no_grad():
        logits, weights = run.model(torch.tensor([[2, 2, 4, 2, 0, 0, 0, 2, 1, 9]]))
    assert said["probability"] == pytest.approx(float(logits.sigmoid()))
    torch.testing.assert_close(torch.tensor(said["weights"]), weights[0, 0])


def test_a_square_is_finished_with_and_without_attention(runs):
    points = [[-1.0, 1.0], [1.0, 1.0]]
    one, other = runs("multihead").exhibit(beside=runs("none")).trials["try"].answer({"points": points})["finished"]
    assert (one["name"], other["name"]) == ("attention: multihead", "attention: none")
    with torch.no_grad():
        predicted, _ = runs("none").model(torch.tensor([points]), torch.tensor([2]))
    torch.testing.assert_close(torch.tensor(other["points"]), predicted[0])
    assert other["weights"] is None
    torch.testing.assert_close(torch.tensor(one["weights"]).sum(-1), torch.ones(2))


def test_a_matrix_and_its_mask_are_edited():
    shown = walkthrough.exhibit()
    x = shown.layers[0].value[0]
    mask = torch.ones(5, 5)
    mask[:, 4] = 0
    mask[2] = 0
    said = shown.trials["try"].answer({"matrix": x.tolist(), "mask": mask.tolist(), "scale": 1})
    percents = [[round(100 * weight) for weight in row] for row in said["weights"]]
    assert percents[0] == [23, 24, 26, 27, 0]
    assert percents[2] == [0, 0, 0, 0, 0]
    assert said["masked"][0][4] is None


@pytest.mark.parametrize("given", [{}, {"digits": "12"}, {"digits": 3}, {"digits": "٣" * 10}])
def test_digits_that_are_none(runs, given):
    with pytest.raises(ValueError, match="10 digits are wanted"):
        runs("counting").exhibit().trials["try"].answer(given)


@pytest.mark.parametrize("points", [None, [[0, 0]], [[0, 0], [0, 1e9]], [["a", 0], [0, 0]], [[None, 0], [0, 0]], "x"])
def test_points_that_are_none(runs, points):
    with pytest.raises(ValueError, match="points must be numbers"):
        runs("single").exhibit().trials["try"].answer({"points": points})


@pytest.mark.browser
@pytest.mark.parametrize("name", ["block", "counting", "single"])
def test_results_follow_the_hand(browser, runs, name):
    run = runs(name)
    view = mirada.view(run)
    server = Server(Answers(view.scene), trials=view.trials)
    server.start()
    page, complaints = browser.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.address)
    page.get_by_role("tab", name="Try it").click()
    said = {
        "block": page.locator(".class-bars"),
        "counting": page.locator(".digit-cells"),
        "single": page.locator(".try-part").last,
    }[name]
    said.locator(".figure").first.wait_for()
    before = said.text_content()
    since = time.perf_counter()
    if name == "counting":
        page.locator(".digits-input").fill("2222222222")
    elif name == "block":
        page.get_by_role("button", name="Clear").click()
    else:
        for _ in range(12):
            page.locator(".square").press("ArrowRight")
    while said.text_content() == before:
        assert time.perf_counter() - since < 10
    page.close()
    server.stop()
    assert complaints == []


@pytest.mark.browser
def test_a_digit_is_drawn_and_its_patches_are_asked_by_keyboard(browser, runs):
    view = mirada.view(runs("block"))
    server = Server(Answers(view.scene), trials=view.trials)
    server.start()
    page = browser.new_page(viewport={"width": 400, "height": 900})
    page.goto(server.address)
    page.get_by_role("tab", name="Try it").click()
    paper, attended = page.locator("canvas.paper").all()
    page.locator(".class-bar").first.wait_for()
    sent = []
    page.on("request", lambda request: sent.append(json.loads(request.post_data)))
    page.get_by_role("button", name="Clear").click()
    paper.press("ArrowRight")
    paper.press("Space")
    attended.press("ArrowDown")
    with page.expect_request(lambda request: json.loads(request.post_data)["query"] == 5):
        attended.press("ArrowRight")
    assert not any(sent[0]["pixels"])
    assert sent[-1]["pixels"][4 * 8 + 5] == 255
    assert sent[-1]["query"] == 5
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()
    server.stop()


# --- in a notebook ---


def test_a_widget_answers_what_its_browser_side_asks():
    weights = torch.softmax(torch.randn(2, 5, 5), -1)
    widget = mirada.view(weights, title="in a notebook", height=300).widget()
    sent = []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    assert (widget.scene["title"], widget.height) == ("in a notebook", 300)
    assert "export default { render }" in str(widget._esm)
    for message in (
        {"id": "a", "question": "row", "parameters": {"layer": 0, "head": 1, "query": 2}},
        {"id": "b", "question": "row", "parameters": {"layer": 7}},
        "nonsense",
    ):
        widget._handle_custom_msg(message, [])
    (first, (body,)), (second, _) = sent
    assert first == {"answer": "a"}
    torch.testing.assert_close(torch.frombuffer(bytearray(body), dtype=torch.float32), weights[1, 2])
    assert second == {"answer": "b", "error": "layer must be a whole number from 0 to 0, got '7'"}


def test_a_widget_lets_a_run_be_tried_by_hand(runs):
    run = runs("counting")
    widget = mirada.view(run).widget()
    sent = []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    assert widget.scene["trials"]["try"]["kind"] == "digits"
    for given in ({"digits": "2242000219"}, {"digits": "2"}):
        widget._handle_custom_msg({"id": "a", "question": "try", "parameters": given}, [])
    (_, (body,)), (refused, _) = sent
    assert json.loads(body) == run.exhibit().trials["try"].answer({"digits": "2242000219"})
    assert refused == {"answer": "a", "error": "10 digits are wanted"}


def test_the_notebook_extra_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(RuntimeError, match=r"pip install 'mirada\[notebook\]', or save it as a page"):
        mirada.view(torch.softmax(torch.randn(2, 5, 5), -1)).widget()
