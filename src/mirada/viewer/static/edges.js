// The edges of a model that runs: which query may no longer attend to which key.
import { button, el, framed, quoted } from "./dom.js";
import { tokensOf } from "./reading.js";

export class EdgeSwitches {
  /** `switched()` hears of every edge that is knocked out or put back. */
  constructor(eye, switched) {
    this.eye = eye;
    this.switched = switched;
    this.cut = []; // [query, key] of single tokens
    this.add = button("", () => this.put([...this.cut, ...this.here()]), { class: "cut-now" });
    this.gone = el("div", { class: "edges" });
    this.element = el(
      "div",
      { class: "edges" },
      el("p", { class: "soft", text: "Choose a query and a key in Map or Tokens; the edge is cut in all layers." }),
      this.add,
      this.gone,
    );
    const tell = framed(() => this.tell()); // once the frame has turned to another layer or reading
    eye.state.on(tell);
  }

  put(cut) {
    this.cut = cut;
    this.switched();
  }

  get layer() {
    return this.eye.layers[this.eye.state.get("layer")].about;
  }

  /** The edges of all tokens of the query and the key that are chosen: a word may have several.
   * @returns {[number, number][]} */
  here() {
    const tokens = (side) => tokensOf(this.layer, side, this.eye.state.get(side));
    return tokens("query").flatMap((query) => tokens("key").map((key) => [query, key]));
  }

  inWords([query, key]) {
    const sides = this.layer.tokens ?? this.layer;
    const word = (list, at) => quoted(this.eye.base.about.words[sides[list]][at] ?? "", 16);
    return `${word("query_words", query)} → ${word("key_words", key)}`;
  }

  tell() {
    this.add.textContent = `Knock out ${this.here()
      .map((edge) => this.inWords(edge))
      .join(", ")}`;
  }

  draw() {
    this.tell();
    this.gone.replaceChildren(
      ...this.cut.map((edge) =>
        button(`${this.inWords(edge)} ×`, () => this.put(this.cut.filter((one) => one !== edge)), {
          class: "cut-edge",
          title: "Put this edge back",
        }),
      ),
    );
  }
}
