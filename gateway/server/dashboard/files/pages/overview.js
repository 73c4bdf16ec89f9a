// What calls cost, who made them, what that saved, and what went wrong.
import { Chart } from "../chart.js";
import { clear, empty, h, panel, table } from "../draw.js";
import { brief, count, figure, money, percent, share, usd } from "../figures.js";
import { follow } from "../follow.js";
import { GROUPS, question } from "../range.js";
import { missing, name, number, split, tokens, whole } from "../series.js";

export const title = "Overview";

export async function render(root, page) {
  const asked = question(page);
  const body = h("div.page");
  const again = follow(page, asked, body, {
    path: "/admin/series", has: (total) => total.calls, nothing, page: pageOf, set: (parts, told) => parts.set?.(told),
  });
  root.append(asked.bar(again), body);
  await again();
}

function nothing() {
  return panel("No calls in this time", {}, empty("There is nothing to show yet",
    "Point an application at this gateway, or choose a longer time. A call is here a second after it has ended."));
}

function pageOf(asked, signal) {
  const label = GROUPS.find(([one]) => one === asked.by)[1].toLowerCase();
  const strip = h("dl.figures");
  const cost = new Chart("Cost", { format: usd, unit: "USD", signal });
  const calls = new Chart("Calls", { format: brief, signal });
  const used = new Chart("Tokens", { format: brief, signal });
  const saved = new Chart("Cost against the baseline", { kind: "lines", format: usd, unit: "USD", signal });
  const hits = new Chart("Answered from the cache", { kind: "lines", format: percent, unit: "of calls", signal, cap: 1 });
  const wrong = new Chart("Errors and fallbacks", { format: brief, unit: "calls", signal });
  const list = table(`Calls by ${label}`, columns(asked.by, GROUPS.find(([one]) => one === asked.by)[1]), [], { sort: "-cost" });
  return {
    parts: [strip, h("div.grid", cost.element, calls.element, used.element, saved.element, hits.element, wrong.element), panel(`By ${label}`, {}, list)],
    set(told) {
      const { starts, every: step, zone, until } = told;
      const base = { starts, every: step, zone, until };
      clear(strip).append(...figures(told.total, told.damaged_rows));
      cost.set({ ...base, series: split(told, asked.by, (row) => number(row.cost)), missing: missing(told) });
      calls.set({ ...base, series: split(told, asked.by, (row) => row.calls) });
      used.set({ ...base, series: split(told, asked.by, tokens) });
      saved.set({ ...base, series: against(told) });
      const hit = whole(told, (sum, row) => sum + row.cached);
      const all = whole(told, (sum, row) => sum + row.calls);
      hits.set({ ...base, series: [{ name: "hits", tone: 6, values: hit.map((value, at) => (all[at] ? value / all[at] : null)) }] });
      wrong.set({ ...base, series: [
        { name: "failed", tone: 7, values: whole(told, (sum, row) => sum + row.failed) },
        { name: "answered by another attempt", tone: 3, values: whole(told, (sum, row) => sum + row.retried) }] });
      list.set(told.totals);
    },
  };
}

function figures(total, damaged) {
  const used = tokens(total);
  const out = total.output === null ? null : total.output;
  const baseline = number(total.baseline);
  const each = total.cost === null || !total.calls ? null : (number(total.cost) / total.calls) * 1000;
  return [
    figure("Cost", money(total.cost, total.cost === null ? total.unknown : 0), { note: [
      total.cost !== null && total.unknown ? h("span.unknown", `+ ${count(total.unknown)} of unknown cost`) : null,
      damaged ? h("span.unknown", `${count(damaged)} rows of the journal are damaged: calls may be missing`) : null,
      each === null ? null : `${usd(each)} per 1,000 calls`] }),
    figure("Saved", money(total.saved, 0), { tone: number(total.saved) > 0 ? "good" : null, note: baseline ? `${percent(number(total.saved) / baseline)} of ${usd(baseline)}` : "no baseline is set" }),
    figure("Calls", brief(total.calls), { note: `${count(total.retried)} by another attempt` }),
    figure("Tokens", used === null ? "–" : brief(used), { note: used === null ? null : `${brief(out)} of them out` }),
    figure("From the cache", share(total.cached, total.calls), { note: `${count(total.cached)} calls` }),
    figure("Failed", share(total.failed, total.calls), { tone: total.failed ? "bad" : null, note: `${count(total.failed)} calls` }),
  ];
}

/** What was paid, and what the same calls would have cost on the baseline: of those that can be compared. */
function against(told) {
  const add = (of) => whole(told, (sum, row) => (of(row) === null ? sum : (sum ?? 0) + of(row)), null);
  const baseline = (row) => number(row.baseline);
  const paid = (row) => (row.baseline === null || row.saved === null ? null : number(row.baseline) - number(row.saved));
  if (told.total.baseline === null) return [{ name: "cost", tone: 1, values: add((row) => number(row.cost)) }];
  return [{ name: "baseline", tone: 0, dash: true, values: add(baseline) }, { name: "cost", tone: 1, values: add(paid) }];
}

function columns(by, label) {
  const of = (field) => ({ name: field, number: true, order: (row) => number(row[field]) });
  return [
    { name: "name", label, cell: (row) => name(row, by), order: (row) => name(row, by) },
    { ...of("calls"), label: "Calls", cell: (row) => count(row.calls) },
    { ...of("cost"), label: "Cost", unit: "USD", cell: (row) => money(row.cost, row.unknown) },
    { ...of("baseline"), label: "Baseline", unit: "USD", cell: (row) => money(row.baseline, 0) },
    { ...of("saved"), label: "Saved", unit: "USD", cell: (row) => money(row.saved, 0) },
    { name: "tokens", label: "Tokens", number: true, cell: (row) => brief(tokens(row)), order: tokens },
    { name: "cached", label: "From the cache", number: true, cell: (row) => share(row.cached, row.calls), order: (row) => row.cached / row.calls },
    { ...of("retried"), label: "Retried", cell: (row) => count(row.retried) },
    { ...of("failed"), label: "Failed", cell: (row) => count(row.failed) },
  ];
}
