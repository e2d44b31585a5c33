// View 5: one query's attention, unfolded step by step, with its formula and the real numbers.
import { css, inkOn, signedColour } from "./colour.js";
import { groupOf, tokenOf } from "./reading.js";
import { button, choice, clamp, el, number, percent, quoted, wordOf } from "./dom.js";

const PAGE = 8; // keys at a time
const SHOWN = 12; // features whose numbers are written out

const STEPS = [
  ["q and k", "one query, and the keys it is compared with"],
  ["q × k", "feature by feature"],
  ["sum", "s = Σₑ qₑ kₑ"],
  ["scale", "s × scale"],
  ["mask", "−∞ where the query may not attend"],
  ["softmax", "w = exp(s − m) / Σ exp(s − m), m the largest s"],
  ["weights · V", "context = Σ w v"],
];

export function stepsView(eye) {
  return new StepsView(eye);
}

class StepsView {
  constructor(eye) {
    this.eye = eye;
    this.step = STEPS.length;
    this.page = 0;
    this.body = el("div", {
      class: "steps-body",
      tabIndex: 0,
      role: "group",
      aria: { label: "From q and k to the context" },
    });
    this.count = el("span", { class: "soft", role: "status" });
    this.queryInput = el("input", {
      type: "number",
      min: 0,
      aria: { label: "query" },
      on: { change: () => eye.state.set({ query: groupOf(this.seen, "query", this.chosen()) }) },
    });
    this.order = choice(
      "Keys",
      [
        ["place", "in order"],
        ["weight", "strongest first"],
      ],
      "place",
      (by) => {
        this.by = by;
        this.page = 0;
        this.look();
      },
    );
    this.by = "place";
    this.keyInput = el("input", {
      type: "number",
      min: 0,
      aria: { label: "go to key" },
      on: { change: () => this.goTo(Math.round(Number(this.keyInput.value)) || 0) },
    });
    this.queryWord = el("bdi", { class: "listed" });
    this.element = el("div", { class: "view steps", tabIndex: -1 }, this.toolbar(), this.body);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.look();
  }

  toolbar() {
    const turn = (by) => () => this.turn(by);
    return el(
      "div",
      { class: "bar" },
      el("label", { class: "choice" }, el("span", { text: "Query" }), this.queryInput),
      this.queryWord,
      el(
        "span",
        { class: "group" },
        button("From the start", () => this.unfold(1)),
        button("Back", () => this.unfold(this.step - 1)),
        button("Next step", () => this.unfold(this.step + 1)),
        button("Play", () => this.play()),
        button("All", () => this.unfold(STEPS.length)),
      ),
      el(
        "span",
        { class: "group" },
        button("‹", turn(-1), { aria: { label: "earlier keys" } }),
        this.count,
        button("›", turn(1), { aria: { label: "later keys" } }),
      ),
      this.order,
      el("label", { class: "choice" }, el("span", { text: "Go to key" }), this.keyInput),
    );
  }

  /** The query that was typed in, within those there are. */
  chosen() {
    return clamp(Math.round(Number(this.queryInput.value)) || 0, 0, this.layer.about.queries - 1);
  }

  /** The layer as the other views have it. */
  get seen() {
    return this.eye.layers[this.eye.state.get("layer")].about;
  }

  words(list) {
    return this.eye.base.about.words[list];
  }

  get layer() {
    return this.eye.base.layers[this.eye.layers[this.eye.state.get("layer")].number]; // a word has no query of its own: its first token has
  }

  key(event) {
    if (event.target.tagName === "INPUT") return;
    if (event.key === "ArrowRight") this.unfold(this.step + 1);
    else if (event.key === "ArrowLeft") this.unfold(this.step - 1);
    else if (event.key === "PageDown") this.turn(1);
    else if (event.key === "PageUp") this.turn(-1);
    else return;
    event.preventDefault();
  }

  unfold(step) {
    clearInterval(this.playing);
    this.step = clamp(step, 1, STEPS.length);
    this.reveal();
  }

