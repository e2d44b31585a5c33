// View 1: layers × heads as small maps.
import { NOT_FINITE_WORD, scaleWords } from "./colour.js";
import { choice, clamp, el, number, percent } from "./dom.js";

export const MEASURES = {
  entropy: {
    words: "entropy",
    unit: (value) => `${number(value, 2)} nats`,
    says: "how widely it looks, mean over queries",
  },
  sink: { words: "first key", unit: percent, says: "mean weight of the first key (sink mass)" },
  previous: { words: "previous token", unit: percent, says: "mean weight of the key before the query's own" },
  concentration: {
    words: "concentration",
    unit: percent,
    says: "how unevenly the keys are looked at: 100 % is one key for all",
  },
};

/** The share of the colour scale for `weight`, seen as multiples of an even share; see the map's legend. */
export function logShare(weight, even, keys) {
  if (!(weight > 0)) return 0;
  return clamp(Math.log(weight / even / 0.25) / Math.log(4 * Math.max(keys, 2)), 0, 1);
}

export function headsView(eye) {
  const grid = el("div", { class: "heads-grid", role: "group", aria: { label: "Heads of all layers as small maps" } });
  // What was measured beside the view (a head's importance, say): name → { words, unit, says, values[layer][head] }.
  const known = () => ({ ...MEASURES, ...eye.state.get("measured") });
  const kept = (eye.kept ??= { sort: "place", from: 0, to: 100 });
  const settle = () => {
    if (kept.sort !== "place" && !known()[kept.sort]) kept.sort = "place";
  };
  settle();
  const count = el("span", { class: "soft", role: "status" });
  const cards = eye.layers.flatMap((layer, l) => Array.from({ length: layer.about.heads }, (_, h) => card(eye, l, h)));
  const measured = () => {
    for (const one of cards) {
      for (const [name, { values }] of Object.entries(eye.state.get("measured") ?? {}))
        one.measures = { ...one.measures, [name]: values[one.layer]?.[one.head] };
    }
  };
  const arrange = () => {
    measured();
    arranged(eye, grid, cards, kept, count, known());
  };
  let bar = toolbar(kept, count, arrange, known());
  grid.addEventListener("keydown", (event) => rove(event, grid));
  eye.layers.forEach((layer, l) => {
    layer
      .overview()
      .then((seen) =>
        fill(
          eye,
          cards.filter((one) => one.layer === l),
          layer,
          seen,
        ),
      )
      .then(arrange, (error) => eye.say(error.message));
  });
  arrange();
  return {
    element: el("div", { class: "view heads" }, bar, grid),
    update(changed) {
      if (changed.has("measured")) {
        settle();
        const next = toolbar(kept, count, arrange, known());
        bar.replaceWith(next);
        bar = next;
        arrange();
      }
      if (changed.has("dark")) cards.forEach((one) => one.paint?.());
      if (changed.has("layer") || changed.has("head")) cards.forEach((one) => mark(eye, one));
    },
  };
}

function toolbar(kept, count, arrange, known) {
  const orders = [
    ["place", "layer and head"],
    ...Object.entries(known).map(([key, { words }]) => [key, `${words}, highest first`]),
  ];
  const limit = (name, words) =>
    el(
      "label",
      { class: "choice" },
      el("span", { text: words }),
      el("input", {
        type: "range",
        min: 0,
        max: 100,
        value: kept[name],
        on: {
          input: (event) => {
            kept[name] = Number(event.target.value);
            arrange();
          },
        },
      }),
    );
  const limits = el("span", { class: "limits" }, limit("from", "from the lowest"), limit("to", "to the highest"));
  limits.hidden = kept.sort === "place";
  const sort = choice("Sort", orders, kept.sort, (value) => {
    kept.sort = value;
    limits.hidden = value === "place";
    arrange();
  });
  return el("div", { class: "bar" }, sort, limits, count);
}

function card(eye, layer, head) {
  const canvas = el("canvas");
  const words = el("span", { class: "card-words", text: `${head}` });
  const open = () => eye.state.set({ layer, head, view: "map" });
  const element = el("button", { type: "button", class: "card", tabIndex: -1, on: { click: open } }, canvas, words);
  return { layer, head, element, canvas, words };
}

