// View 3: the text itself. A token shows what it attends to, and what attends to it.
import { css, headColour } from "./colour.js";
import { choice, clamp, el, framed, fromRightToLeft, percent, sharpen, wordOf } from "./dom.js";
import { hiddenSwatch } from "./hatch.js";
import { legend } from "./legend.js";
import { isHidden } from "./matrix.js";
import { chosenInWords, chosenLayers, headsOf, layerPicker, mixedHead } from "./mixed.js";
import { strongest } from "./strongest.js";
import { paintAttending, paintLines, paintShades, shadeOf } from "./token_paint.js";

const LINES = 16; // drawn to each side: more would hide the text
const LISTED = 8;

export function tokensView(eye) {
  return new TokensView(eye);
}

class TokensView {
  constructor(eye) {
    this.eye = eye;
    this.locked = null; // { side, at }
    this.form = null;
    this.flow = el("div", { class: "text" });
    this.behind = el("canvas", { class: "behind", aria: { hidden: "true" } });
    this.scroller = el(
      "div",
      { class: "text-scroll", tabIndex: 0, role: "listbox", aria: { label: "Tokens", multiselectable: "false" } },
      el("div", { class: "behind-holder" }, this.behind),
      this.flow,
    );
    this.details = el("div", {
      class: "details",
      role: "group",
      aria: { label: "What the token attends to, and what attends to it" },
    });
    this.formChoice = choice(
      "Form",
      [
        ["text", "text"],
        ["columns", "two columns"],
      ],
      "text",
      (form) => this.build(form),
    );
    this.howChoice = choice(
      "Heads",
      [
        ["mean", "mean"],
        ["max", "largest"],
      ],
      this.eye.state.get("how"),
      (how) => this.eye.state.set({ how }),
    );
    this.howChoice.hidden = this.eye.layers.reduce((sum, { about }) => sum + about.heads, 0) === 1;
    this.picker = layerPicker(this.eye);
    this.most = LINES;
    this.least = 0;
    const most = el("input", { type: "number", min: 1, max: 999, value: LINES, aria: { label: "strongest" } });
    most.addEventListener("change", () => {
      this.most = clamp(Math.round(Number(most.value)) || 1, 1, 999);
      most.value = String(this.most);
      this.again();
    });
    const least = el("input", { type: "range", min: 0, max: 50, step: 0.5, value: 0, aria: { label: "at least" } });
    const told = el("output", { class: "figure", text: "0 %" });
    least.addEventListener("input", () => {
      this.least = Number(least.value) / 100;
      told.textContent = percent(this.least);
      this.again();
    });
    const limits = el(
      "span",
      { class: "limits" },
      el("label", { class: "choice" }, el("span", { text: "Strongest" }), most),
      el("label", { class: "choice" }, el("span", { text: "at least" }), least, told),
    );
    this.hint = el("span", { class: "soft hint", text: "Point at a token. Click holds it, Escape lets go." });
    this.legend = el("span", { class: "legend" });
    this.element = el(
      "div",
      { class: "view tokens" },
      el("div", { class: "bar" }, this.formChoice, this.howChoice, this.picker.element, limits, this.hint, this.legend),
      el("div", { class: "split" }, this.scroller, this.details),
    );
    this.redraw = framed(() => this.paint());
    this.behind.repaint = () => this.paint();
    this.listen();
    this.build();
    new ResizeObserver(() => this.measure()).observe(this.scroller);
  }

  get layer() {
    return this.eye.layers[this.eye.state.get("layer")];
  }

  // --- the text ---

  build(form = null) {
    const { query_words: asking, key_words: asked } = this.layer.about;
    const one = asking === asked;
    this.form = form ?? (one ? "text" : "columns");
    this.words = `${asking}:${asked}`;
    const select = this.formChoice.querySelector("select");
    select.value = this.form;
    select.disabled = !one;
    this.queries = this.spans("query", this.eye.words(asking));
    this.keys = this.form === "text" ? this.queries : this.spans("key", this.eye.words(asked));
    const column = (name, spans) =>
      el(
        "div",
        { class: "column", role: "group", aria: { label: name } },
        el(this.eye.heading, { text: name, aria: { hidden: "true" } }),
        ...spans,
      );
    this.flow.className = `text ${this.form}`;
    this.flow.dir = this.form === "text" && fromRightToLeft(this.eye.words(asking)) ? "rtl" : "ltr";
    this.flow.replaceChildren(
      ...(this.form === "text"
        ? this.queries
        : [column("queries attend", this.queries), column("keys are attended to", this.keys)]),
    );
    this.locked = null;
    this.measure();
    this.point({ side: "query", at: clamp(this.eye.state.get("query"), 0, this.queries.length - 1) });
  }

