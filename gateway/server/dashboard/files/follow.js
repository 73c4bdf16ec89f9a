// How pages of figures keep up: what is asked for is fetched again and again, and drawn anew where there is another thing to draw.
import { clear, every } from "./draw.js";

/**
 * Follows a question's answers, and tells a function that asks at once. `path` is where they are, `has` whether a total has
 * anything, `nothing` what is shown where it has not; `page` makes `{parts, set(told)}` for what is asked, and `set` draws.
 */
export function follow({ api, signal }, asked, body, { path, has, nothing, page, set }) {
  let drawn, ending = new AbortController(), timer = new AbortController();
  signal.addEventListener("abort", () => ending.abort());

  async function load(waiting) {
    const told = await api(path, { query: { by: asked.by, ...asked.times() }, signal: waiting });
    if (waiting.aborted) return;
    const kind = has(told.total) ? asked.by : "";
    if (drawn?.kind !== kind) {
      ending.abort();
      ending = new AbortController();
      drawn = { kind, ...(kind ? page(asked, ending.signal) : { parts: [nothing()] }) };
      clear(body).append(...drawn.parts);
    }
    set(drawn, told);
  }
  return async () => {
    timer.abort();
    timer = new AbortController();
    // An answer to what is asked no more must not come over a newer one.
    const waiting = AbortSignal.any([signal, timer.signal]);
    await every(asked.beat(), () => load(waiting), waiting);
  };
}
