// How tokens are read: merged into words, without special ones, a block of segments alone. `mirada.viewer.reading` says
// the same of a live page.
import { choice, el, quoted } from "./dom.js";
import { GroupedLayer } from "./grouped.js";
import { Kept } from "./source.js";

/** A reading as the address, the server and the state have it: "words,plain,from0,to1", any of these. */
export function readingOf(text) {
  const parts = text.split(",");
  const segment = (name) => {
    const part = parts.find((one) => new RegExp(`^${name}\\d+$`).test(one));
    return part ? Number(part.slice(name.length)) : null;
  };
  return { words: parts.includes("words"), plain: parts.includes("plain"), from: segment("from"), to: segment("to") };
}

function inText({ words, plain, from, to }) {
  const parts = [words && "words", plain && "plain", from !== null && `from${from}`, to !== null && `to${to}`];
  return parts.filter(Boolean).join(",");
}

/** What of a reading a scene offers; the rest is left out. */
function offered({ about, layers }, reading) {
  const segments = blocks(about);
  return {
    words: reading.words && about.texts.some((text) => text.starts),
    plain: reading.plain && about.texts.some((text) => text.special) && layers.every((layer) => leaves(about, layer)),
    from: reading.from !== null && reading.from < segments.from.length ? reading.from : null,
    to: reading.to !== null && reading.to < segments.to.length ? reading.to : null,
  };
}

/** Whether a layer has tokens that are not special, on both sides. */
function leaves(about, { about: { query_words: asking, key_words: asked } }) {
  return [asking, asked].every((n) => (about.texts[n].special ?? []).length < about.words[n].length);
}

/** The names of the segments of queries and of keys. */
function blocks({ texts, layers }) {
  const names = (side) => layers.map((layer) => texts[layer[side]].segments ?? []).find((found) => found.length) ?? [];
  return { from: names("query_words"), to: names("key_words") };
}

/** The groups of a text's tokens: the first of each, and the one after its last. */
function spansOf(text, count, reading, segment) {
  const starts = (reading.words && text.starts) || Array.from({ length: count }, (_, n) => n);
  const [, first, after] = (segment !== null && text.segments?.[segment]) || [null, 0, count];
  const hidden = new Set(reading.plain ? text.special : []);
  return starts
    .map((start, n) => [start, starts[n + 1] ?? count])
    .filter(([start, end]) => start >= first && end <= after && !hidden.has(start));
}

/** A scene whose tokens are read in another way: what it is about, and its layers. */
export function read({ about, layers }, asked) {
  const reading = offered({ about, layers }, asked);
  const text = inText(reading);
  if (!text) return { reading, about, layers };
  const lists = new Lists(about, reading);
  const kept = new Kept(layers[0].regrouped ? 600 : 96); // answers of a server; whole heads
  const grouped = layers.map((layer) => {
    const [asking, keys] = ["query", "key"].map((side) => lists.of(layer.about[`${side}_words`], side));
    const special = reading.plain ? about.texts[layer.about.key_words].special : null;
    const described = {
      ...layer.about,
      ...{ queries: asking.spans.length, keys: keys.spans.length, query_words: asking.list, key_words: keys.list },
      ...{ spans: { query: asking.spans, key: keys.spans }, tokens: layer.about },
      thumb: [asking, keys].map(({ spans }) => Math.min(spans.length, 32)),
      ...{ query_width: undefined, value_width: undefined, levels: undefined, measures: undefined, later: undefined },
    };
    return layer.regrouped
      ? layer.regrouped(described, text, kept)
      : new GroupedLayer(layer, described, special ?? [], kept);
  });
  const image = about.image && { ...about.image, first: firstPatch(about.image, grouped[0].about.spans.key) };
  return {
    reading,
    about: { ...about, words: lists.words, image, layers: grouped.map((layer) => layer.about) },
    layers: grouped,
  };
}

/** The lists of words along the sides: one for each text, two where only a block of it is shown. */
class Lists {
  constructor(about, reading) {
    this.about = about;
    this.reading = reading;
    this.words = [];
    this.known = new Map();
  }

  of(list, side) {
    const { texts, words } = this.about;
    const segment = side === "query" ? this.reading.from : this.reading.to;
    const key = `${list}:${texts[list].segments ? segment : null}`;
    if (!this.known.has(key)) {
      const spans = spansOf(texts[list], words[list].length, this.reading, segment);
      const starts = this.reading.words ? texts[list].starts : null;
      const names = spans.map(([start]) => (starts ? texts[list].names[starts.indexOf(start)] : words[list][start]));
      this.known.set(key, { list: this.words.push(names) - 1, spans });
    }
    return this.known.get(key);
  }
}