  play() {
    this.unfold(1);
    this.playing = setInterval(() => {
      if (this.step >= STEPS.length) return clearInterval(this.playing);
      this.step++;
      this.reveal();
    }, 1100);
  }

  turn(by) {
    const pages = Math.ceil(this.layer.about.keys / PAGE);
    this.page = clamp(this.page + by, 0, pages - 1);
    this.look();
  }

  /** Turns to the keys among which one is. */
  goTo(key) {
    const at = this.ranks?.indexOf(clamp(key, 0, this.layer.about.keys - 1)) ?? 0;
    this.page = Math.floor(Math.max(0, at) / PAGE);
    this.look();
  }

  /** Asks for the numbers of the query and of one page of keys. */
  async look() {
    const { about } = this.layer;
    const query = clamp(tokenOf(this.seen, "query", this.eye.state.get("query")), 0, about.queries - 1);
    this.page = clamp(this.page, 0, Math.ceil(about.keys / PAGE) - 1);
    const head = this.layer.head(this.eye.state.get("head"));
    const asked = (this.asked = {});
    try {
      const row = await head.row(query);
      if (this.asked !== asked) return;
      const ranks = Array.from({ length: about.keys }, (_, n) => n);
      if (this.by === "weight" && row) ranks.sort((a, b) => row[b] - row[a] || a - b);
      this.ranks = ranks;
      const places = ranks.slice(this.page * PAGE, (this.page + 1) * PAGE);
      const parts = await partsOf(head, query, places);
      if (this.asked !== asked) return;
      Object.assign(this.queryInput, { value: query, max: about.queries - 1 });
      this.queryWord.textContent = wordOf(this.words(about.query_words)[query], 40);
      this.keyInput.max = String(about.keys - 1);
      const [first, after] = [this.page * PAGE, this.page * PAGE + places.length];
      this.count.textContent =
        this.by === "place"
          ? `keys ${first}–${after - 1} of ${about.keys}`
          : `ranks ${first + 1}–${after} of ${about.keys} keys`;
      if (!parts) return this.without();
      this.build({ at: query, places, ...parts, row, scale: about.scale });
    } catch (error) {
      this.eye.say(error.message);
    }
  }

  without() {
    this.body.replaceChildren(
      el("p", { class: "soft", text: "The queries and keys of this layer are not known here: only its weights are." }),
    );
  }

  build(seen) {
    const words = this.words(this.layer.about.key_words);
    const keys = seen.keys.map((key, n) => oneKey(seen, key, n, words[seen.places[n]]));
    const all = [
      this.vectors(seen, keys),
      this.products(seen, keys),
      this.sums(seen, keys),
      this.scales(seen, keys),
      this.masks(seen, keys),
      this.weights(seen, keys),
      this.contexts(seen, keys),
    ];
    this.body.replaceChildren(...all);
    this.reveal();
  }

  reveal() {
    [...this.body.children].forEach((section, n) => {
      const open = n < this.step;
      section.toggleAttribute("data-folded", !open);
      section.setAttribute("aria-hidden", String(!open));
    });
    if (this.step < STEPS.length)
      this.body.children[this.step - 1]?.scrollIntoView({ block: "nearest", behavior: still() ? "auto" : "smooth" });
  }

  section(step, formula, ...rows) {
    const [title, says] = STEPS[step];
    return el(
      "section",
      { class: "step", aria: { label: title } },
      el(
        this.eye.heading,
        {},
        el("span", { class: "step-number", text: `${step + 1}` }),
        title,
        el("span", { class: "soft", text: ` ${says}` }),
      ),
      formula && el("p", { class: "formula", text: formula }),
      el("div", {}, ...rows),
    );
  }

  vectors(seen, keys) {
    const most = largest([seen.query, ...seen.keys]);
    return this.section(
      0,
      null,
      row("q", this.words(this.layer.about.query_words)[seen.at], strip(seen.query, most, this.eye)),
      ...keys.map((one) => row(`k${sub(one.j)}`, one.word, strip(one.key, most, this.eye))),
    );
  }

