// How budgets stand: what of each is used, at which rate, and how that went in its window.
import { Chart } from "../chart.js";
import { clear, empty, every, h, icon, meter, panel } from "../draw.js";
import { figure, moment, percent, span, usd } from "../figures.js";
import { missing, number } from "../series.js";

export const title = "Budgets";
const BEAT = 15;

export async function render(root, page) {
  const strip = h("dl.figures");
  const list = h("div.page");
  const cards = new Map();
  const body = h("div.page", strip, list);
  root.append(body);
  let kind;
  async function load() {
    const told = await page.api("/admin/budgets", { signal: page.signal });
    if (page.signal.aborted) return;
    if (!told.budgets.length) {
      if (kind !== "none") body.replaceChildren(nothing());
      kind = "none";
      return;
    }
    if (kind === "none") body.replaceChildren(strip, list);
    kind = "some";
    const rows = told.budgets.sort((a, b) => part(b) - part(a));
    clear(strip).append(...figures(rows));
    for (const row of rows) {
      if (!cards.has(id(row))) cards.set(id(row), new Card(page));
      cards.get(id(row)).set(row, told);
    }
    const now = rows.map((row) => cards.get(id(row)).element);
    if (now.length !== list.children.length || now.some((one, at) => list.children[at] !== one)) list.replaceChildren(...now);
  }
  await every(BEAT, load, page.signal);
}

function nothing() {
  return panel("No budgets", {}, empty("Nothing bounds what calls may cost",
    "A budget is a few lines in the configuration, as `budgets: [{name: team, usd: 50, every: day, soft: 0.8}]`, or belongs to a key.",
    "docs/keys.md has them all; `tiergate check` tells whether what you wrote makes sense."));
}

const id = (row) => [row.scope, row.name, row.since].join("\n");
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
    figure("Budgets", String(rows.length)),
    figure("Used up", String(full), { tone: full ? "bad" : null }),
    figure("Past their soft limit", String(soft), { tone: soft ? "warn" : null }),
    figure("Run out at this rate", String(soon), { tone: soon ? "warn" : null, note: "before their window ends" }),
  ];
}

/** A budget: its meter, its facts, and how it burns down where somebody looks. */
class Card {
  constructor(page) {
    this.page = page;
    this.head = h("h2");
    this.state = h("span");
    this.bar = h("div.used");
    this.facts = h("dl.facts");
    this.more = h("details", h("summary", "How it burns down"));
    this.more.addEventListener("toggle", () => this.burn());
    this.element = h("section.panel.budget", h("div.panel-head", this.head, this.state), this.bar, this.facts, this.more);
  }

  set(row, told) {
    this.row = row;
    this.told = told;
    this.element.setAttribute("aria-label", `Budget ${row.name}, ${row.scope}`);
    clear(this.head).append(row.name, " ", h("span.faint", row.scope));
    clear(this.state).append(state(row));
    clear(this.bar).append(
      h("p", h("b.large", amount(row, row.used)), h("span.faint", ` of ${amount(row, row.limit)} `), h("span.soft", `(${percent(part(row))})`)),
      meter(part(row), { tone: tone(row), mark: row.soft === null ? null : number(row.soft) }));
    clear(this.facts).append(...facts(row, told).flatMap(([name, value, more]) => h("div", h("dt", name), h("dd", { class: more ?? null }, value))));
    this.more.hidden = row.kind === "share";
    if (this.more.open) this.burn();
  }

  async burn() {
    if (!this.more.open) return;
    const { row, told } = this;
    this.chart ??= new Chart("Spent so far in this window", { kind: "lines", format: usd, unit: "USD", signal: this.page.signal, most: () => number(this.row.limit) });
    if (!this.chart.element.isConnected) {
      this.chart.element.classList.add("inner");
      this.more.append(this.chart.element);
    }
    const since = row.since ?? told.at - 30 * 86400;
    const series = await this.page.api("/admin/series", { query: { by: "tier", since: String(Math.floor(since)), only: row.only }, signal: this.page.signal });
    if (this.page.signal.aborted) return;
    this.chart.set({ every: series.every, zone: series.zone, until: row.until ?? told.at, missing: missing(series), ...burned(series, row) });
  }
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

function facts(row, told) {
  const left = number(row.limit) - number(row.used);
  return [
    ["Window", row.every === "total" ? "for ever" : `${row.every === "hour" ? "an" : "a"} ${row.every}${row.zone === told.zone ? "" : `, ${row.zone}`}`],
    row.rise === null ? null : ["Raised", `by ${usd(row.rise)} until ${moment(row.rise_until, row.zone)}`],
    ["Resets", row.until === null ? "never" : `in ${span(row.until - told.at)}`],
    row.kind === "usd" ? ["Left", left > 0 ? usd(left) : usd(0)] : null,
    row.kind === "usd" ? ["Rate", row.rate === null ? "not known yet" : `${usd(row.rate)} an hour`] : null,
    row.kind === "usd" ? ["Runs out", row.runs_out === null ? "not in this window" : `${moment(row.runs_out, row.zone)} (in ${span(row.runs_out - told.at)})`, row.runs_out === null ? null : "warn"] : null,
    row.forecast === null ? null : ["Forecast", `${usd(row.forecast.expected)} at its end (${usd(row.forecast.low)} to ${usd(row.forecast.high)}, 4 times of 5)`, number(row.forecast.expected) > number(row.limit) ? "warn" : null],
    ["When full", row.hard ? (row.then ? `calls go to ${row.then}` : "calls are refused") : "only warns"],
    row.counted ? null : ["Counted", "by the ledger: no counter is there"],
  ].filter(Boolean);
}
