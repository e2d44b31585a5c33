// Numbers as files: a row, a head, the measures of all heads; as CSV or JSON.

const MOST = 1 << 24; // weights of a head that are written
const TILE = PROTOCOL.TILE;

/** The current query's weights in every head of the layer. */
export async function rowTable(eye) {
  const { layer, about, query } = here(eye);
  const heads = Array.from({ length: about.heads }, (_, head) => head);
  const rows = await Promise.all(heads.map((head) => layer.head(head).row(query)));
  if (rows.some((row) => row === null)) throw new Error(coarse(about));
  const words = eye.words(about.key_words);
  return {
    name: `row-${place(eye)}-q${query}`,
    about: { ...named(eye), query, query_token: eye.words(about.query_words)[query] },
    columns: ["key", "token", ...heads.map((head) => `head ${head}`)],
    rows: words.map((word, key) => [key, word, ...rows.map((row) => row[key])]),
  };
}

/** All weights of the current head, a row a query. */
export async function headTable(eye) {
  const { layer, about, head } = here(eye);
  if (about.queries * about.keys > MOST)
    throw new Error(`${about.queries} × ${about.keys} weights are too many for a file: save a row`);
  const table = await wholeOf(layer.head(head), about);
  const words = eye.words(about.query_words);
  return {
    name: `head-${place(eye)}-H${head}`,
    about: { ...named(eye), head },
    columns: ["query", "token", ...eye.words(about.key_words)],
    rows: table.map((row, query) => [query, words[query], ...row]),
  };
}

/** A line for each head of each layer. */
export async function measureTable(eye) {
  const measures = eye.measures();
  const known = await measures.everything();
  const names = Object.keys(known).filter((name) => name !== "like");
  const rows = eye.layers.flatMap((layer, l) =>
    Array.from({ length: layer.about.heads }, (_, head) => [
      ...[l, layer.about.name, head],
      ...names.map((name) => measures.of(name, l, head) ?? NaN),
    ]),
  );
  const columns = ["layer", "name", "head", ...names.map((name) => known[name].words)];
  return { name: "measures", about: { title: eye.about.title, reading: eye.state.get("reading") }, columns, rows };
}

/** Commas between, quotation marks around words, empty where a number is missing. */
export function csv({ columns, rows }) {
  return `${[columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** The same with what it is of; null where one is missing. */
export function json({ about, columns, rows }) {
  const value = (one) => (typeof one === "number" ? (Number.isFinite(one) ? digits(one) : null) : one);
  return JSON.stringify({ ...about, columns, rows: rows.map((row) => row.map(value)) });
}

function cell(value) {
  if (typeof value === "number") return Number.isNaN(value) ? "" : String(digits(value));
  // Spreadsheets compute what begins like a formula; words are words.
  const word = /^[=+\-@\t\r]./s.test(value) ? `'${value}` : value;
  return `"${word.replaceAll('"', '""')}"`;
}

/** As many digits as tell a number of 32 bits from its neighbours. */
function digits(value) {
  return Number(value.toPrecision(9));
}

async function wholeOf(head, { queries, keys }) {
  const table = Array.from({ length: queries }, () => new Float32Array(keys));
  for (let r = 0; r * TILE < queries; r++) {
    for (let c = 0; c * TILE < keys; c++) {
      const tile = await head.tile(1, r, c);
      if (!tile) throw new Error(coarse(head.about));
      for (let n = 0; n < tile.rows; n++)
        table[r * TILE + n].set(tile.values.subarray(n * tile.columns, (n + 1) * tile.columns), c * TILE);
    }
  }
  return table.map((row) => [...row]);
}

function coarse({ cell: tokens }) {
  return `this page's detail ends at ${tokens} tokens a cell: single weights are not in it`;
}

function here(eye) {
  const { state } = eye;
  const layer = eye.layers[state.get("layer")];
  return { layer, about: layer.about, head: state.get("head"), query: state.get("query") };
}

function named(eye) {
  const { about } = here(eye);
  const compared = eye.about.compared ? { of: eye.about.compared[eye.state.get("side")] } : {};
  return {
    title: eye.about.title,
    ...compared,
    layer: eye.state.get("layer"),
    layer_name: about.name,
    reading: eye.state.get("reading"),
  };
}

function place(eye) {
  return `L${eye.state.get("layer")}`;
}
