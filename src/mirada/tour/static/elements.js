// Elements of a page, and numbers as they are read.

/**
 * An HTML element. `props`: text, class, on (listeners), anything else as an attribute; null is left out.
 *
 * @param {Properties} [props]
 */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An SVG element. @param {string} tag @param {Properties} [props] */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

/** @typedef {{ text?: any, on?: object, [attribute: string]: any }} Properties */

function fill(node, /** @type {Properties} */ { text, on = {}, ...attributes }, children) {
  // Whatever is typed comes through here, as text.
  if (text !== undefined) node.textContent = text;
  for (const [event, heard] of Object.entries(on)) node.addEventListener(event, heard);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

export function button(text, onclick) {
  return el("button", { type: "button", text, on: { click: onclick } });
}

/** A titled part of a trial. */
export function part(title, ...inside) {
  return el("div", { class: "try-part" }, el("h4", { text: title }), ...inside);
}

export function fixed(value, digits = 2) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value < 0 ? "−∞" : "∞";
  return value.toFixed(digits).replace("-", "−");
}

/** A share in whole percents; what is not quite all is not called all. */
export function percent(share) {
  return share >= 0.995 && share < 1 ? ">99\u00a0%" : `${(100 * share).toFixed(0)}\u00a0%`;
}

/** The index of the largest. */
export function largest(values) {
  return values.reduce((best, value, n) => (value > values[best] ? n : best), 0);
}

export function clamp(value, least, most) {
  return Math.min(most, Math.max(least, value));
}