  spans(side, words) {
    const id = this.eye.id;
    return words.map((word, at) =>
      el("span", {
        class: /^\s*$/.test(word) ? "token blank" : "token",
        dir: "auto",
        role: "option",
        id: `${id}-${side}-${at}`,
        text: wordOf(word, 200),
        aria: { selected: "false" },
      }),
    );
  }

  /** Where every token lies: read once, so that pointing needs no layout. */
  measure() {
    if (this.scroller.clientWidth === 0) return;
    const { offsetLeft: left, offsetTop: top } = this.flow;
    const box = (span) => ({
      x: left + span.offsetLeft,
      y: top + span.offsetTop,
      width: span.offsetWidth,
      height: span.offsetHeight,
    });
    this.queryBoxes = this.queries.map(box);
    this.keyBoxes = this.form === "text" ? this.queryBoxes : this.keys.map(box);
    this.redraw();
  }

  // --- pointing ---

  listen() {
    const placeOf = (event) => {
      const span = event.target.closest?.(".token");
      if (!span) return null;
      const [, side, at] = span.id.match(/-(query|key)-(\d+)$/);
      return { side, at: Number(at) };
    };
    this.flow.addEventListener("pointerover", (event) => {
      const place = placeOf(event);
      if (place && !this.locked) this.point(place);
    });
    this.flow.addEventListener("click", (event) => {
      const place = placeOf(event);
      if (place)
        this.lock(this.locked && this.locked.at === place.at && this.locked.side === place.side ? null : place);
    });
    this.scroller.addEventListener("scroll", this.redraw);
    this.scroller.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const { side, at } = this.pointed;
    const onward = this.flow.dir === "rtl" ? -1 : 1;
    const step = {
      ArrowRight: onward,
      ArrowLeft: -onward,
      ArrowDown: this.below(1),
      ArrowUp: this.below(-1),
      Home: -at,
      End: 1e9,
    }[event.key];
    if (event.key === "Enter" || event.key === " ") this.lock(this.locked ? null : this.pointed);
    else if (event.key === "Escape") this.lock(null);
    else if (event.key === "Tab" || step === undefined) return;
    else if (this.form === "columns" && /Left|Right/.test(event.key)) this.walk(side === "query" ? "key" : "query", at);
    else this.walk(side, at + step);
    event.preventDefault();
    event.stopPropagation();
  }

  walk(side, at) {
    const spans = side === "query" ? this.queries : this.keys;
    const place = { side, at: clamp(at, 0, spans.length - 1) };
    if (this.locked) this.locked = place;
    this.point(place);
    spans[place.at].scrollIntoView({ block: "nearest" });
  }

  /** How far the token below, or above, is in the order of reading. */
  below(direction) {
    if (this.form === "columns") return direction;
    const { at } = this.pointed;
    const here = this.queryBoxes[at];
    let best = at;
    for (let n = at + direction; n >= 0 && n < this.queryBoxes.length; n += direction) {
      const box = this.queryBoxes[n];
      if (Math.abs(box.y - here.y) > here.height * 2.2) break;
      if (box.y !== here.y && (best === at || Math.abs(box.x - here.x) < Math.abs(this.queryBoxes[best].x - here.x)))
        best = n;
    }
    return best - at;
  }

  lock(place) {
    this.locked = place;
    this.flow.toggleAttribute("data-locked", Boolean(place));
    if (place) this.point(place);
  }

  /** Shows one token's attention; what is asked for first comes first. */
  async point(place) {
    const before = this.pointed;
    this.pointed = place;
    const spans = place.side === "query" ? this.queries : this.keys;
    if (before) this.spanOf(before)?.classList.remove("here");
    this.spanOf(before)?.setAttribute("aria-selected", "false");
    spans[place.at].classList.add("here");
    spans[place.at].setAttribute("aria-selected", "true");
    this.scroller.setAttribute("aria-activedescendant", spans[place.at].id);
    this.eye.state.set(place.side === "query" ? { query: place.at } : { key: place.at });
    await this.ask();
  }

