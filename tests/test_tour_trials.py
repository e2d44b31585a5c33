"""What can be tried in the tour's page: the models that run there are the runs' own, and the page follows the hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

import mirada
from mirada import tour
from mirada.masks import causal
from mirada.tour import script, trainings, trials
from mirada.tour.carried import carried

pytestmark = pytest.mark.browser

SHORT = {
    "squares": {"epochs": 3},
    "patches": {"epochs": 3},
    "pixels": {"epochs": 3},
    "counting": {"epochs": 1, "steps_per_epoch": 200},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        plan = {name: (system, {**given, **SHORT[system]}) for name, (system, given) in trainings.PLAN.items()}
        patch.setattr(trainings, "PLAN", plan)
        return tour.write(tmp_path_factory.mktemp("tour") / "mirada-tour", say=lambda _: None)


@pytest.fixture(scope="module")
def open_page(browser, path):
    pages = []

    def opened(width: int = 1280, scheme: str = "light", bypass: bool = False):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=bypass)
        page = context.new_page()
        said = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        pages.append((context, said))
        return page

    yield opened
    for context, said in pages:
        context.close()
        assert said == []


def computed(browser, run, inputs, expression: str) -> torch.Tensor:
    """What the model in the page makes of inputs."""
    page = browser.new_page()
    page.evaluate(script.script().replace("const { modelOf, trial } =", "window.models ="))
    made = (
        "([about, inputs]) => { const model = models.modelOf(about); return inputs.map(input => " + expression + ") }"
    )
    result = torch.tensor(page.evaluate(made, [carried(run), inputs]))
    page.close()
    return result


@pytest.mark.parametrize("name", ["patches-mlp", "patches-wide", "patches-block", "pixels"])
def test_the_models_of_images_are_those_of_the_runs(browser, path, name):
    run = mirada.load(path.parent / "trained" / name)
    images = (run.data.images if name == "pixels" else run.data).test_images[:8]
    with torch.no_grad():
        logits = run.model(images)
    shown = computed(browser, run, images.flatten(1).tolist(), "[...model(input).logits]")
    torch.testing.assert_close(shown, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["patches-wide", "patches-block", "pixels"])
def test_the_weights_of_images_are_those_of_the_runs(browser, path, name):
    run = mirada.load(path.parent / "trained" / name)
    images = (run.data.images if name == "pixels" else run.data).test_images[:2]
    with torch.no_grad():
        looks = run.model.weights(images)
    weights = looks[:, None] if name == "pixels" else looks[-1]  # (N, heads, L, L)
    shown = computed(
        browser, run, images.flatten(1).tolist(), "model(input).heads.map(head => head.weights.map(row => [...row]))"
    )
    torch.testing.assert_close(shown, weights, atol=1e-5, rtol=0)


def test_counting_in_the_page_is_the_runs_own(browser, path):
    run = mirada.load(path.parent / "trained" / "counting")
    digits = run.data.test[0][:20]
    with torch.no_grad():
        logits, weights = run.model(digits)
    shown = computed(browser, run, digits.tolist(), "[model(input).logit]")
    torch.testing.assert_close(shown, logits, atol=1e-5, rtol=1e-5)
    shown = computed(browser, run, digits.tolist(), "[[...model(input).weights[0]]]")
    torch.testing.assert_close(shown, weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["none", "single", "multihead"])
def test_squares_in_the_page_are_the_runs_own(browser, path, attention):
    run = mirada.load(path.parent / "trained" / f"squares-{attention}")
    source, lengths = run.data.test.source[:20], run.data.test.lengths[:20]
    with torch.no_grad():
        points, _ = run.model(source, lengths)
    shown = computed(browser, run, source.tolist(), "model(input).points.map(point => [...point])")
    torch.testing.assert_close(shown, points, atol=1e-5, rtol=0)


def test_what_no_page_computes_is_refused(tmp_path):
    run = mirada.train("patches", model="features", out=tmp_path / "run", epochs=1, progress=False)
    with pytest.raises(ValueError, match="patches"):
        carried(run)


def test_a_drawn_line_changes_what_the_model_says(open_page):
    page = open_page()
    trial = page.locator("#patches .try")
    paper = trial.locator(".try-image").first
    trial.get_by_role("button", name="Clear").click()
    assert paper.locator(".ink").count() == 0
    before = trial.locator(".try-verdict").text_content()
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.9, steps=8)
    page.mouse.up()
    assert paper.locator(".ink").count() > 8
    assert trial.locator(".try-heads svg").first.locator(".ink").count() == paper.locator(".ink").count()
    assert trial.locator(".try-verdict").text_content() != before


def test_a_digit_is_drawn_and_a_patch_chosen_by_keyboard(open_page):
    page = open_page()
    trial = page.locator("#patches .try")
    trial.get_by_role("button", name="Clear").click()
    trial.locator(".try-image").first.focus()
    page.keyboard.press("Space")
    assert trial.locator(".try-image").first.locator(".ink").count() > 0
    trial.locator(".try-image").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert "Patch 7 attends most to patch" in trial.locator(".try-verdict").text_content()


def test_typed_digits_are_answered_and_others_refused(open_page):
    page = open_page()
    trial = page.locator("#counting .try")
    trial.locator("input").fill("2222244440")
    assert trial.locator(".try-cell b").all_text_contents() == list("2222244440")
    assert "More 2s than 4s?" in trial.locator(".try-verdict").text_content()
    trial.locator("input").fill("22")
    assert "2 digits, 10 are wanted" in trial.locator(".try-verdict").text_content()
    trial.locator("input").fill("<b>٣abc")
    assert "only the digits 0 to 9" in trial.locator(".try-verdict").text_content()
    assert page.locator("#counting .try-verdict b").count() == 0


def test_a_dragged_corner_moves_the_prediction(open_page):
    page = open_page()
    trial = page.locator("#squares .try")
    before = trial.locator(".mark").first.evaluate("mark => mark.parentElement.getAttribute('transform')")
    trial.locator(".handle").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    after = trial.locator(".mark").first.evaluate("mark => mark.parentElement.getAttribute('transform')")
    assert after != before


def cells(page, caption: str) -> torch.Tensor:
    table = page.locator("#walkthrough .try table", has_text=caption)
    rows = table.locator("tbody tr").all()
    return torch.tensor(
        [[float(cell.strip(">%\u00a0") or 0) for cell in row.locator("td").all_text_contents()] for row in rows]
    )


def test_an_edited_matrix_and_mask_give_the_weights_of_the_library(open_page):
    page = open_page()
    trial = page.locator("#walkthrough .try")
    trial.get_by_label("row 2, number 1", exact=True).fill("3")
    trial.get_by_role("button", name="causal").click()
    x = torch.arange(50.0).view(5, 10) / 100
    x[1, 0] = 3.0
    expected = mirada.AttentionMatrix(x, x, causal(5), scale=1.0)
    shown = cells(page, "weights: softmax of each row")
    torch.testing.assert_close(shown, 100 * expected.to_dense(), atol=1.0, rtol=0)  # ">99 %" is up to 1 off
    torch.testing.assert_close(cells(page, "context"), expected @ x, atol=6e-4, rtol=0)
    trial.get_by_label("row 2, number 1", exact=True).fill("")
    torch.testing.assert_close(cells(page, "weights: softmax of each row"), shown, atol=0, rtol=0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 390])
def test_axe_finds_nothing(open_page, width, scheme):
    page = open_page(width, scheme, bypass=True)
    page.wait_for_timeout(500)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found] == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_trial_alone_in_a_frame_follows_the_hand(browser, width):
    framed = trials.embed(trials.matrix(torch.eye(3)), "Edit a matrix")
    page = browser.new_page(viewport={"width": width, "height": 800})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.set_content(f"<!doctype html><html lang='en'><title>frame</title><main>{framed._repr_html_()}</main></html>")
    inside = page.frame_locator("iframe")
    inside.locator("table").first.wait_for()
    before = inside.locator(".try-results").inner_text()
    inside.locator("input:not([type=checkbox])").first.fill("9")
    inside.locator("input:not([type=checkbox])").first.blur()
    assert inside.locator(".try-results").inner_text() != before
    assert not errors
    page.close()
