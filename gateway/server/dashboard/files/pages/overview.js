// What calls cost, who made them, what that saved, and what went wrong.
import { Chart, slotEnd } from "../chart.js";
import { h } from "../elements.js";
import { brief, change, count, money, percent, share, shareChange, usd } from "../figures.js";
import { FilterBar } from "../filters.js";
import { Empty, Figure, Panel, RowsNote, Table, damageNote } from "../parts.js";
import { usePolling } from "../polling.js";
import { GROUPS, beat, callsLink, counted, filterParameters, label, pairs, parameters, readQuestion, timeBefore } from "../question.js";
import { OTHER, missing, name, number, split, tokens, whole } from "../series.js";
import { useMemo, useState } from "../vendor/preact.js";

export const title = "Overview";
const MONTH_BEAT = 300;
const FAILED = ["failed", "refused", "unknown_crash"].map((state) => ["state", state]);

export function Page({ page }) {
  const [question, ask] = useState(() => readQuestion(page.params));
  const change = (next) => { page.keep(pairs(next)); ask(next); };
  const answer = usePolling((signal) => load(page, question, signal), beat(question), JSON.stringify(question));
  const only = filterParameters(question);
  const month = usePolling((signal) => page.api("/admin/month", { query: { only }, signal }), MONTH_BEAT, JSON.stringify(only));
  return h("div.page",
    h(FilterBar, { page, question, change, groups: GROUPS }),
    answer ? (answer.series.total.calls ? h(Sums, { ...answer, month, zone: page.session.zone }) : h(Nothing)) : null);
}

async function load(page, question, signal) {
  const { zone } = page.session;
  const query = { by: question.by, ...parameters(question, zone) };
  const series = await page.api("/admin/series", { query, signal });
  if (!question.compare) return { question, series, former: null };
  const end = series.until ?? Math.floor(Date.now() / 60000) * 60;
  const former = await page.api("/admin/costs", { query: { ...query, ...timeBefore(question, series.starts[0], end, zone) }, signal });
  return { question, series, former };
}

function Nothing() {
  return h(Panel, { title: "No calls in this time" }, h(Empty, { title: "There is nothing to show yet" },
    "Point an application at this gateway, or choose a longer time or fewer filters. A call is here a second after it has ended."));
}

function Sums({ question, series, former, month, zone }) {
  const { by } = question;
  const text = label(by);
  const charts = useMemo(() => chartData(series, by), [series]);
  const calls = counted(question, series);
  const columns = useMemo(() => tableColumns(calls, text, former), [series, former]);
  const slot = (at) => ({ since: String(series.starts[at]), until: String(slotEnd(series, at)) });
  const toSlot = (more = []) => (at, group) => callsLink(question, group === undefined || group === OTHER || group === "none" ? more : [[by, group]], slot(at));
  return [
    h("dl.figures", h(Month, { question, month }), figures(calls, series, former)),
    h(RowsNote, { answer: series }),
    h("div.grid",
      h(Chart, { title: "Cost", format: usd, unit: "USD", data: charts.cost, link: toSlot() }),
      h(Chart, { title: "Calls", format: brief, data: charts.calls, link: toSlot() }),
      h(Chart, { title: "Tokens", format: brief, data: charts.tokens, link: toSlot() }),
      h(Chart, { title: "Cost against the baseline", kind: "lines", format: usd, unit: "USD", data: charts.saved, link: (at) => toSlot()(at) }),
      h(Chart, { title: "Answered from the cache", kind: "lines", format: percent, unit: "of calls", cap: 1, data: charts.hits, link: (at) => toSlot([["state", "cache_hit"]])(at) }),
      h(Chart, { title: "Errors and fallbacks", format: brief, unit: "calls", data: charts.wrong, link: (at) => toSlot(FAILED)(at) })),
    h(Panel, { title: `By ${text.toLowerCase()}`, aside: h("a.button", { href: sumsLink(question, zone), download: "costs.csv" }, "Export CSV") },
      h(Table, { key: by, caption: `Calls by ${text.toLowerCase()}`, columns, rows: series.totals, sort: "-cost" })),
  ];
}

/** What calls have cost since the month began, and what they will come to. */
function Month({ question, month }) {
  if (!month) return h(Figure, { name: "This month", value: "…" });
  const { total, forecast } = month;
  return h(Figure, { name: "This month", value: money(total.cost, total.cost === null ? total.unknown : 0), href: callsLink({ ...question, range: "month" }), notes: [
    total.cost !== null && total.unknown ? h("span.unknown", `+ ${count(total.unknown)} of unknown cost`) : null,
    ...(forecast ? [`${usd(forecast.expected)} by its end`, `(${usd(forecast.low)} to ${usd(forecast.high)})`] : ["no forecast yet"])] });
}

/** The sums as a file. */
function sumsLink(question, zone) {
  const query = new URLSearchParams({ by: question.by, format: "csv" });
  for (const [name, value] of Object.entries(parameters(question, zone))) for (const one of [value].flat()) if (one) query.append(name, one);
  return `/admin/costs?${query}`;
}