  spanOf(place) {
    return place && (place.side === "query" ? this.queries : this.keys)[place.at];
  }

  async ask() {
    const { layer, pointed } = this;
    const parts = this.parts();
    const order = (this.order = {});
    const still = () => this.order === order && this.layer === layer;
    const query = pointed.side === "query" ? pointed.at : null;
    const key = this.form === "text" ? pointed.at : pointed.side === "key" ? pointed.at : null;
    try {
      const rows = query === null ? null : await Promise.all(parts.map(({ head }) => head.row(query)));
      if (!still()) return;
      if (rows?.includes(null)) return this.without();
      this.show(parts, rows, null);
      if (key === null) return;
      const columns = await Promise.all(parts.map(({ head }) => head.column(key)));
      if (still()) this.show(parts, rows, columns);
    } catch (error) {
      if (error.name !== "AbortError") this.eye.say(error.message);
    }
  }

  without() {
    this.details.replaceChildren(
      el("p", {
        class: "soft",
        text: `This page's detail ends at ${this.layer.about.cell} tokens a cell: it has no single weights. Save it with a larger budget, or serve it live.`,
      }),
    );
  }

  // --- showing ---

  /** What has a stripe each: the chosen heads of one layer, or each of several layers with its heads as one. */
  parts() {
    const { eye } = this;
    const layers = chosenLayers(eye);
    const how = eye.state.get("how");
    const one = (n, heads) => ({
      head: mixedHead(
        heads.map((head) => [eye.layers[n], head]),
        how,
      ),
      size: heads.length,
    });
    const found =
      layers.length === 1
        ? headsOf(eye, layers[0]).map((head) => ({ ...one(layers[0], [head]), number: head }))
        : layers.filter((n) => headsOf(eye, n).length).map((n) => ({ ...one(n, headsOf(eye, n)), number: n }));
    return found.length ? found : [{ ...one(eye.state.get("layer"), [0]), number: 0 }];
  }

  /** The same numbers, with other limits. */
  again() {
    if (this.answered) this.show(...this.answered);
  }

  show(parts, rows, columns) {
    this.answered = [parts, rows, columns];
    const colours = parts.map(({ number }) => headColour(number, this.eye.dark()));
    const limits = {
      how: this.eye.state.get("how"),
      sizes: parts.map(({ size }) => size),
      most: this.most,
      least: this.least,
    };
    this.attended = rows && strongest(rows, colours, this.shade(colours), limits);
    this.attending = columns && strongest(columns, colours, this.shade(colours), limits);
    this.drawLegend(parts);
    this.list();
    this.paint();
    this.spanOf(this.pointed)?.setAttribute("data-shown", this.attended ? "query" : "key");
  }

  /** One head shades in its own colour. Several shade in one colour of none of them, and each has a stripe. */
  shade(colours) {
    return colours.length === 1 ? colours[0] : this.eye.ink().accentBytes;
  }

  /** What shades and stripes mean: the same weight is painted alike for every query. */
  drawLegend(parts) {
    const colour = this.shade(parts.map(({ number }) => headColour(number, this.eye.dark())));
    const says =
      parts.length === 1
        ? `weight in ${chosenInWords(this.eye)}`
        : `${chosenInWords(this.eye)
            .replace(/^mean/, "mean weight")
            .replace(
              /^largest/,
              "largest weight",
            )}; below each word, a stripe a ${chosenLayers(this.eye).length > 1 ? "layer" : "head"}`;
    const shade = (weight) => shadeOf(colour, weight);
    const ticks = [0, 0.5, 1].map((weight) => [weight, percent(weight)]);
    this.legend.replaceChildren(
      ...legend(shade, ticks, says),
      [this.attended, this.attending].some((found) => found?.mean.some(isHidden)) ? hiddenSwatch() : "",
    );
  }

