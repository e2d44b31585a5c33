// Elements, and the few habits that every view shares.

/** An element. `props`: text, class, on (listeners), data, aria, anything else as a property or attribute. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setProperty(node, name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function setProperty(node, name, value) {
  if (value === undefined || value === null) return;
  // Whatever comes from outside comes through here, as text.
  if (name === "text") node.textContent = value;
  else if (name === "class") node.className = value;
  else if (name === "on") for (const [event, heard] of Object.entries(value)) node.addEventListener(event, heard);
  else if (name === "aria") for (const [key, told] of Object.entries(value)) node.setAttribute(`aria-${key}`, told);
  else if (name in node && name !== "role") node[name] = value;
  else node.setAttribute(name, value);
}

/** A button with words on it. */
export function button(text, onclick, props = {}) {
  return el("button", { type: "button", text, on: { click: onclick }, ...props });
}

/** A labelled choice; `options` are [value, words]. */
export function choice(label, options, value, onchange) {
  const list = options.map(([key, words]) => el("option", { value: key, text: words }));
  const select = el("select", { on: { change: () => onchange(select.value) } }, ...list);
  select.value = value;
  return el("label", { class: "choice" }, el("span", { text: label }), select);
}

/** A canvas as sharp as the screen; gives its context, scaled so that a unit is a CSS pixel. */
export function sharpen(canvas, width, height) {
  if (canvas.vector) return canvas.vector; // a figure is written, not the screen
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** Calls `draw` at most once a frame, however often it is asked. */
export function framed(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}

export function clamp(value, least, most) {
  return Math.max(least, Math.min(most, value));
}

/** What stands for a token where there is room for a few letters: white space is made visible. */
export function wordOf(token, most = 80) {
  if (token === "") return "∅";
  // Cut between characters, never within a pair of halves that only together are one.
  const shown = token.length > most ? `${token.slice(0, most).replace(/[\ud800-\udbff]$/, "")}…` : token;
  return /^\s+$/.test(shown) ? shown.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣") : shown;
}

/** A word between quotation marks and direction isolates, so that its own direction stays its own. */
export function quoted(token, most = 40) {
  return `“\u2068${wordOf(token, most)}\u2069”`;
}

/** Whether most words begin with a letter of a script that is written from right to left. */
export function fromRightToLeft(words) {
  const votes = words.map((word) => {
    const [letter] = word.match(/\p{L}/u) ?? [];
    return letter ? (/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(letter) ? 1 : -1) : 0;
  });
  return votes.reduce((sum, vote) => sum + vote, 0) > 0;
}

/** A number as it is read: few digits, no false precision. */
export function number(value, digits = 4) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value < 0 ? "−∞" : "∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(digits - 1) : value.toFixed(digits);
  return text.replace("-", "−");
}

/** A share as a percentage. */
export function percent(value) {
  if (!Number.isFinite(value)) return number(value);
  const share = 100 * value;
  if (share > 0 && share < 0.005) return "<0.01 %";
  return `${share.toFixed(share >= 9.95 ? 0 : share >= 0.095 ? 1 : share > 0 ? 2 : 0)} %`;
}
