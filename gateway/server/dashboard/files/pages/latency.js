// How long answers took: percentiles over time, of calls that a provider has answered.
import { Chart, slotEnd } from "../chart.js";
import { looks } from "../colours.js";
import { h } from "../elements.js";
import { change, count, seconds } from "../figures.js";
import { FilterBar } from "../filters.js";
import { Empty, Figure, Panel, RowsNote, Segments, Table, damageNote } from "../parts.js";
import { usePolling } from "../polling.js";
import { GROUPS, beat, callsLink, counted, label, pairs, parameters, readQuestion, timeBefore } from "../question.js";
import { name } from "../series.js";
import { useMemo, useState } from "../vendor/preact.js";

export const title = "Latency";
const RANKS = [["p50", "p50", "Median"], ["p95", "p95", "95th percentile"], ["p99", "p99", "99th percentile"]];
const MEASURES = [["duration", "Whole answer"], ["first_content", "First content"]];
const MOST = 8;
const TONES = { p50: 2, p95: 3, p99: 7 };

export function Page({ page }) {
  const [question, ask] = useState(() => readQuestion(page.params));
  const [rank, setRank] = useState("p95");
  const change = (next) => { page.keep(pairs(next)); ask(next); };
  const answer = usePolling((signal) => load(page, question, signal), beat(question), JSON.stringify(question));
  return h("div.page",
    h(FilterBar, { page, question, change, groups: GROUPS },
      h(Segments, { label: "Percentile of groups", options: RANKS, value: rank, onchange: setRank })),
    answer ? (answer.times.total.duration ? h(Times, { ...answer, rank }) : h(Nothing)) : null);
}

async function load(page, question, signal) {
  const { zone } = page.session;
  const query = { by: question.by, ...parameters(question, zone) };
  const times = await page.api("/admin/latency", { query, signal });
  if (!question.compare) return { question, times, former: null };
  const end = times.until ?? Math.floor(Date.now() / 60000) * 60;
  const former = await page.api("/admin/latency", { query: { ...query, ...timeBefore(question, times.starts[0], end, zone) }, signal });
  return { question, times, former };
}

function Nothing() {
  return h(Panel, { title: "No answers in this time" }, h(Empty, { title: "No provider has answered a call" },
    "Times are told of calls that a provider has answered; what came from the cache or failed says nothing of providers."));
}

function Times({ question, times, former, rank }) {
  const { by } = question;
  const text = label(by).toLowerCase();
  const { starts, every, zone, until } = times;
  const data = useMemo(() => Object.fromEntries(MEASURES.map(([field]) => [field, {
    all: { starts, every, zone, until, series: whole(times, field) },
    by: { starts, every, zone, until, series: groups(times, by, field, rank) },
  }])), [times, rank]);
  const calls = counted(question, times);
  const columns = useMemo(() => tableColumns(calls), [times]);
  const link = (at) => callsLink(question, [], { since: String(starts[at]), until: String(slotEnd(times, at)) });
  return [
    h("dl.figures", figures(calls, times, former?.total)),
    h(RowsNote, { answer: times }),
    h("div.grid", MEASURES.flatMap(([field, measure]) => [
      h(Chart, { title: `${measure}, all calls`, kind: "lines", format: seconds, data: data[field].all, link }),
      h(Chart, { key: `${field}-${by}`, title: `${measure} by ${text}`, kind: "lines", format: seconds, data: data[field].by, link }),
    ])),
    h(Panel, { title: `By ${text}` }, h(Table, { key: by, caption: `Times by ${text}`, columns, rows: times.totals, sort: "-duration-p95" })),
  ];
}

function figures(question, times, then) {
  const { total } = times;
  return MEASURES.flatMap(([field, text], measure) => RANKS.map(([rank, short], at) => h(Figure, {
    name: `${text}, ${short}`, value: total[field] ? seconds(total[field][rank]) : "–", href: callsLink(question),
    notes: [then ? change(total[field]?.[rank], then[field]?.[rank], seconds) : null, measure || at ? null : damageNote(times)],
  })));
}

/** The three percentiles of all calls of a slot. */
function whole(times, field) {
  return RANKS.map(([rank, text]) => {
    const values = Array(times.starts.length).fill(null);
    for (const row of times.whole) values[row.slot] = row[field]?.[rank] ?? null;
    return { name: text, values, tone: TONES[rank] };
  });
}

/** One percentile of each of the groups with most calls. */
function groups(times, by, field, rank) {
  const names = times.totals.filter((row) => row[field]).sort((a, b) => b[field].count - a[field].count).slice(0, MOST).map((row) => name(row, by));
  const given = looks(by, names);
  const series = new Map(names.map((one, n) => [one, { name: one, values: Array(times.starts.length).fill(null), ...given[n] }]));
  for (const row of times.groups) {
    const one = series.get(name(row, by));
    if (one) one.values[row.slot] = row[field]?.[rank] ?? null;
  }
  return [...series.values()];
}

function tableColumns(question) {
  const { by } = question;
  const linked = (row, content) => (row[by] === null ? content : h("a", { href: callsLink(question, [[by, row[by]]]) }, content));
  return [
    { name: "name", label: label(by), cell: (row) => linked(row, name(row, by)), order: (row) => name(row, by) },
    { name: "count", label: "Answers", number: true, cell: (row) => count(row.duration?.count ?? 0), order: (row) => row.duration?.count ?? 0 },
    ...MEASURES.flatMap(([field, text]) => RANKS.map(([rank, short]) => ({
      name: `${field}-${rank}`, label: `${text} ${short}`, number: true, cell: (row) => seconds(row[field]?.[rank]), order: (row) => row[field]?.[rank] ?? null,
    }))),
  ];
}
