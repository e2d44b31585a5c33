// Any view as a picture: what is on the screen, as SVG with real text, or as PNG.
import { el } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";

/** What an element shows, as the text of an SVG file. */
export function toSvg(element, background) {
  const frame = element.getBoundingClientRect();
  const root = node("svg", {
    xmlns: SVG,
    width: frame.width,
    height: frame.height,
    viewBox: `0 0 ${frame.width} ${frame.height}`,
  });
  root.append(node("rect", { width: "100%", height: "100%", fill: background }));
  walk(element, root, frame, frame);
  return new XMLSerializer().serializeToString(root);
}

/** The same as a PNG, two dots to a pixel. */
export async function toPng(element, background) {
  const svg = toSvg(element, background);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = el("canvas", { width: image.width * 2, height: image.height * 2 });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Hands a file to the user. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function node(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function walk(element, into, frame, window) {
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  if (style.display === "none" || style.visibility === "hidden" || Number(style.opacity) === 0) return;
  if (box.bottom < window.top || box.top > window.bottom || box.right < window.left || box.left > window.right) return;
  if (style.display !== "contents") paintBox(style, box, into, frame);
  if (element instanceof HTMLCanvasElement)
    return paintPixels(element.width ? element.toDataURL() : null, style, box, into, frame);
  if (element instanceof HTMLImageElement) return paintPixels(element.src, style, box, into, frame);
  if (element instanceof HTMLSelectElement || element instanceof HTMLInputElement)
    return paintWords(textOf(element), style, padded(box, style), into, frame);
  const inner = style.overflow === "visible" ? window : intersection(window, box);
  const target = style.overflow === "visible" ? into : clipped(into, inner, frame);
  for (const child of element.childNodes) {
    if (child.nodeType === Node.ELEMENT_NODE) walk(child, target, frame, inner);
    else if (child.nodeType === Node.TEXT_NODE) paintText(child, style, target, frame, inner);
  }
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

/** What XML can't hold. */
function withoutControls(text) {
  return text.replace(
    /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    "\ufffd",
  );
}

let clips = 0;

function clipped(into, box, frame) {
  const id = `clip-${clips++}`;
  const clip = node("clipPath", { id });
  clip.append(node("rect", place(box, frame)));
  const group = node("g", { "clip-path": `url(#${id})` });
  into.append(clip, group);
  return group;
}

function intersection(a, b) {
  const [left, top] = [Math.max(a.left, b.left), Math.max(a.top, b.top)];
  const [right, bottom] = [Math.min(a.right, b.right), Math.min(a.bottom, b.bottom)];
  return { left, top, right, bottom, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
}

function place(box, frame) {
  return { x: box.left - frame.left, y: box.top - frame.top, width: box.width, height: box.height };
}
