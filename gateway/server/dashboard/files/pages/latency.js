// How long answers took: percentiles over time, of calls that a provider has answered.
import { Chart, tones } from "../chart.js";
import { clear, empty, h, panel, segments, table } from "../draw.js";
import { count, figure, seconds } from "../figures.js";
import { follow } from "../follow.js";
import { GROUPS, question } from "../range.js";
import { name } from "../series.js";

export const title = "Latency";
const RANKS = [["p50", "p50", "Median"], ["p95", "p95", "95th percentile"], ["p99", "p99", "99th percentile"]];
const MEASURES = [["duration", "Whole answer"], ["first_content", "First content"]];
const MOST = 8;

export async function render(root, page) {
  const asked = question(page);
  const body = h("div.page");
  let drawn, told, rank = "p95";
  const again = follow(page, asked, body, {
    path: "/admin/latency", has: (total) => total.duration, nothing, page: pageOf,
    set: (parts, found) => { drawn = parts; told = found; drawn.set?.(told, rank); },
  });
  root.append(asked.bar(again, segments("Percentile of groups", RANKS, rank, (value) => { rank = value; if (told) drawn.set?.(told, rank); })), body);
  await again();
}

function nothing() {
  return panel("No answers in this time", {}, empty("No provider has answered a call",
    "Times are told of calls that a provider has answered; what came from the cache or failed says nothing of providers."));
}

function pageOf(asked, signal) {
  const label = GROUPS.find(([one]) => one === asked.by)[1];
  const strip = h("dl.figures");
  const charts = MEASURES.flatMap(([field, text]) => [
    [field, "all", new Chart(`${text}, all calls`, { kind: "lines", format: seconds, signal })],
    [field, "by", new Chart(`${text} by ${label.toLowerCase()}`, { kind: "lines", format: seconds, signal })],
  ]);
  const list = table(`Times by ${label.toLowerCase()}`, columns(asked.by, label), [], { sort: "-duration-p95" });
  return {
    parts: [strip, h("div.grid", charts.map(([, , chart]) => chart.element)), panel(`By ${label.toLowerCase()}`, {}, list)],
    set(told, rank) {
      const { starts, every: step, zone, until } = told;
      clear(strip).append(...figures(told.total));
      for (const [field, kind, chart] of charts) {
        chart.set({ starts, every: step, zone, until, series: kind === "all" ? all(told, field) : groups(told, asked.by, field, rank) });
      }
      list.set(told.totals);
    },
  };
}

function figures({ duration, first_content: first }) {
  return MEASURES.flatMap(([field, text]) => RANKS.map(([rank, short]) => {
    const spread = field === "duration" ? duration : first;
    return figure(`${text}, ${short}`, spread ? seconds(spread[rank]) : "–");
  }));
}

/** The three percentiles of all calls of a slot. */
function all(told, field) {
  return RANKS.map(([rank, label], n) => {
    const values = Array(told.starts.length).fill(null);
    for (const row of told.whole) values[row.slot] = row[field]?.[rank] ?? null;
    return { name: label, values, tone: [2, 3, 7][n] };
  });
}

/** One percentile of each of the groups with most calls. */
function groups(told, by, field, rank) {
  const names = told.totals.filter((row) => row[field]).sort((a, b) => b[field].count - a[field].count).slice(0, MOST).map((row) => name(row, by));
  const colours = tones(names);
  return names.map((one, n) => {
    const values = Array(told.starts.length).fill(null);
    for (const row of told.groups) if (name(row, by) === one) values[row.slot] = row[field]?.[rank] ?? null;
    return { name: one, values, tone: colours[n] };
  });
}

function columns(by, label) {
  return [
    { name: "name", label, cell: (row) => name(row, by), order: (row) => name(row, by) },
    { name: "count", label: "Answers", number: true, cell: (row) => count(row.duration?.count ?? 0), order: (row) => row.duration?.count ?? 0 },
    ...MEASURES.flatMap(([field, text]) => RANKS.map(([rank, short]) => ({
      name: `${field}-${rank}`, label: `${text} ${short}`, number: true, cell: (row) => seconds(row[field]?.[rank]), order: (row) => row[field]?.[rank] ?? null,
    }))),
  ];
}
