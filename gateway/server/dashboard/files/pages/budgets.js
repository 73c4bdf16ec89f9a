// How budgets stand: what of each is used, at which rate, and how that went in its window.
import { Chart } from "../chart.js";
import { h, icon } from "../elements.js";
import { moment, percent, span, usd } from "../figures.js";
import { Empty, Figure, Meter, Panel, damageNote } from "../parts.js";
import { usePolling } from "../polling.js";
import { missing, number } from "../series.js";
import { useEffect, useState } from "../vendor/preact.js";

export const title = "Budgets";
const BEAT = 15;

export function Page({ page }) {
  const answer = usePolling((signal) => page.api("/admin/budgets", { signal }), BEAT, "");
  if (!answer) return null;
  if (!answer.budgets.length) return h(Nothing);
  const rows = [...answer.budgets].sort((a, b) => part(b) - part(a));
  return h("div.page", h("dl.figures", figures(rows)),
    rows.map((row) => h(Budget, { key: [row.scope, row.name, row.since].join("\n"), page, row, answer })));
}

function Nothing() {
  return h(Panel, { title: "No budgets" }, h(Empty, { title: "Nothing bounds what calls may cost" },
    "A budget is a few lines in the configuration, as `budgets: [{name: team, usd: 50, every: day, soft: 0.8}]`, or belongs to a key.",
    "docs/keys.md has them all; `tiergate check` tells whether what you wrote makes sense."));
}

const part = (row) => (number(row.limit) ? number(row.used) / number(row.limit) : Number(number(row.used) > 0));
const amount = (row, value) => (row.kind === "share" ? percent(number(value)) : usd(value));

function tone(row) {
  if (part(row) >= 1) return "bad";
  if ((row.soft !== null && part(row) >= number(row.soft)) || row.runs_out !== null) return "warn";
  return "";
}

function figures(rows) {
  const full = rows.filter((row) => part(row) >= 1).length;
  const soon = rows.filter((row) => part(row) < 1 && row.runs_out !== null).length;
  const soft = rows.filter((row) => part(row) < 1 && row.soft !== null && part(row) >= number(row.soft)).length;
  return [
    h(Figure, { name: "Budgets", value: String(rows.length) }),
    h(Figure, { name: "Used up", value: String(full), tone: full ? "bad" : null }),
    h(Figure, { name: "Past their soft limit", value: String(soft), tone: soft ? "warn" : null }),
    h(Figure, { name: "Run out at this rate", value: String(soon), tone: soon ? "warn" : null, notes: ["before their window ends"] }),
  ];
}

/** A budget: its meter, its facts, and how it burns down if somebody looks. */
function Budget({ page, row, answer }) {
  const [open, setOpen] = useState(false);
  return h("section.panel.budget", { "aria-label": `Budget ${row.name}, ${row.scope}` },
    h("div.panel-head", h("h2", row.name, " ", h("span.faint", row.scope)), h("div.bar", h("a.see", { href: callsOf(row) }, "Its calls"), state(row))),
    h("div.used",
      h("p", h("b.large", amount(row, row.used)), h("span.faint", ` of ${amount(row, row.limit)} `), h("span.soft", `(${percent(part(row))})`)),
      h(Meter, { part: part(row), tone: tone(row), mark: row.soft === null ? null : number(row.soft) })),
    h("dl.facts", facts(row, answer).map(([name, value, more]) => h("div", h("dt", name), h("dd", { class: more ?? null }, value)))),
    damageNote(row),
    row.kind === "share" ? null : h("details", { ontoggle: (event) => setOpen(event.target.open) }, h("summary", "How it burns down"),
      open ? h(Burndown, { page, row, at: answer.at }) : null));
}

/** The calls that count in a budget's window. */
function callsOf(row) {
  const filters = row.only.map((text) => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)]);
  const time = row.since === null ? [] : [["range", "custom"], ["since", String(Math.floor(row.since))]];
  return `#/calls?${new URLSearchParams([...time, ...filters])}`;
}

function Burndown({ page, row, at }) {
  const [data, setData] = useState(null);
  useEffect(() => {
    const ending = new AbortController();
    const since = row.since ?? at - 30 * 86400;
    page.api("/admin/series", { query: { by: "tier", since: String(Math.floor(since)), only: row.only }, signal: ending.signal }).then((series) => {
      setData({ every: series.every, zone: series.zone, until: row.until ?? at, missing: missing(series), ...burned(series, row) });
    }, (error) => { if (error.name !== "AbortError") dispatchEvent(new CustomEvent("trouble", { detail: error })); });
    return () => ending.abort();
  }, [at]);
  return h(Chart, { title: "Spent so far in this window", kind: "lines", format: usd, unit: "USD", limit: number(row.limit), data, class: "inner" });
}

/** What had been spent at the end of each slot; and, from now on, what will be at this rate. */
function burned({ starts, groups }, row) {
  const each = Array(starts.length).fill(0);
  for (const group of groups) each[group.slot] += number(group.cost) ?? 0;
  let sum = 0;
  const spent = each.map((value) => (sum += value));
  const rate = number(row.rate);
  if (rate === null || row.until === null || row.until <= starts.at(-1)) return { starts, series: [{ name: "spent", tone: 1, values: spent }] };
  const ahead = Array(starts.length).fill(null);
  ahead[ahead.length - 1] = sum;
  ahead.push(sum + (rate * (row.until - starts.at(-1))) / 3600);
  return { starts: [...starts, row.until], series: [
    { name: "spent", tone: 1, values: [...spent, null] },
    { name: "at this rate", tone: 0, dash: true, values: ahead }] };
}

function state(row) {
  if (part(row) >= 1) return h("span.tag.bad", icon("off"), row.hard ? (row.then ? `calls go to ${row.then}` : "calls are refused") : "over, warns only");
  if (tone(row)) return h("span.tag.warn", icon("warn"), row.runs_out !== null ? "runs out" : "past its soft limit");
  return h("span.tag.good", icon("check"), "within");
}

function facts(row, answer) {
  const left = number(row.limit) - number(row.used);
  return [
    ["Window", row.every === "total" ? "for ever" : `${row.every === "hour" ? "an" : "a"} ${row.every}${row.zone === answer.zone ? "" : `, ${row.zone}`}`],
    row.rise === null ? null : ["Raised", `by ${usd(row.rise)} until ${moment(row.rise_until, row.zone)}`],
    ["Resets", row.until === null ? "never" : `in ${span(row.until - answer.at)}`],
    row.kind === "usd" ? ["Left", left > 0 ? usd(left) : usd(0)] : null,
    row.kind === "usd" ? ["Rate", row.rate === null ? "not known yet" : `${usd(row.rate)} an hour`] : null,
    row.kind === "usd" ? ["Runs out", row.runs_out === null ? "not in this window" : `${moment(row.runs_out, row.zone)} (in ${span(row.runs_out - answer.at)})`, row.runs_out === null ? null : "warn"] : null,
    row.forecast === null ? null : ["Forecast", `${usd(row.forecast.expected)} at its end (${usd(row.forecast.low)} to ${usd(row.forecast.high)}, 4 times of 5)`, number(row.forecast.expected) > number(row.limit) ? "warn" : null],
    ["When full", row.hard ? (row.then ? `calls go to ${row.then}` : "calls are refused") : "only warns"],
    row.counted ? null : ["Counted", "by the ledger: no counter is there"],
  ].filter(Boolean);
}