  products(seen, keys) {
    const most = largest(keys.map((one) => one.products));
    const { query } = seen;
    const formula =
      keys[0] &&
      `qₑ × kₑ, e = 0: ${number(query[0], 3)} × ${number(keys[0].key[0], 3)} = ${number(keys[0].products[0], 4)}`;
    return this.section(
      1,
      formula,
      ...keys.map((one) => row(`q × k${sub(one.j)}`, one.word, strip(one.products, most, this.eye))),
    );
  }

  sums(_seen, keys) {
    const terms = (one) =>
      Array.from(one.products.slice(0, 3), (value) => number(value, 3)).join(" + ") +
      (one.products.length > 3 ? " + …" : "");
    return this.section(
      2,
      keys[0] && `${terms(keys[0])} = ${number(keys[0].score, 4)}`,
      ...bars(keys, "score", (one) => number(one.score, 4)),
    );
  }

  scales(seen, keys) {
    return this.section(
      3,
      keys[0] && `${number(keys[0].score, 4)} × ${number(seen.scale, 4)} = ${number(keys[0].scaled, 4)}`,
      ...bars(keys, "scaled", (one) => number(one.scaled, 4)),
    );
  }

  masks(_seen, keys) {
    const hidden = keys.filter((one) => one.added === -Infinity).length;
    const biased = keys.some((one) => Number.isFinite(one.added) && one.added !== 0);
    const formula = biased
      ? "a number is added to each scaled score"
      : hidden
        ? `${hidden} of these ${keys.length} keys are hidden by the mask`
        : "the mask hides none of these keys";
    return this.section(
      4,
      formula,
      ...bars(keys, "masked", (one) => (one.masked === -Infinity ? "−∞ hidden" : number(one.masked, 4))),
    );
  }

  weights(seen, keys) {
    const visible = keys.find((one) => one.masked !== -Infinity && one.weight > 0);
    // The largest score of all keys follows from its weight: both differ by one log-normaliser.
    const strongest = seen.row.reduce((most, weight) => Math.max(most, weight), 0);
    const most = visible ? visible.masked + Math.log(strongest / visible.weight) : 0;
    const formula = visible
      ? `exp(${number(visible.masked, 4)} − m) / ${number(1 / strongest, 4)} = ${number(visible.weight, 6)} for key ${visible.j}; m = ${number(most, 4)}, the largest score, is subtracted so that no exp overflows; the sum of exp(s − m) runs over all ${seen.row.length} keys`
      : "these keys get no weight";
    return this.section(
      5,
      formula,
      ...bars(keys, "weight", (one) => `${number(one.weight, 6)}  ${percent(one.weight)}`, 1),
    );
  }

  contexts(seen, keys) {
    if (!seen.values)
      return this.section(
        6,
        null,
        el("p", {
          class: "soft",
          text:
            this.layer.about.kind === "vectors"
              ? "The values are not in this page: its budget went to queries and keys."
              : "The values were not recorded.",
        }),
      );
    const weighed = keys.map((one, n) => ({
      ...one,
      weighed: Float32Array.from(seen.values[n], (value) => (one.weight === 0 ? 0 : one.weight * value)),
    }));
    const most = largest([...weighed.map((one) => one.weighed), seen.context]);
    const formula =
      weighed[0] &&
      `w v, key ${weighed[0].j}, e = 0: ${number(weighed[0].weight, 4)} × ${number(seen.values[0][0], 3)} = ${number(weighed[0].weighed[0], 4)}`;
    return this.section(
      6,
      formula,
      ...weighed.map((one) => row(`w v${sub(one.j)}`, one.word, strip(one.weighed, most, this.eye))),
      row("Σ", `over all ${seen.row.length} keys: the context`, strip(seen.context, most, this.eye), "total"),
    );
  }

