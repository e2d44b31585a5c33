"""How quick and how heavy the view is, in a headless Chromium.

A saved page of 12 × 12 heads at 512 tokens, one of 12 heads at 2,000, and one head of 32,768 tokens, live.

    python benchmarks/view.py [--browser /usr/bin/chromium] [--against FOLDER]

With --against, the same weights go through bertviz and circuitsvis, where they are installed. bertviz takes three
scripts from a network; they are read from FOLDER: require.min.js, jquery.min.js, d3.min.js.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from playwright.sync_api import Browser, Error, Page, Route, sync_playwright

import mirada
from mirada.viewer.queries import Answers
from mirada.viewer.server import Server

ROOT = "document.querySelector('.mirada').shadowRoot"
HOVERS = """async (count) => {
  const root = document.querySelector('.mirada').shadowRoot;
  const tokens = [...root.querySelectorAll('.token')];
  const taken = [];
  for (let n = 0; n < count; n++) {
    const token = tokens[(n * 37 + 60) % tokens.length];
    const since = performance.now();
    token.dispatchEvent(new PointerEvent('pointerover', { bubbles: true, composed: true }));
    while (!token.dataset.shown) await new Promise((resolve) => setTimeout(resolve));
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    taken.push(performance.now() - since);
    delete token.dataset.shown;
  }
  return taken;
}"""
FRAMES = """async (milliseconds) => {
  const map = document.querySelector('.mirada').eye.made.map;
  let frames = 0;
  const since = performance.now();
  while (performance.now() - since < milliseconds) {
    await new Promise(requestAnimationFrame);
    if (frames % 40 < 20) map.pan(-7, -5);
    else map.pan(7, 5);
    map.zoom(frames % 40 < 20 ? 1.03 : 1 / 1.03);
    frames++;
  }
  return frames / (performance.now() - since) * 1000;
}"""

PICTURE = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--browser", default=shutil.which("chromium"))
    options.add_argument("--against", type=Path)
    given = options.parse_args()
    torch.manual_seed(0)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=given.browser, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        saved_page(page, Path(folder), "12 layers × 12 heads, 512 tokens", layers=12, tokens=512)
        saved_page(page, Path(folder), "1 layer × 12 heads, 2,000 tokens", layers=1, tokens=2000)
        live_page(browser.new_page(viewport={"width": 1280, "height": 800}), tokens=32_768)
        if given.against:
            for tokens in (128, 512):
                against(browser, Path(folder), given.against, tokens)
        browser.close()


def layers_of(layers: int, tokens: int) -> list[mirada.AttentionMatrix]:
    rule = mirada.masks.causal(tokens)
    return [mirada.AttentionMatrix(*torch.randn(2, 12, tokens, 64), rule) for _ in range(layers)]


def saved_page(page: Page, folder: Path, title: str, *, layers: int, tokens: int) -> None:
    words = [f"token{n}" for n in range(tokens)]
    since = time.perf_counter()
    path = mirada.view(layers_of(layers, tokens), labels=words).save(folder / "page.html")
    print(f"{title}\n  saved in         {time.perf_counter() - since:8.2f} s, {path.stat().st_size / 1e6:.1f} MB")
    since = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_function(f"() => [...{ROOT}.querySelectorAll('.card')].every((card) => card.ariaLabel)", polling=10)
    print(f"  opens in         {time.perf_counter() - since:8.2f} s")
    page.get_by_role("tab", name="Tokens").click()
    page.wait_for_function(f"() => {ROOT}.querySelector('.token.here')?.dataset.shown", polling=10)
    page.evaluate(HOVERS, 12)  # the first ones form the layer's weights, as they do for a reader who has just come
    taken = page.evaluate(HOVERS, 40)
    print(f"  a hover          {statistics.median(taken):8.0f} ms (median of 40; the slowest {max(taken):.0f})")


def live_page(page: Page, tokens: int) -> None:
    matrix = mirada.AttentionMatrix(*torch.randn(2, 1, tokens, 64), mirada.masks.causal(tokens))
    server = Server(Answers(mirada.view(matrix).scene))
    server.start()
    took: list[float] = []
    page.on(
        "requestfinished", lambda request: took.append(request.timing["responseEnd"]) if _fine(request.url) else None
    )
    since = time.perf_counter()
    page.goto(server.address)
    there = "[...document.querySelector('.mirada').eye.made.map.tiles.kept.map.values()]"
    page.wait_for_function(f"() => {there}.some((tile) => tile.state === 'there')", polling=20)
    print(f"1 head, {tokens:,} tokens, live\n  first picture in {time.perf_counter() - since:8.2f} s")
    page.wait_for_function(
        f"() => {there}.every((tile) => tile.state !== 'waiting') && {there}.length > 1", timeout=120_000
    )
    print(f"  in full detail   {time.perf_counter() - since:8.2f} s")
    for _ in range(14):
        page.evaluate("document.querySelector('.mirada').eye.made.map.zoom(2)")
        page.wait_for_timeout(300)
    page.wait_for_function(f"() => {there}.every((tile) => tile.state !== 'waiting')", timeout=120_000)
    print(f"  a tile           {statistics.median(took):8.0f} ms (median of {len(took)}; the slowest {max(took):.0f})")
    for _ in range(4):
        page.evaluate("document.querySelector('.mirada').eye.made.map.zoom(0.5)")
    page.wait_for_timeout(3000)
    print(f"  pan and zoom     {page.evaluate(FRAMES, 3000):8.0f} frames a second")
    server.stop()


def _fine(url: str) -> bool:
    return "/tile?" in url and any(f"cell={cell}&" in url for cell in (1, 2, 4, 8))


# --- against others: the same weights, one layer of 12 heads ---


def ours(weights: torch.Tensor, words: list[str], path: Path) -> None:
    mirada.view(weights, labels=words).save(path)


def bertviz(weights: torch.Tensor, words: list[str], path: Path) -> None:
    from bertviz import head_view

    path.write_text(f"<!doctype html><body>{head_view([weights[None]], words, html_action='return').data}")


def circuitsvis(weights: torch.Tensor, words: list[str], path: Path) -> None:
    from circuitsvis.attention import attention_patterns

    # What it shows where there is no network: its script comes along.
    path.write_text(f"<!doctype html><body>{attention_patterns(tokens=words, attention=weights).local_src}")


OTHERS: dict[str, Callable[[torch.Tensor, list[str], Path], None]] = {
    "mirada": ours,
    "bertviz": bertviz,
    "circuitsvis": circuitsvis,
}


def against(browser: Browser, folder: Path, library: Path, tokens: int) -> None:
    """Size, time until the tokens stand there and are still, time from pointing at one to the next picture."""
    print(f"1 layer × 12 heads, {tokens} tokens: the same weights, each its own page")
    weights, words = layers_of(1, tokens)[0].to_dense(), [f"token{n}" for n in range(tokens)]
    first: tuple[float, ...] = ()
    for name, make in OTHERS.items():
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.route("https://**/*", lambda route: fulfilled(route, library))
        path = folder / f"{name}.html"
        try:
            make(weights, words, path)
            opened, hover = driven(page, path, name)
        except (ImportError, Error) as error:
            print(f"  {name:12} {str(error).splitlines()[0]}")
        else:
            found = path.stat().st_size / 1e6, opened, 1000 * hover
            first = first or found
            words_for = zip(found, first, ("MB", "s to open", "ms a hover"), strict=True)
            print(f"  {name:12}", *(f"{one:8.1f} {unit} (× {one / ours:.1f})" for one, ours, unit in words_for))
        page.close()


def driven(page: Page, path: Path, name: str) -> tuple[float, float]:
    page.set_default_timeout(180_000)
    since = time.perf_counter()
    page.goto(path.as_uri())
    if name == "mirada":
        page.get_by_role("tab", name="Tokens").click()
    page.get_by_text("token5", exact=True).first.wait_for()
    page.evaluate(PICTURE)
    opened = time.perf_counter() - since
    taken = []
    for n in (3, 7, 11, 15, 19):
        box = page.get_by_text(f"token{n}", exact=True).first.bounding_box()
        assert box is not None
        since = time.perf_counter()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.evaluate(PICTURE)
        taken.append(time.perf_counter() - since)
    return opened, statistics.median(taken)


def fulfilled(route: Route, library: Path) -> None:
    """A page's request to a network, from a folder: nothing leaves this machine."""
    name = route.request.url.rpartition("/")[2]
    if (library / name).is_file():
        route.fulfill(path=library / name, content_type="text/javascript")
    else:
        route.abort()


if __name__ == "__main__":
    main()
