// The calls that a question selects, page by page, and those that come while somebody looks.
import { say } from "./elements.js";
import { count } from "./figures.js";
import { repeat } from "./polling.js";
import { parameters } from "./question.js";
import { useEffect, useRef, useState } from "./vendor/preact.js";

const BEAT = 2; // seconds between looks
const PAGE = 100;
const MANY = 500; // calls between two looks, from which on some are left out
const MOST = 1000; // rows that are kept in the page
const NOTHING = { rows: [], cursor: null, more: false, loaded: false, problem: "" };
export const NEWEST = "-received";

/** The parameters of `/admin/entries` for a question. */
export function entriesQuery(question, zone) {
  return { ...parameters(question, zone), sort: question.sort, search: question.search };
}

/**
 * The calls of a question: {rows, more, loaded, problem, live, away, paused, pause(), older()}. They are followed if the
 * newest come first, and nothing is searched and no end is set. `away` says why the gateway was not reached.
 */
export function useCalls(page, question) {
  const asked = entriesQuery(question, page.session.zone);
  const live = question.sort === NEWEST && !question.search && !(question.range === "custom" && question.until);
  const [paused, setPaused] = useState(false);
  const [away, setAway] = useState("");
  const [list, setList] = useState(NOTHING);
  const now = useRef({});
  Object.assign(now.current, { paused, list });
  const set = (next) => { now.current.list = next; setList(next); };
  const key = JSON.stringify(asked);

  const read = (query, signal) => page.api("/admin/entries", { query: { ...query, format: "json" }, signal });

  async function begin(signal) {
    const answer = await read({ ...asked, limit: PAGE }, signal);
    if (signal.aborted) return;
    set({ rows: answer.entries, cursor: answer.cursor, more: answer.entries.length === PAGE, loaded: true, problem: "" });
  }

  async function follow(signal) {
    if (now.current.paused || now.current.list.cursor === null) return;
    const { rows, cursor, more } = now.current.list;
    let answer;
    try {
      const { sort, search, ...selection } = asked;
      answer = await read({ ...selection, after: cursor, limit: MANY }, signal);
    } catch (error) {
      if (signal.aborted || error.status === 401) throw error;
      setAway(error.message); // it is asked again
      if (error.status === 400) await begin(signal); // the ledger was made anew: its old places mean nothing
      return;
    }
    if (signal.aborted || now.current.paused) return;
    setAway("");
    if (answer.entries.length === MANY) { // more than anybody reads: go on with the newest
      await begin(signal);
      return;
    }
    const oldest = more ? rows.at(-1)?.at ?? 0 : 0;
    const known = new Set(rows.map((row) => row.id));
    const fresh = answer.entries.filter((row) => row.at >= oldest);
    if (!fresh.length && answer.cursor === cursor) return;
    const merged = merge(rows, fresh);
    set({ ...now.current.list, rows: merged.slice(0, MOST), cursor: answer.cursor ?? cursor, more: more || merged.length > MOST });
    const unseen = fresh.filter((row) => !known.has(row.id)).length;
    if (unseen) say(`${count(unseen)} new ${unseen === 1 ? "call" : "calls"}`);
  }

  useEffect(() => {
    const ending = new AbortController();
    const { signal } = ending;
    now.current.signal = signal;
    const fail = (error) => {
      if (signal.aborted || error.name === "AbortError") return;
      if (error.status === 400) set({ ...NOTHING, loaded: true, problem: error.message });
      else dispatchEvent(new CustomEvent("trouble", { detail: error }));
    };
    begin(signal).then(() => (live && !signal.aborted ? repeat(BEAT, () => follow(signal), signal) : undefined)).catch(fail);
    return () => ending.abort();
  }, [key, live]);

  async function older() {
    const { signal, list: { rows } } = now.current;
    const answer = await read({ ...asked, before: rows.at(-1).id, limit: PAGE }, signal);
    if (signal.aborted) return;
    const known = new Set(now.current.list.rows.map((row) => row.id));
    const next = [...now.current.list.rows, ...answer.entries.filter((row) => !known.has(row.id))];
    set({ ...now.current.list, rows: next.slice(0, MOST), more: answer.entries.length === PAGE && next.length < MOST });
  }

  const pause = () => setPaused(!paused);
  useEffect(() => { if (live && !paused && list.loaded) follow(now.current.signal).catch(() => {}); }, [paused]);
  return { ...list, live, away, paused, pause, older };
}

/** Rows with others in their places, newest first; a row that came again replaces the older one. */
function merge(rows, fresh) {
  if (!fresh.length) return rows;
  const again = new Map(fresh.map((row) => [row.id, row]));
  const kept = rows.map((row) => again.get(row.id) ?? row);
  const known = new Set(rows.map((row) => row.id));
  const added = fresh.filter((row) => !known.has(row.id));
  return added.length ? [...added, ...kept].sort((one, other) => other.at - one.at || (other.id > one.id ? 1 : -1)) : kept;
}
