// The two hosts: a page of its own, and a notebook.
import { el } from "./dom.js";
import { frame } from "./frame.js";
import { liveLayers, overHttp, overWidget } from "./live.js";
import { carriedLayers } from "./source.js";

/** Puts a view into an element of a page; its numbers come from the page (`carried`) or a server. */
export function show(element, { carried, server }) {
  const about = JSON.parse(document.querySelector("script[data-scene]").textContent);
  const host = element.appendChild(el("div", { class: "mirada" }));
  Object.assign(host.style, { display: "block", height: "100vh" });
  const text = (name) => carried.querySelector(`script[data-blob="${name}"]`).textContent;
  const ask = server ? overHttp(server) : null;
  const layers = server ? liveLayers(about, ask) : carriedLayers(about, text);
  // On the element, so that a page's own scripts can turn the view.
  host.eye = frame(shadowOf(host), about, layers, { dark: matchMedia("(prefers-color-scheme: dark)").matches, ask });
}

/** What anywidget calls for each view of a widget. */
export function render({ model, el: element }) {
  const about = model.get("scene");
  const host = element.appendChild(el("div", { class: "mirada" }));
  // A fixed height: the notebook's page doesn't jump when a view is turned.
  Object.assign(host.style, { display: "block", height: `${model.get("height")}px` });
  const { ask, stop } = overWidget(model);
  host.eye = frame(shadowOf(host), about, liveLayers(about, ask), { dark: hostIsDark(element) });
  return stop;
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
function hostIsDark(element) {
  // Some notebooks put the element into the page only later: then the page itself is what lies behind.
  for (const node of [...ancestors(element), document.body]) {
    const [r, g, b, alpha = 1] = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    if (alpha > 0.5) return 0.3 * r + 0.6 * g + 0.1 * b < 128;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function* ancestors(element) {
  for (let node = element; node; node = node.parentElement ?? node.getRootNode().host) yield node;
}