/** Where the image's first patch stands; null where patches are left out or merged. */
function firstPatch({ first, grid }, spans) {
  const at = spans.findIndex(([start]) => start === first);
  const count = grid[0] * grid[1];
  const whole = spans.slice(at, at + count).every(([start, end], n) => start === first + n && end === start + 1);
  return at >= 0 && at + count <= spans.length && whole ? at : null;
}

/** The first token of a group; a token of a page that is read as it is. */
export function tokenOf(about, side, at) {
  return about.spans ? about.spans[side][at][0] : at;
}

/** All tokens of a group. */
export function tokensOf(about, side, at) {
  const [first, after] = about.spans ? about.spans[side][at] : [at, at + 1];
  return Array.from({ length: after - first }, (_, n) => first + n);
}

/** The group that a token is in, or the nearest. */
export function groupOf(about, side, token) {
  if (!about.spans) return token;
  const found = about.spans[side].findIndex(([, after]) => token < after);
  return found < 0 ? about.spans[side].length - 1 : found;
}

/** Where a page says how its tokens are read, and can be told otherwise; hidden where there is nothing to choose. */
export function readingBar(eye) {
  const { about, layers } = eye.base;
  const { reading } = eye;
  const set = (change) => eye.state.set({ reading: inText({ ...reading, ...change }) });
  const words = about.texts.some((text) => text.starts);
  const special = about.texts.some((text) => text.special) && layers.every((layer) => leaves(about, layer));
  const segments = blocks(about);
  const why = tooLong(layers);
  const bar = el("div", { class: "reading", role: "group", aria: { label: "How tokens are read" } });
  const steps = about.steps?.written.length ? stepSlider(eye, about.steps) : null;
  if (steps) bar.append(steps);
  const choices = words || special || segments.from.length > 0 || segments.to.length > 0;
  bar.hidden = !choices && !steps;
  if (!choices) return bar;
  if (why) {
    bar.append(el("span", { class: "soft", text: why }));
    return bar;
  }
  const units = [
    ["", "tokens"],
    ["words", "words"],
  ];
  const hide = el("input", { type: "checkbox", checked: reading.plain });
  hide.addEventListener("change", () => set({ plain: hide.checked }));
  const block = (label, name) => {
    const options = [["", "all"], ...segments[name].map(([title], n) => [String(n), title])];
    const picked = (value) => set({ [name]: value === "" ? null : Number(value) });
    return segments[name].length > 0 && choice(label, options, String(reading[name] ?? ""), picked);
  };
  bar.append(
    ...[
      words && choice("Read", units, reading.words ? "words" : "", (value) => set({ words: value === "words" })),
      special && el("label", { class: "choice" }, hide, el("span", { text: "hide special tokens" })),
      block("Queries of", "from"),
      block("Keys of", "to"),
      el("span", { class: "soft", role: "status", text: says(reading) }),
    ].filter(Boolean),
  );
  return bar;
}

/** A slider over the tokens that a generation wrote: the query is the token from which each was predicted. */
function stepSlider(eye, { prompt, written }) {
  const slider = el("input", { type: "range", min: 1, max: written.length, aria: { label: "step of the generation" } });
  const told = el("output", { class: "figure" });
  const layer = () => eye.layers[eye.state.get("layer")].about;
  const tell = () => {
    const step = tokenOf(layer(), "query", eye.state.get("query")) - prompt + 2;
    slider.value = String(Math.max(1, Math.min(step, written.length)));
    told.textContent =
      step < 1 || step > written.length
        ? `a query of the prompt; ${written.length} tokens were written`
        : `${step} of ${written.length} writes ${quoted(written[step - 1], 24)}`;
  };
  slider.addEventListener("input", () =>
    eye.state.set({ query: groupOf(layer(), "query", prompt - 2 + Number(slider.value)) }),
  );
  const unhear = eye.state?.on((changed) => {
    if (!told.isConnected) return unhear();
    if (changed.has("query") || changed.has("layer")) tell();
  });
  tell();
  return el("label", { class: "choice" }, el("span", { text: "Step" }), slider, told);
}

function says({ words, plain, from, to }) {
  return [
    words && "Weights are summed over a word's keys, and are the mean over its queries.",
    plain && "Special tokens are hidden: the other weights of each row are renormalised to sum to 1.",
    (from !== null || to !== null) && "A block of the matrix: its weights are as they are.",
  ]
    .filter(Boolean)
    .join(" ");
}

/** Why a page can't merge or leave out tokens; empty where it can. */
function tooLong(layers) {
  const within = ({ about }) =>
    about.kind === "live" || (about.kind !== "cells" && about.queries * about.keys <= PROTOCOL.WHOLE);
  return layers.every(within) ? "" : "Words and segments: this text is too long for a saved page; a live one has them.";
}
