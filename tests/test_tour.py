"""The tour's page: true, whole, and asking nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from html import unescape
from pathlib import Path

import pytest
import torch

import mirada
from mirada import tour
from mirada.tour import trainings
from mirada.tour.page import (
    Chapter,
    Cover,
    Diagrams,
    Fact,
    Look,
    Next,
    Picture,
    Pictures,
    Table,
    Terms,
    Text,
    Trial,
    render,
)
from mirada.tour.words import percent
from mirada.training.run import RunError

SHORT = {
    "squares": {"epochs": 2},
    "patches": {"epochs": 2},
    "pixels": {"epochs": 2},
    "counting": {"epochs": 1, "steps_per_epoch": 20},
}
PLAN = trainings.PLAN
CHAPTERS = ["attention", "walkthrough", "counting", "pixels", "patches", "squares"]


@pytest.fixture(scope="module", autouse=True)
def short_trainings():
    """The same systems, trained for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        plan = {name: (system, {**given, **SHORT[system]}) for name, (system, given) in trainings.PLAN.items()}
        patch.setattr(trainings, "PLAN", plan)
        yield


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def path(tmp_path_factory, told) -> Path:
    return tour.write(tmp_path_factory.mktemp("tour") / "mirada-tour", say=told.append)


@pytest.fixture(scope="module")
def html(path) -> str:
    return path.read_text(encoding="utf-8")


def test_it_says_what_it_did_chapter_by_chapter(path, told):
    assert [line.split()[0] for line in told] == CHAPTERS
    assert all(re.search(r"\d\.\d s$", line) for line in told)


def test_the_page_tells_of_all_five_in_the_order_of_the_lessons(path, html):
    assert path.name == "index.html"
    assert re.findall(r'<section class="chapter" id="(\w+)"', html) == CHAPTERS


def test_a_newcomers_ten_questions_are_each_answered(html):
    (asked,) = re.findall(r'<section class="questions".*?</section>', html, re.DOTALL)
    anchors = re.findall(r'href="#([^"]+)"', asked)
    assert len(anchors) == len(set(anchors)) == 10
    for anchor in anchors:
        (answer,) = re.findall(rf'<div class="answer" id="{anchor}">(.*?)</div>', html, re.DOTALL)
        assert len(answer) > 400


@pytest.mark.parametrize(
    "term",
    ["teacher forcing", "positional embedding", "learned projections", "softmax", "nat, bit", "embedding", "encoder",
     "decoder", "residual", "layer norm", "loss", "logit", "epoch", "cross-attention", "self-attention", "context"],
)  # fmt: skip
def test_each_term_of_the_field_is_explained(html, term):
    assert f"<dt>{term}</dt>" in html or f"<strong>{term}</strong>" in html


def test_every_model_has_a_diagram_with_its_own_shapes(html):
    drawn = re.findall(r'<svg class="diagram".*?</svg>', html, re.DOTALL)
    assert len(drawn) == 8  # the mechanism, counting, pixels, three of patches, two of squares
    text = " ".join(drawn)
    for shape in ("5 × 10", "10 × 5", "64 × 64", "16 × 16 × 16", "4 × 16 × 16", "last state 1 × 2"):
        assert shape in text