function fill(eye, cards, layer, { thumbs, measures }) {
  const [rows, columns] = layer.about.thumb;
  for (const one of cards) {
    one.measures = {
      ...one.measures,
      ...Object.fromEntries(Object.keys(MEASURES).map((name) => [name, measures[name][one.head] ?? NaN])),
    };
    one.paint = () =>
      paintThumb(
        one.canvas,
        thumbs.subarray(one.head * rows * columns, (one.head + 1) * rows * columns),
        [rows, columns],
        eye.dark(),
      );
    one.paint();
    const told = Object.entries(MEASURES)
      .map(([name, { words, unit }]) => `${words} ${unit(one.measures[name])}`)
      .join(", ");
    one.element.title = `${layer.about.name}, head ${one.head}\n${told.replaceAll(", ", "\n")}`;
    one.element.setAttribute("aria-label", `${layer.about.name}, head ${one.head}: ${told}. Opens its map.`);
    mark(eye, one);
  }
}

/** A small map on a canvas of as many dots as it has cells. */
function paintThumb(canvas, values, [rows, columns], dark) {
  const scale = scaleWords(dark);
  const pixels = new Uint32Array(rows * columns);
  for (let n = 0; n < pixels.length; n++)
    pixels[n] = Number.isFinite(values[n])
      ? scale[Math.round(255 * logShare(values[n], 1 / columns, columns))]
      : NOT_FINITE_WORD;
  Object.assign(canvas, { width: columns, height: rows });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), columns, rows), 0, 0);
}

function mark(eye, one) {
  const current = one.layer === eye.state.get("layer") && one.head === eye.state.get("head");
  one.element.toggleAttribute("data-current", current);
}

function arranged(eye, grid, cards, kept, count, known) {
  const ready = kept.sort !== "place";
  const shown = ready ? ranked(cards, kept) : cards;
  const rows = ready
    ? [["", shown]]
    : eye.layers.map((layer, l) => [layer.about.name, cards.filter((one) => one.layer === l)]);
  for (const one of cards) {
    const measure = known[kept.sort];
    const place = ready && eye.layers.length > 1 ? `${one.layer}·${one.head}` : `${one.head}`;
    one.words.textContent =
      measure && one.measures?.[kept.sort] !== undefined
        ? `${place}   ${measure.unit(one.measures[kept.sort])}`
        : place;
    one.element.tabIndex = -1;
  }
  grid.replaceChildren(
    ...rows.map(([name, members]) =>
      el(
        "div",
        { class: "heads-row", role: "group", aria: { label: name || "Sorted heads" } },
        name === "" ? null : el("span", { class: "heads-name", text: name, title: name, aria: { hidden: "true" } }),
        el("span", { class: "heads-cards" }, ...members.map((one) => one.element)),
      ),
    ),
  );
  if (shown[0]) (shown.find((one) => one.element.hasAttribute("data-current")) ?? shown[0]).element.tabIndex = 0;
  count.textContent = `${shown.length} of ${cards.length} heads${ready ? `: ${known[kept.sort].says}` : ""}`;
}

/** Highest first, those between two shares of the range that occurs. */
function ranked(cards, { sort, from, to }) {
  const known = cards.filter((one) => Number.isFinite(one.measures?.[sort]));
  const values = known.map((one) => one.measures[sort]);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const at = (share) => least + ((most - least) * share) / 100;
  const within = known.filter((one) => one.measures[sort] >= at(from) - 1e-12 && one.measures[sort] <= at(to) + 1e-12);
  return within.sort((a, b) => b.measures[sort] - a.measures[sort]);
}

/** Arrow keys go from head to head, as they lie on the screen. */
function rove(event, grid) {
  const cards = [...grid.querySelectorAll(".card")];
  const at = cards.indexOf(event.target.closest(".card"));
  if (at < 0) return;
  const across = cards.findIndex((one) => one.offsetTop > cards[0].offsetTop);
  const step = {
    ArrowRight: 1,
    ArrowLeft: -1,
    ArrowDown: Math.max(across, 0),
    ArrowUp: across < 0 ? 0 : -across,
    Home: -at,
    End: cards.length - 1 - at,
  }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const next = cards[clamp(at + step, 0, cards.length - 1)];
  cards[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}
