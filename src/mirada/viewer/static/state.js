// What is being looked at, shared by all views of one page.

/** A few named values; who listens hears which of them have changed. */
export class State {
  constructor(values) {
    this.values = values;
    this.listeners = new Set();
  }

  get(name) {
    return this.values[name];
  }

  set(changes) {
    const changed = Object.keys(changes).filter((name) => this.values[name] !== changes[name]);
    if (changed.length === 0) return;
    Object.assign(this.values, changes);
    for (const heard of [...this.listeners]) heard(new Set(changed));
  }

  on(heard) {
    this.listeners.add(heard);
    return () => this.listeners.delete(heard);
  }
}

/** The heads that are switched on, in order; never none. */
export function activeHeads(state) {
  return [...state.get("heads")].sort((a, b) => a - b);
}

/** Switches a head on or off; the last one stays. */
export function toggleHead(state, head) {
  const heads = new Set(state.get("heads"));
  if (!heads.delete(head)) heads.add(head);
  if (heads.size > 0) state.set({ heads });
}

/** This head alone; asked again, all of them. */
export function isolateHead(state, head, count) {
  const alone = state.get("heads").size === 1 && state.get("heads").has(head);
  state.set({ heads: new Set(alone ? Array.from({ length: count }, (_, n) => n) : [head]), head });
}
