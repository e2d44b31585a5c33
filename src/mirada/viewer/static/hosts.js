// The two hosts: a page of its own, and a notebook.
import { el } from "./dom.js";
import { follow } from "./address.js";
import { frame } from "./frame.js";
import { liveLayers, overHttp, overWidget } from "./live.js";
import { carriedLayers } from "./source.js";

/**
 * Puts a view into an element of a page. What it shows stands in `carried`, a part of the page; its numbers, too, or a
 * server has them. A view that has the page to itself is as high as the window, another as the element. `opens`: what is
 * looked at first.
 */
export function show(element, { carried, server, alone = true, opens = {} }) {
  const about = JSON.parse(carried.querySelector("script[data-scene]").textContent);
  const host = element.appendChild(el("div", { class: "mirada" }));
  Object.assign(host.style, { display: "block", height: alone ? "100vh" : "100%" });
  const text = (name) => carried.querySelector(`script[data-blob="${name}"]`).textContent;
  const ask = server ? overHttp(server, (reached) => host.eye?.reached(reached)) : null;
  const layers = server ? liveLayers(about, ask) : carriedLayers(about, text);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  // On the element, so that a page's own scripts can turn the view.
  host.eye = frame(shadowOf(host), about, layers, { dark: scheme.matches, ask, alone });
  host.eye.state.set(opens);
  if (alone) follow(host.eye);
  scheme.addEventListener("change", () => host.eye.state.set({ dark: scheme.matches }));
}

/** What anywidget calls for each view of a widget. */
export function render({ model, el: element }) {
  const about = model.get("scene");
  const host = element.appendChild(el("div", { class: "mirada" }));
  // A fixed height: the notebook's page doesn't jump when a view is turned.
  Object.assign(host.style, { display: "block", height: `${model.get("height")}px` });
  const { ask, stop } = overWidget(model);
  host.eye = frame(shadowOf(host), about, liveLayers(about, ask), { dark: isDark(element), ask });
  const unfollow = followTheme(host, (dark) => host.eye.state.set({ dark }));
  return () => {
    unfollow();
    stop();
  };
}

/** Tells whether the notebook is dark once the view lies in it, which may be after it was made, and when that changes. */
function followTheme(host, tell) {
  let known = null;
  const look = () => {
    if (!host.isConnected || host.clientHeight === 0) return;
    const dark = isDark(host);
    // What a hand has turned since stays so, until the notebook itself turns.
    if (dark !== known) tell((known = dark));
  };
  const placed = new ResizeObserver(look);
  placed.observe(host);
  const turned = new MutationObserver(() => requestAnimationFrame(look));
  for (const node of [document.documentElement, document.body]) turned.observe(node, { attributes: true });
  return () => {
    placed.disconnect();
    turned.disconnect();
  };
}

/** A root of its own: neither does the page's style reach in, nor the view's out. */
function shadowOf(host) {
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS_TEXT);
  root.adoptedStyleSheets = [sheet];
  return root;
}

/** Whether what lies behind the view is dark; a notebook's theme needn't be the system's. */
function isDark(element) {
  for (const node of [...ancestors(element), document.body]) {
    const [r, g, b, alpha] = bytesOfColour(getComputedStyle(node).backgroundColor);
    if (alpha > 127) return 0.3 * r + 0.6 * g + 0.1 * b < 128;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Red, green, blue and alpha of any colour that CSS can name: oklch, color-mix and what may come. */
function bytesOfColour(colour) {
  const context = el("canvas", { width: 1, height: 1 }).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}

function* ancestors(element) {
  for (let node = element; node; node = node.parentElement ?? node.getRootNode().host) yield node;
}
