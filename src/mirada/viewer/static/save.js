// Any view as a figure: all of it, without its controls, as SVG with words as text, or as PNG.
import { el } from "./dom.js";
import { hatching } from "./hatch.js";
import { VectorContext, clipped, node, withoutControls } from "./vector.js";

const CONTROLS = "button, select, input, .choice, .group, .limits, .hint, details";
const TITLE = 36; // pixels above what is shown
const TALLEST = 12_000; // pixels; beyond, what is in sight

/** What an element shows, below a title: an SVG element. `painted`: its colours. */
export function figure(element, { title, background, ink }) {
  const { frame, restore } = unfolded(element);
  try {
    const [width, height] = [Math.ceil(frame.width), Math.ceil(frame.height + TITLE)];
    const root = node("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}` });
    root.append(
      node("title", {}, withoutControls(title)),
      node("rect", { width: "100%", height: "100%", fill: background }),
    );
    const look = { fill: ink, "font-size": 15, "font-family": "system-ui, sans-serif" };
    root.append(node("text", { x: 18, y: 24, ...look }, withoutControls(title)));
    const body = node("g", { transform: `translate(0 ${TITLE})` });
    root.append(body);
    walk(element, body, frame, frame);
    return root;
  } finally {
    restore();
  }
}

/** What lies out of sight of a list, a text or a table is laid out for a moment, as long as it is not endless. */
function unfolded(element) {
  const host = element.closest(".frame");
  const scroller = element.querySelector(".heads-grid, .heat-room, .text-scroll, .steps-body");
  const whole = host && scroller && scroller.scrollHeight < TALLEST;
  const top = scroller?.scrollTop ?? 0;
  if (whole) host.toggleAttribute("data-figure", true);
  const restore = () => {
    host?.toggleAttribute("data-figure", false);
    if (scroller) scroller.scrollTop = top;
    for (const canvas of element.querySelectorAll("canvas")) /** @type {any} */ (canvas).repaint?.();
  };
  return { frame: element.getBoundingClientRect(), restore };
}

/** As the text of a file. */
export function asSvg(root) {
  return new XMLSerializer().serializeToString(root);
}

/** The same as a PNG, two dots to a pixel where that is not too large. */
export async function asPng(root) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(asSvg(root))}`;
  await image.decode();
  const scale = Math.min(2, 16_000 / Math.max(image.width, image.height));
  const canvas = /** @type {HTMLCanvasElement} */ (
    el("canvas", { width: Math.round(image.width * scale), height: Math.round(image.height * scale) })
  );
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Hands a file to the user. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function walk(element, into, frame, window) {
  if (element.matches(CONTROLS) && element.closest(".bar")) return;
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  if (style.display === "none" || style.visibility === "hidden" || Number(style.opacity) === 0) return;
  if (box.bottom < window.top || box.top > window.bottom || box.right < window.left || box.left > window.right) return;
  if (style.display !== "contents") paintBox(style, box, into, frame);
  if (element.matches(".hatched")) paintHatched(element, box, into, frame);
  if (element instanceof HTMLCanvasElement) return paintCanvas(element, style, box, into, frame);
  if (element instanceof HTMLImageElement) return paintPixels(element.src, style, box, into, frame);
  if (element instanceof HTMLSelectElement || element instanceof HTMLInputElement)
    return paintWords(textOf(element), style, padded(box, style), into, frame);
  const inner = style.overflow === "visible" ? window : intersection(window, box);
  const target = style.overflow === "visible" ? into : clipped(into, node("rect", place(inner, frame)));
  for (const child of element.childNodes) {
    if (child.nodeType === Node.ELEMENT_NODE) walk(child, target, frame, inner);
    else if (child.nodeType === Node.TEXT_NODE) paintText(child, style, target, frame, inner);
  }
}

/** A canvas that can paint itself again does so in lines and words; of another its dots are taken. */
function paintCanvas(canvas, style, box, into, frame) {
  if (!canvas.width) return;
  const opacity = style.opacity === "1" ? {} : { opacity: style.opacity };
  const at = `translate(${box.left - frame.left} ${box.top - frame.top})`;
  const group = node("g", { transform: at, ...opacity });
  const context = new VectorContext(group);
  if (canvas.repaint) {
    canvas.vector = context;
    canvas.repaint();
    canvas.vector = null;
  } else if (style.imageRendering === "pixelated") context.drawImage(canvas, 0, 0, box.width, box.height);
  else return paintPixels(canvas.toDataURL(), style, box, into, frame);
  into.append(group);
}

/** What a control says. */
function textOf(element) {
  if (element instanceof HTMLSelectElement) return element.selectedOptions[0]?.textContent ?? "";
  return ["number", "text"].includes(element.type) ? element.value : "";
}

function padded(box, style) {
  return { left: box.left + parseFloat(style.paddingLeft), top: box.top, width: box.width, height: box.height };
}

function paintBox(style, box, into, frame) {
  const painted = style.backgroundColor !== "rgba(0, 0, 0, 0)";
  const lined = parseFloat(style.borderTopWidth) > 0 && style.borderTopStyle !== "none";
  if (painted || lined) {
    const line = lined ? { stroke: style.borderTopColor, "stroke-width": parseFloat(style.borderTopWidth) } : {};
    into.append(
      node("rect", {
        ...place(box, frame),
        rx: parseFloat(style.borderTopLeftRadius) || 0,
        fill: painted ? style.backgroundColor : "none",
        ...line,
      }),
    );
  }
  const under = parseFloat(style.borderBottomWidth);
  if (!lined && under > 0 && style.borderBottomStyle !== "none") {
    into.append(
      node("rect", {
        ...place({ left: box.left, top: box.bottom - under, width: box.width, height: under }, frame),
        fill: style.borderBottomColor,
      }),
    );
  }
}

function paintHatched(element, box, into, frame) {
  const context = new VectorContext(into);
  context.fillStyle = hatching(context, element.closest("[data-theme]").dataset.theme === "dark");
  context.fillRect(box.left - frame.left, box.top - frame.top, box.width, box.height);
}

function paintPixels(href, style, box, into, frame) {
  if (!href) return;
  const kind = style.imageRendering === "pixelated" ? { "image-rendering": "pixelated" } : {};
  into.append(
    node("image", { ...place(box, frame), href, preserveAspectRatio: "none", opacity: style.opacity, ...kind }),
  );
}

function paintText(child, style, into, frame, window) {
  if (!child.data.trim()) return;
  const range = document.createRange();
  let start = 0;
  // A line at a time: a text may be broken into several.
  for (const end of lineEnds(child, range)) {
    range.setStart(child, start);
    range.setEnd(child, end);
    const box = range.getBoundingClientRect();
    if (box.width > 0 && box.bottom > window.top && box.top < window.bottom)
      paintWords(child.data.slice(start, end), style, box, into, frame);
    start = end;
  }
}

function lineEnds(child, range) {
  range.selectNodeContents(child);
  const { length } = child.data;
  if (range.getClientRects().length < 2 || length > 2000) return [length];
  const ends = [];
  let top = null;
  for (let n = 0; n < length; n++) {
    range.setStart(child, n);
    range.setEnd(child, n + 1);
    const box = range.getBoundingClientRect();
    if (top !== null && box.width > 0 && box.top > top + 2) ends.push(n);
    if (box.width > 0) top = box.top;
  }
  return [...ends, length];
}

function paintWords(words, style, box, into, frame) {
  const size = parseFloat(style.fontSize);
  const text = node("text", {
    x: box.left - frame.left,
    y: box.top - frame.top + (box.height + size * 0.72) / 2,
    fill: style.color,
    "font-size": size,
    "font-family": style.fontFamily.replaceAll('"', "'"),
    "font-weight": style.fontWeight,
    "font-style": style.fontStyle,
  });
  text.textContent = style.textTransform === "uppercase" ? words.toUpperCase() : withoutControls(words);
  into.append(text);
}

function intersection(a, b) {
  const [left, top] = [Math.max(a.left, b.left), Math.max(a.top, b.top)];
  const [right, bottom] = [Math.min(a.right, b.right), Math.min(a.bottom, b.bottom)];
  return { left, top, right, bottom, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
}

function place(box, frame) {
  return { x: box.left - frame.left, y: box.top - frame.top, width: box.width, height: box.height };
}
