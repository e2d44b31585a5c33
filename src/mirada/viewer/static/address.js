// What is shown, as the end of the page's address: "#map/L3/H7/q60/k12". A page opens where its address says.

const NUMBERS = { layer: "L", head: "H", query: "q", key: "k", side: "s" };
const STEPS = ["view", "layer", "head", "side", "reading", "together"]; // changes that Back takes back
const PAUSE = 250; // ms: browsers refuse addresses that change too often

/** The state as an address has it. */
function addressOf(eye) {
  const { state, about, layers } = eye;
  const value = (name) => state.get(name);
  const parts = [value("view"), ...["layer", "head", "query", "key"].map((name) => `${NUMBERS[name]}${value(name)}`)];
  if (about.compared) parts.push(`s${value("side")}`);
  const heads = [...value("heads")].sort((a, b) => a - b);
  if (heads.length < layers[value("layer")].about.heads) parts.push(`on${heads.join(".")}`);
  if (value("together")) parts.push("together");
  if (value("how") !== "mean") parts.push(value("how"));
  if (value("span")) parts.push(`in${value("span").join(".")}`);
  if (value("reading")) parts.push(`read-${value("reading")}`);
  return `#${parts.join("/")}`;
}

/** What an address says, as far as it can be shown; nothing of it is trusted. */
function go(eye, address) {
  const [view, ...parts] = address.replace(/^#/, "").split("/");
  const number = (name) => {
    const part = parts.find((one) => new RegExp(`^${NUMBERS[name]}\\d{1,9}$`).test(one));
    return part === undefined ? null : Number(part.slice(1));
  };
  const reading = parts.find((one) => /^read-[a-z0-9,]*$/.test(one))?.slice(5) ?? "";
  const side = number("side");
  eye.state.set({ reading, ...(eye.about.compared && side !== null ? { side: Math.min(side, 1) } : {}) });
  const changes = {};
  const put = (name, count) => {
    const asked = number(name);
    if (asked !== null) changes[name] = Math.min(asked, count - 1);
  };
  put("layer", eye.layers.length);
  const { heads, queries, keys } = eye.layers[changes.layer ?? eye.state.get("layer")].about;
  put("head", heads);
  put("query", queries);
  put("key", keys);
  if (eye.names.includes(view)) changes.view = view;
  const on = parts.find((one) => /^on\d+(\.\d+)*$/.test(one));
  const some = on
    ? on
        .slice(2)
        .split(".")
        .map(Number)
        .filter((head) => head < heads)
    : [];
  changes.heads = new Set(some.length ? some : Array.from({ length: heads }, (_, n) => n));
  changes.together = parts.includes("together");
  changes.how = parts.includes("max") ? "max" : "mean";
  const span = parts.find((one) => /^in\d+(\.\d+)*$/.test(one));
  const picked = span ? span.slice(2).split(".").map(Number) : [];
  const there = picked.filter((layer) => layer < eye.layers.length);
  changes.span = there.length ? there : null;
  eye.state.set(changes);
}

/** Keeps the address and what is shown the same, from here on. */
export function follow(eye) {
  // Within another page, the address is not the view's.
  if (window.top !== window || location.protocol === "about:") return;
  const begun = addressOf(eye);
  if (location.hash.length > 1) go(eye, location.hash);
  let written = addressOf(eye);
  let waiting = 0;
  let step = false;
  const write = () => {
    waiting = 0;
    const address = addressOf(eye);
    if (address === written) return;
    written = address;
    if (step) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
    step = false;
  };
  eye.state.on((changed) => {
    step ||= STEPS.some((name) => changed.has(name));
    waiting ||= window.setTimeout(write, PAUSE);
  });
  window.addEventListener("popstate", () => {
    clearTimeout(waiting);
    waiting = 0;
    written = location.hash.length > 1 ? location.hash : begun;
    go(eye, written);
    written = addressOf(eye);
    clearTimeout(waiting);
    waiting = 0;
    step = false;
  });
}