  /** The strongest, in words and numbers. */
  list() {
    const { pointed } = this;
    const told = chosenInWords(this.eye);
    const of = told.startsWith("head") ? "" : told;
    const one =
      (side, words) =>
      ({ at, weight, colour }) => {
        const swatch = el("span", { class: "swatch" });
        swatch.style.backgroundColor = css(colour);
        const go = () => this.walk(side, at);
        return el(
          "li",
          {},
          el(
            "button",
            { type: "button", on: { click: go } },
            swatch,
            el("bdi", { class: "listed", text: wordOf(words[at], 60) }),
            el("span", { class: "soft", text: `${at}` }),
            el("span", { class: "figure", text: percent(weight) }),
          ),
        );
      };
    const [asking, asked] = [this.eye.words(this.layer.about.query_words), this.eye.words(this.layer.about.key_words)];
    const word = (pointed.side === "query" ? asking : asked)[pointed.at];
    const part = (title, found, side, words) =>
      found && [
        el(this.eye.heading, { text: title }),
        ...without(found),
        el(
          "ol",
          {},
          ...found.strongest.slice(0, Math.max(LISTED, this.most === LINES ? 0 : this.most)).map(one(side, words)),
        ),
      ];
    const focused = this.details.contains(this.element.getRootNode().activeElement);
    this.details.replaceChildren(
      el(
        "p",
        { class: "pointed" },
        el("bdi", { text: wordOf(word, 2000) }),
        el("span", {
          class: "soft",
          text: ` ${pointed.side} ${pointed.at}${word.length > 2000 ? `, ${word.length.toLocaleString("en")} characters` : ""}`,
        }),
      ),
      el("p", { class: "soft", text: of }),
      ...(part("attends to", this.attended, this.form === "text" ? "query" : "key", asked) ?? []),
      ...(part("is attended to by", this.attending, "query", asking) ?? []),
    );
    if (focused) this.scroller.focus({ preventScroll: true }); // what had the focus is gone
  }

  /** Behind the text, so that words stay readable: shades, underlines and lines, as far as they can be seen. */
  paint() {
    const { clientWidth: width, clientHeight: height } = this.scroller;
    if (width === 0 || !this.queryBoxes) return;
    const context = sharpen(this.behind, width, height);
    context.clearRect(0, 0, width, height);
    context.translate(0, -this.scroller.scrollTop);
    paintShades(this, context);
    paintAttending(this, context);
    const here = this.pointed && (this.pointed.side === "query" ? this.queryBoxes : this.keyBoxes)[this.pointed.at];
    if (here) paintLines(this, context, here);
  }

  update(changed) {
    this.picker.tell();
    this.howChoice.querySelector("select").value = this.eye.state.get("how");
    if (changed.has("layer")) {
      const { query_words: asking, key_words: asked } = this.layer.about;
      if (this.words !== `${asking}:${asked}`) return this.build();
    }
    if (this.follow(changed)) return;
    if (["layer", "heads", "how", "span", "dark"].some((name) => changed.has(name))) this.ask();
  }

  /** Another view has moved the query or the key: turns to it. */
  follow(changed) {
    for (const [side, spans] of [
      ["query", this.queries],
      ["key", this.keys],
    ]) {
      if (!changed.has(side) || (side === "key" && this.pointed.side !== "key")) continue;
      const place = { side, at: clamp(this.eye.state.get(side), 0, spans.length - 1) };
      if (this.pointed.side === side && this.pointed.at === place.at) continue;
      if (this.locked) this.locked = place;
      this.point(place);
      this.reveal();
      return true;
    }
    return false;
  }

  /** Scrolls the text, and nothing around it, to the token that is pointed at. */
  reveal() {
    const box = (this.pointed.side === "query" ? this.queryBoxes : this.keyBoxes)?.[this.pointed.at];
    const { scrollTop: top, clientHeight: height } = this.scroller;
    if (box && (box.y < top || box.y + box.height > top + height)) this.scroller.scrollTop = box.y - height / 3;
  }

  shown() {
    this.measure();
    this.reveal();
  }
}

/** Why a list of the strongest may be empty or short. */
function without({ mean }) {
  if (!mean.every(Number.isFinite))
    return [el("p", { class: "soft", text: "Weights here are not finite (NaN or infinite)." })];
  if (mean.every(isHidden)) return [el("p", { class: "soft", text: "None: a mask hides every one of them." })];
  return mean.some((weight) => weight > 0)
    ? []
    : [el("p", { class: "soft", text: "None: every weight is 0, as where a mask hides all keys." })];
}