  update(changed) {
    if (["layer", "head", "query", "dark"].some((name) => changed.has(name))) this.look();
  }
}

/** Whether motion is not wanted. */
function still() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Keys at any places: neighbours in one question, others one by one. */
async function partsOf(head, query, places) {
  const [first] = places;
  if (places.every((place, n) => place === first + n)) return head.parts(query, first, first + places.length);
  const each = await Promise.all(places.map((place) => head.parts(query, place, place + 1)));
  if (each.includes(null)) return null;
  const joined = (name) => each[0][name] && each.flatMap((parts) => parts[name]);
  return { ...each[0], keys: joined("keys"), values: joined("values"), added: joined("added") };
}

/** A key's numbers, from the product to the weight. */
function oneKey(seen, key, n, word) {
  const products = Float32Array.from(key, (value, e) => value * seen.query[e]);
  const score = key.reduce((sum, value, e) => sum + value * seen.query[e], 0);
  const scaled = score * seen.scale;
  return {
    j: seen.places[n],
    word,
    key,
    products,
    score,
    scaled,
    added: seen.added[n],
    masked: scaled + seen.added[n],
    weight: seen.row[seen.places[n]],
  };
}

function row(name, word, content, kind = "") {
  return el(
    "div",
    { class: `step-row ${kind}` },
    el("span", { class: "row-name", text: name }),
    el("bdi", { class: "row-word", text: wordOf(word, 24), title: quoted(word, 200) }),
    content,
  );
}

/** A vector as a strip of cells; the first of its numbers written out. */
function strip(values, most, eye) {
  const dark = eye.dark();
  const written = inOneFormat(values);
  const cells = Array.from(values.subarray(0, 256), (value, e) => {
    const cell = el("span", { class: "cell", title: `e = ${e}: ${number(value, 6)}` });
    const colour = signedColour(value / most, dark);
    if (colour) cell.style.backgroundColor = css(colour);
    if (values.length <= SHOWN) {
      cell.textContent = written(value);
      cell.style.color = colour ? inkOn(colour) : "";
    }
    return cell;
  });
  const said = Array.from(values.subarray(0, SHOWN), (value) => number(value, 3)).join(", ");
  return el(
    "span",
    {
      class: `strip ${values.length <= SHOWN ? "few" : ""}`,
      role: "img",
      aria: { label: `${said}${values.length > SHOWN ? ", …" : ""}` },
    },
    ...cells,
  );
}

/** Numbers of one row alike: as many decimals as its largest needs for two digits. */
function inOneFormat(values) {
  const decimals = clamp(1 - Math.floor(Math.log10(largest([values]))), 2, 7);
  const power = largest([values]) < 1e-6 || largest([values]) >= 1e6;
  return (value) => (Number.isFinite(value) && !power ? value.toFixed(decimals).replace("-", "−") : number(value, 2));
}

/** A bar a key, from zero to either side. */
function bars(keys, name, words, most = null) {
  const reach = most ?? largest([keys.map((one) => one[name])]);
  return keys.map((one) => {
    const value = Number.isFinite(one[name]) ? one[name] : 0;
    const fill = el("span", { class: `fill ${value < 0 ? "negative" : ""}` });
    fill.style.width = `${(Math.abs(value) / reach) * (most ? 100 : 50)}%`;
    if (!most) fill.style.marginLeft = `${50 - (value < 0 ? (Math.abs(value) / reach) * 50 : 0)}%`;
    return row(
      `key ${one.j}`,
      one.word,
      el(
        "span",
        { class: "bar-room" },
        el("span", { class: "track" }, fill),
        el("span", { class: "figure", text: words(one) }),
      ),
    );
  });
}

function largest(lists) {
  let most = 0;
  for (const list of lists)
    for (const value of list ?? []) if (Number.isFinite(value) && Math.abs(value) > most) most = Math.abs(value);
  return most || 1;
}

function sub(n) {
  return String(n).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
}
