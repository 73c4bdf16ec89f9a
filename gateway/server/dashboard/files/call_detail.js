// One call: why it was decided so, what was tried, what it came to, and the conversation that it belongs to.
import { clock, status } from "./call_columns.js";
import { h, icon } from "./elements.js";
import { count, moment, seconds, usd } from "./figures.js";
import { Choice } from "./parts.js";
import { Decision, Facts, Grid, Part, Tree, tier } from "./trace.js";
import { useEffect, useRef, useState } from "./vendor/preact.js";

const MOST_IN_THREAD = 200;
const TIERS = [["fast", "Fast"], ["smart", "Smart"], ["reasoning", "Reasoning"]];

/** The call `id`, beside the list. `close()` goes back to the list; the detail takes the focus if `focused`. */
export function CallDetail({ page, id, close, focused }) {
  const [found, setFound] = useState({ id: "" });
  const place = useRef();
  useEffect(() => {
    const ending = new AbortController();
    const at = `/admin/entries/${encodeURIComponent(id)}`;
    Promise.all([page.api(at, { signal: ending.signal }), page.api(`${at}/decision`, { signal: ending.signal })]).then(
      ([row, decision]) => setFound({ id, at, row, decision }),
      (error) => {
        if (error.name === "AbortError") return;
        if (error.status === 401) dispatchEvent(new CustomEvent("trouble", { detail: error }));
        else setFound({ id, problem: error.message });
      });
    return () => ending.abort();
  }, [id]);
  useEffect(() => { if (focused) place.current.focus(); }, [id, focused]);
  const isLoaded = found.id === id;
  return h("aside.detail.panel", { "aria-label": "One call", tabindex: -1, ref: place, "data-id": id, onkeydown: (event) => { if (event.key === "Escape") close(); } },
    h("div.panel-head", h("h2.mono", id), h("button.quiet", { type: "button", onclick: close }, "Close")),
    !isLoaded ? h("p.faint", "Loading") : found.problem ? h("div.notice.bad", { role: "alert" }, found.problem) : h(Whole, { key: id, page, ...found }));
}

function Whole({ page, at, row, decision }) {
  const { zone } = page.session;
  const { basis, tries, feedback, ...plain } = row;
  return [
    h(Facts, { pairs: [
      ["Received", moment(row.at, zone)],
      ["Decided", [tier(row.tier), ` ${row.lab ?? ""} by ${row.rule ? `${row.source} “${row.rule}”` : row.source ?? row.problem ?? "nobody"}`]],
      ["Arm", row.arm],
      ["Guards", row.guards.length ? row.guards.join(", ") : null],
      ["Endpoint", row.operation],
      ["Asked for", row.asked],
      ["Served by", row.model && `${row.provider}/${row.model}${row.effort ? ` at effort ${row.effort}` : ""}`],
      ["State", `${row.state}${row.problem ? `, ${row.problem}` : ""}${row.aborted_by ? `, by ${row.aborted_by}` : ""}`],
      ["Cost", row.cost === null ? "unknown" : `${usd(row.cost)} (${row.cost})`],
      ["Units", Object.entries(row.units).map(([unit, quantity]) => `${quantity} × ${unit}`).join(", ")],
      ["Lost prompt cache", row.switch_cost === null ? null : `${usd(row.switch_cost)}, once`],
      ["Key", row.key],
      ["User", row.end_user && h("a", { href: `#/calls?${new URLSearchParams({ user: row.end_user })}` }, row.end_user)],
      ["Tags", row.tags.join(", ")],
    ] }),
    h(Rating, { page, at, row }),
    h(Decision, { decision }),
    row.conversation ? h(Thread, { page, row }) : null,
    tries.length ? h(Part, { title: "Attempts that gave no answer" }, h(Grid, { caption: "Attempts", heads: ["Nr", "Target", "Account", "Error", "Took", "Cost"], rows: tries.map(attempt) })) : null,
    basis?.evidence && !decision.basis ? h(Part, { title: "Evidence" }, h(Tree, { value: basis.evidence })) : null,
    basis?.score && !decision.basis ? h(Part, { title: "Score" }, h(Tree, { value: basis.score })) : null,
    h(Part, { title: "Text" }, h(Words, { page, at })),
    h("details", h("summary", "The whole row"), h(Tree, { value: plain })),
    basis && !decision.basis ? h("details", h("summary", "All that it was decided on"), h(Tree, { value: basis })) : null,
  ];
}

