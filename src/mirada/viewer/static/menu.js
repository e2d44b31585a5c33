// What can be taken away: figures and numbers.
import { button, el } from "./dom.js";
import { chosenInWords, chosenLayers } from "./mixed.js";
import { asPng, asSvg, download, figure } from "./save.js";
import { csv, headTable, json, measureTable, rowTable } from "./table.js";

/** A button that opens a list of files; chosen, closed. */
export function saveMenu(eye) {
  const menu = /** @type {HTMLDetailsElement} */ (el("details", { class: "menu" }));
  const item = (words, make, label) =>
    button(
      words,
      () => {
        menu.open = false;
        menu.querySelector("summary").focus();
        Promise.resolve()
          .then(make)
          .catch((error) => eye.say(error.message));
      },
      { aria: { label } },
    );
  const pictures = [
    item("PNG", () => picture(eye, "png"), "Save this view as PNG"),
    item("SVG", () => picture(eye, "svg"), "Save this view as SVG"),
    ...(eye.alone ? [item("Print", () => print(), "Print this view, or save it as PDF")] : []),
  ];
  const numbers = [
    ["This query's row", rowTable],
    ["This head", headTable],
    ["Measures of all heads", measureTable],
  ].map(([words, table]) => [
    el("span", { text: words }),
    el(
      "span",
      { class: "group" },
      item("CSV", () => file(eye, table, "csv"), `${words} as CSV`),
      item("JSON", () => file(eye, table, "json"), `${words} as JSON`),
    ),
  ]);
  const list = el(
    "div",
    { class: "menu-list" },
    el("span", { text: "This view" }),
    el("span", { class: "group" }, ...pictures),
    ...numbers.flat(),
  );
  menu.append(el("summary", { text: "Save", title: "Save a figure or numbers" }));
  // Closed, it holds nothing that could be searched for or reached.
  menu.addEventListener("toggle", () => (menu.open ? menu.append(list) : list.remove()));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
    event.stopPropagation();
  });
  menu.addEventListener("focusout", (event) => {
    const next = /** @type {Node | null} */ (event.relatedTarget);
    if (next && !menu.contains(next)) menu.open = false;
  });
  return menu;
}

function drawn(eye) {
  eye.made[eye.current].whole?.();
  const { paper, ink } = eye.ink();
  return figure(eye.stage, { title: titleOf(eye), background: paper, ink });
}

async function picture(eye, kind) {
  const root = drawn(eye);
  const blob = kind === "png" ? await asPng(root) : new Blob([asSvg(root)], { type: "image/svg+xml" });
  const { state } = eye;
  download(
    blob,
    `${fileName(eye)}-${state.get("view")}-L${state.get("layer")}-H${state.get("head")}-q${state.get("query")}.${kind}`,
  );
}

async function file(eye, table, kind) {
  const made = await table(eye);
  // A mark that tells spreadsheets the encoding.
  const text = kind === "csv" ? `\ufeff${csv(made)}` : json(made);
  download(
    new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" }),
    `${fileName(eye)}-${made.name}.${kind}`,
  );
}

function fileName(eye) {
  const words = eye.about.title.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  return words.join("-").slice(0, 40) || "mirada";
}

/** What a figure is of: title, layer, head, query, as far as they matter to the view. */
function titleOf(eye) {
  const { state, about } = eye;
  const view = state.get("view");
  const layer = eye.layers[state.get("layer")].about;
  const word = eye.words(layer.query_words)[state.get("query")] ?? "";
  const query = `query ${state.get("query")} “${word}”`;
  const several = view === "tokens" || view === "image" || (view === "map" && state.get("together"));
  const layers = several ? chosenLayers(eye) : [state.get("layer")];
  const name =
    layers.length > 1 ? layers.map((n) => eye.short[n]).join(", ") : `${eye.short[layers[0]]} (${layer.name})`;
  const heads = several ? chosenInWords(eye) : `head ${state.get("head")}`;
  const parts = view === "heads" ? [] : [name, heads, query];
  const side = about.compared && view !== "compare" ? [about.compared[state.get("side")]] : [];
  return [about.title, ...side, ...parts].join(" · ");
}

/** Prints the view as a figure, whatever of it is in sight. */
export function printed(eye) {
  let shown = null;
  window.addEventListener("beforeprint", () => {
    shown?.remove();
    shown = el("div", { class: "printed" });
    shown.append(drawn(eye));
    document.body.append(shown);
  });
  window.addEventListener("afterprint", () => shown?.remove());
}