function chartData(series, by) {
  const { starts, every, zone, until } = series;
  const base = { starts, every, zone, until };
  const hit = whole(series, (sum, row) => sum + row.cached);
  const all = whole(series, (sum, row) => sum + row.calls);
  return {
    cost: { ...base, series: split(series, by, (row) => number(row.cost)), missing: missing(series) },
    calls: { ...base, series: split(series, by, (row) => row.calls) },
    tokens: { ...base, series: split(series, by, tokens) },
    saved: { ...base, series: against(series) },
    hits: { ...base, series: [{ name: "hits", tone: 6, values: hit.map((value, at) => (all[at] ? value / all[at] : null)) }] },
    wrong: { ...base, series: [
      { name: "failed", tone: 7, values: whole(series, (sum, row) => sum + row.failed) },
      { name: "answered by another attempt", tone: 3, values: whole(series, (sum, row) => sum + row.retried) }] },
  };
}

function figures(question, series, former) {
  const { total } = series;
  const then = former?.total;
  const used = tokens(total);
  const baseline = number(total.baseline);
  const each = total.cost === null || !total.calls ? null : (number(total.cost) / total.calls) * 1000;
  const since = (now, before, format) => (then ? change(now, before, format) : null);
  const part = (sums, field) => (sums?.calls ? sums[field] / sums.calls : null);
  return [
    h(Figure, { name: "Cost", value: money(total.cost, total.cost === null ? total.unknown : 0), href: callsLink(question), notes: [
      since(number(total.cost), number(then?.cost), usd),
      total.cost !== null && total.unknown ? h("span.unknown", `+ ${count(total.unknown)} of unknown cost`) : null,
      damageNote(series),
      each === null ? null : `${usd(each)} per 1,000 calls`] }),
    h(Figure, { name: "Saved", value: money(total.saved, 0), href: callsLink(question), tone: number(total.saved) > 0 ? "good" : null, notes: [
      since(number(total.saved), number(then?.saved), usd),
      baseline ? `${percent(number(total.saved) / baseline)} of ${usd(baseline)}` : "no baseline is set"] }),
    h(Figure, { name: "Calls", value: brief(total.calls), href: callsLink(question), notes: [
      since(total.calls, then?.calls, brief), `${count(total.retried)} by another attempt`] }),
    h(Figure, { name: "Tokens", value: used === null ? "–" : brief(used), href: callsLink(question), notes: [
      since(used, then && tokens(then), brief), used === null ? null : `${brief(total.output)} of them out`] }),
    h(Figure, { name: "From the cache", value: share(total.cached, total.calls), href: callsLink(question, [["state", "cache_hit"]]), notes: [
      then ? shareChange(part(total, "cached"), part(then, "cached")) : null, `${count(total.cached)} calls`] }),
    h(Figure, { name: "Failed", value: share(total.failed, total.calls), href: callsLink(question, FAILED), tone: total.failed ? "bad" : null, notes: [
      then ? shareChange(part(total, "failed"), part(then, "failed")) : null, `${count(total.failed)} calls`] }),
  ];
}

/** What was paid, and what the same calls would have cost on the baseline: of those that can be compared. */
function against(series) {
  const add = (of) => whole(series, (sum, row) => (of(row) === null ? sum : (sum ?? 0) + of(row)), null);
  const baseline = (row) => number(row.baseline);
  const paid = (row) => (row.baseline === null || row.saved === null ? null : number(row.baseline) - number(row.saved));
  if (series.total.baseline === null) return [{ name: "cost", tone: 1, values: add((row) => number(row.cost)) }];
  return [{ name: "baseline", tone: 0, dash: true, values: add(baseline) }, { name: "cost", tone: 1, values: add(paid) }];
}

function tableColumns(question, text, former) {
  const { by } = question;
  const of = (field) => ({ name: field, number: true, order: (row) => number(row[field]) });
  const then = new Map((former?.groups ?? []).map((row) => [row[by], row]));
  const calls = (row, more = []) => (row[by] === null ? null : callsLink(question, [[by, row[by]], ...more]));
  const linked = (row, content, more) => (calls(row) && content !== "0" ? h("a", { href: calls(row, more) }, content) : content);
  return [
    { name: "name", label: text, cell: (row) => linked(row, name(row, by)), order: (row) => name(row, by) },
    { ...of("calls"), label: "Calls", cell: (row) => linked(row, count(row.calls)) },
    { ...of("cost"), label: "Cost", unit: "USD", cell: (row) => money(row.cost, row.unknown) },
    ...(former ? [{ name: "before", label: "Cost before", unit: "USD", number: true, order: (row) => number(then.get(row[by])?.cost ?? null), cell: (row) => (then.has(row[by]) ? money(then.get(row[by]).cost, then.get(row[by]).unknown) : "–") }] : []),
    { ...of("baseline"), label: "Baseline", unit: "USD", cell: (row) => money(row.baseline, 0) },
    { ...of("saved"), label: "Saved", unit: "USD", cell: (row) => money(row.saved, 0) },
    { name: "tokens", label: "Tokens", number: true, cell: (row) => brief(tokens(row)), order: tokens },
    { name: "cached", label: "From the cache", number: true, cell: (row) => share(row.cached, row.calls), order: (row) => row.cached / row.calls },
    { ...of("retried"), label: "Retried", cell: (row) => count(row.retried) },
    { ...of("failed"), label: "Failed", cell: (row) => linked(row, count(row.failed), FAILED) },
  ];
}