/** What the answer was worth, in one click; and another for a golden prompt of the call, if its text is kept. */
function Rating({ page, at, row }) {
  const [verdict, setVerdict] = useState(row.feedback?.verdict ?? null);
  const [right, setRight] = useState(row.feedback?.tier ?? row.tier ?? "smart");
  const [note, setNote] = useState("");
  const act = async (path, json, done) => {
    try {
      done(await page.api(`${at}/${path}`, { json, signal: page.signal }));
    } catch (error) {
      if (error.status === 401) throw error;
      setNote(error.message);
    }
  };
  const rate = (next) => act("rating", { verdict: next }, () => {
    setVerdict(next);
    setNote(`Rated ${next}.`);
  });
  const addGolden = () => act("golden", { tier: right }, ({ file, prompts }) => setNote(`Added to ${file}: ${count(prompts)} golden ${prompts === 1 ? "prompt" : "prompts"}.`));
  const thumb = (name, text, picture) => h("button", { type: "button", "aria-pressed": String(verdict === name), onclick: () => rate(name) }, icon(picture), h("span", text));
  return h(Part, { title: "Rating" },
    h("div.bar.rating",
      thumb("good", "Good", "thumb-up"), thumb("bad", "Bad", "thumb-down"),
      h("span.end", h(Choice, { label: "Right tier", options: TIERS, value: right, onchange: setRight }),
        h("button", { type: "button", onclick: addGolden }, icon("star"), h("span", "Make a golden prompt")))),
    h("p.faint", { role: "status" }, note));
}

function attempt(one) {
  return [
    String(one.attempt), `${one.provider}/${one.model}`, one.account ?? "–", h("span.tag.bad", `${one.status ?? "–"} ${one.problem}`), seconds(one.duration), one.cost === null ? "unknown" : usd(one.cost),
  ];
}

/** The calls of a conversation in their order, each with its decision and its cost; of a long one the last. */
export function Thread({ page, row, since }) {
  const [calls, setCalls] = useState(null);
  const { conversation } = row;
  useEffect(() => {
    const ending = new AbortController();
    const query = { sort: "-received", since, only: `conversation=${conversation}`, limit: MOST_IN_THREAD, format: "json" };
    page.api("/admin/entries", { query, signal: ending.signal }).then((answer) => setCalls(answer.entries.reverse()), () => {});
    return () => ending.abort();
  }, [conversation]);
  if (!calls) return null;
  const { zone } = page.session;
  const known = calls.filter((call) => call.cost !== null);
  const sum = known.reduce((cost, call) => cost + Number(call.cost), 0);
  const unknown = calls.length - known.length;
  return h(Part, { title: "Conversation" },
    h("p.soft", `${calls.length === MOST_IN_THREAD ? "The last " : ""}${count(calls.length)} ${calls.length === 1 ? "call" : "calls"}, ${usd(sum)}${unknown ? ` and ${count(unknown)} of unknown cost` : ""} `,
      h("a", { href: `#/calls?${new URLSearchParams({ conversation })}` }, conversation)),
    calls.length > 1 || calls[0]?.id !== row.id ? h("ol.thread", calls.map((call) => h("li", { "aria-current": call.id === row.id ? "true" : null },
      h("a", { href: `#/calls/${encodeURIComponent(call.id)}` }, clock(call.at, zone)), tier(call.tier), h("span.wrap", call.served ?? call.model ?? call.asked ?? "–"),
      h("span.faint.wrap", call.rule ? `${call.source}: ${call.rule}` : call.source ?? "–"), status(call), h("b", call.cost === null ? "unknown" : usd(call.cost))))) : null);
}

/** What was said. Nobody fetches it before somebody wants to read it. */
function Words({ page, at }) {
  const [text, setText] = useState(null);
  const fetchText = async () => {
    try {
      setText(await page.api(`${at}/text`, { signal: page.signal }));
    } catch (error) {
      if (error.status === 401) throw error;
      setText({ problem: error.message });
    }
  };
  if (!text) return h("div.words", h("button", { type: "button", onclick: fetchText }, "Show what was said"));
  if (text.problem) return h("p.faint", { role: "status" }, text.problem);
  return h("div.words", h("h4", "The client sent"), h("pre", { tabindex: 0 }, pretty(text.prompt)), h("h4", "The client got"), h("pre", { tabindex: 0 }, text.answer), text.cut ? h("p.faint", "Something is missing: it was too long.") : null);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