def test_what_a_figure_calls_first_the_text_calls_1(html):
    text = unescape(re.sub(r"<(script|style)[^>]*>.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL))
    assert not re.findall(r"\b(?:row|query|key|patch|head|point|pixel|corner) 0\b", text)


def test_the_numbers_are_those_of_the_runs_beside_it(path, html):
    text = unescape(html)
    for name in ("patches-mlp", "patches-wide", "patches-block"):
        run = mirada.load(path.parent / "trained" / name)
        assert percent(run.evaluate()["validation"]["accuracy"]) in text
    test = mirada.load(path.parent / "trained" / "pixels").evaluate()["test"]
    assert percent(test["accuracy"]) in text
    assert f"{test['bits']:.2f} bits" in text


def test_the_page_carries_all_that_it_shows(path, html):
    assert path.stat().st_size < 10e6
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert not re.findall(r"url\(|@import", html.replace(script(html), ""))
    assert "://" not in html.replace("http://www.w3.org/2000/svg", "")


def test_every_picture_is_described(html):
    pictures = re.findall(r'<img [^>]*alt="([^"]*)"', html)
    assert len(pictures) == html.count("<img ")
    assert len(pictures) >= 10
    assert all(len(alt) > 20 for alt in pictures)


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def script(html: str) -> str:
    """The one script; the other blocks are data, which no browser runs."""
    blocks = re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL)
    kinds = {re.findall(r'type="([^"]*)"', head)[0] for head, _ in blocks}
    assert kinds == {"module", "application/json", "text/plain"}
    (found,) = [text for head, text in blocks if "module" in head]
    return found


def test_the_policy_allows_one_style_and_one_script(html):
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    allowed = f"script-src 'sha256-{digest(script(html))}'; style-src 'sha256-{digest(style)}'; img-src data: blob:;"
    assert f"default-src 'none'; {allowed}" in html
    assert " style=" not in html


def test_texts_are_shown_as_text():
    evil = '<script>alert("1")</script>'
    chapter = Chapter(
        name=evil,
        subject=evil,
        title=evil,
        result=evil,
        text=[evil, "`" + evil + "`", "{query:" + evil + "}"],
        facts=[Fact(evil, evil)],
        parts=[
            Text(anchor=evil, heading=evil, paragraphs=[evil], formula=evil, points=[evil]),
            Terms(terms=[(evil, evil)]),
            Look(view=mirada.view(torch.ones(1, 1, 1), labels=[evil], title=evil), caption=evil, opens={"view": evil}),
            Trial(heading=evil, caption=evil, data={"kind": evil}),
            Pictures(pictures=[Picture(png=bytes(32), alt=evil, caption=evil)]),
            Diagrams(diagrams=[("", evil)]),
            Table(caption=evil, head=[evil, evil], rows=[[evil, evil]]),
            Next(steps=[(evil, evil)]),
        ],
    )
    cover = Cover(lead=evil, facts=[Fact(evil, evil)], gaze="", gaze_caption=evil, questions=[(evil, evil)])
    page = render(cover, [chapter], seconds=1.0, version=evil, torch=evil)
    assert "<script>" not in page
    assert 'alert("' not in page
    assert script(page)


def test_a_second_tour_takes_the_place_of_the_first(path):
    out = path.parent
    (out / "index.html").write_text("old")
    (out / "notes.txt").write_text("mine")
    assert tour.write(out, say=lambda _: None).read_text(encoding="utf-8") != "old"
    assert {entry.name for entry in out.iterdir()} == {"index.html", "trained", "notes.txt"}


def test_nothing_of_somebody_elses_is_lost(tmp_path):
    mine = tmp_path / "trained" / "pixels"
    mirada.train("pixels", out=mine, epochs=1, seed=7, progress=False)
    with pytest.raises(RunError, match="would be lost"):
        tour.write(tmp_path, say=lambda _: None)
    assert mirada.load(mine).settings.seed == 7


def test_a_tour_that_is_cut_short_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text("old")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mirada.tour.squares.chapter", stop)
    with pytest.raises(KeyboardInterrupt):
        tour.write(tmp_path, say=lambda _: None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "old"


@pytest.mark.slow
def test_the_whole_tour_takes_two_minutes_at_the_most(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "PLAN", PLAN)
    began = time.perf_counter()
    tour.write(tmp_path / "tour")
    assert time.perf_counter() - began < 120


# --- in a browser ---

STRICT = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'sha256-{}'"


@pytest.fixture(params=["light", "dark"])
def page(request, browser, html):
    """The page, served under a strict policy to a browser that may fetch nothing else."""
    asked, said = [], []
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    policy = STRICT.format(digest(script(html)))
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": policy}
    page.route("http://127.0.0.1/**", lambda route: route.fulfill(body=html, headers=headers))
    page.goto("http://127.0.0.1/")
    yield page
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == ["http://127.0.0.1/"]
    assert said == []
    context.close()


@pytest.mark.browser
def test_every_picture_is_there(page):
    widths = page.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert len(widths) >= 10
    assert min(widths) > 100


@pytest.mark.browser
def test_pointing_at_a_patch_shows_where_it_looks(page):
    digit = page.locator(".digit").nth(1)
    patch = digit.locator(".ask").nth(5)
    opacity = "e => parseFloat(getComputedStyle(e.querySelector('.look')).opacity)"
    assert patch.evaluate(opacity) == 0
    patch.locator(".spot").hover()
    page.wait_for_timeout(400)
    assert patch.evaluate(opacity) == 1
    assert digit.locator(".first").evaluate(opacity) == 0


@pytest.mark.browser
def test_the_first_digit_is_reached_by_keyboard(page):
    for _ in range(2):  # past the link that skips the cover
        page.keyboard.press("Tab")
    assert "attends most to" in page.evaluate("document.activeElement.getAttribute('aria-label')")


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_it_fits_every_screen(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_texts_stand_out_from_their_ground(page):
    """Contrast of 4.5 at least, as WCAG 2.2 asks of normal text."""
    ratios = page.evaluate(
        """() => {
            const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            // Any colour that CSS can name, color-mix too, as bytes.
            const bytes = colour => {
                context.fillStyle = colour;
                context.fillRect(0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
            };
            const light = colour => {
                const [r, g, b] = bytes(colour).map(v => v / 255)
                    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = e => {
                const colour = getComputedStyle(e).backgroundColor;
                return /, 0\\)$/.test(colour) && e.parentElement ? ground(e.parentElement) : colour;
            };
            const texts = "h1, h1 em, h2, h3, p, dt, dd, figcaption, a, th, td, code, caption, b, button, label";
            return [...document.querySelectorAll(texts)]
                .map(e => [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => a - b))
                .map(([dark, bright]) => (bright + 0.05) / (dark + 0.05));
        }"""
    )
    assert len(ratios) > 50
    assert min(ratios) >= 4.5


def wait_until(so):
    """A page under a strict policy can't wait for an expression itself."""
    until = time.perf_counter() + 10
    while not so():
        assert time.perf_counter() < until
        time.sleep(0.02)


EYES = "[...document.querySelectorAll('.mirada')].map(host => host.eye)"


@pytest.mark.browser
def test_the_views_open_where_their_chapters_tell_of(page):
    assert page.evaluate(f"{EYES}.map(eye => eye.current)") == ["steps", "tokens", "image", "image", "tokens"]


@pytest.mark.browser
def test_the_views_do_not_touch_each_other(page):
    first, second = page.locator(".room").nth(3), page.locator(".room").nth(2)
    before = second.locator(".readout").text_content()
    first.locator(".plate").click(position={"x": 5, "y": 5})
    first.get_by_text("row 1, column 1 attends most to").wait_for()
    assert second.locator(".readout").text_content() == before
    first.get_by_role("tab", name="Map").click()
    page.keyboard.press("t")
    assert page.evaluate(f"{EYES}.map(eye => eye.current)") == ["steps", "tokens", "image", "map", "tokens"]
    themes = page.evaluate(f"{EYES}.map(eye => eye.dark())")
    assert themes.count(themes[3]) == 1


@pytest.mark.browser
def test_whoever_scrolls_past_a_map_gets_past(page):
    room = page.locator(".room").nth(3)
    room.get_by_role("tab", name="Map").click()
    room.scroll_into_view_if_needed()
    scale = f"{EYES}[3].made.map.place.scale"
    before, top = page.evaluate(scale), page.evaluate("scrollY")
    room.locator(".map canvas").hover()
    page.mouse.wheel(0, 120)
    wait_until(lambda: page.evaluate("scrollY") > top)
    assert page.evaluate(scale) == before
    room.locator(".map canvas").click()
    page.mouse.wheel(0, -120)
    wait_until(lambda: page.evaluate(scale) > before)


@pytest.mark.browser
def test_the_views_show_the_runs_own_numbers(page, path):
    run = mirada.load(path.parent / "trained" / "patches-block")
    shown = page.evaluate(f"{EYES}[3].layers[0].head(2).row(5).then(row => [...row])")
    with torch.no_grad():
        (looks,) = run.model.weights(run.data.test_images[:1])
    torch.testing.assert_close(torch.tensor(shown), looks[0, 2, 5], atol=1e-6, rtol=0)
