// The arms of rules with a part of the traffic: what differs between the calls in and out, and what can be claimed.
import { h, icon } from "../elements.js";
import { count, money, percent, seconds, usd } from "../figures.js";
import { FilterBar } from "../filters.js";
import { Empty, Panel, damageNote } from "../parts.js";
import { usePolling } from "../polling.js";
import { parameters, readQuestion, sharedPairs } from "../question.js";
import { Grid } from "../trace.js";
import { useState } from "../vendor/preact.js";

export const title = "Arms";
const COUNTS = [["conversations", "Conversations"], ["calls", "Calls"], ["rated", "Rated calls"]];
const number = (value) => value.toFixed(Math.abs(value) < 1 ? 3 : 2);
const points = (value) => `${(100 * value).toFixed(1)} pp`;
/** The figures, each with how its values are written, and its differences where that is another way. */
const FIGURES = [
  ["calls_per_conversation", "Calls a conversation", number],
  ["cost_per_call", "Cost of a call", usd],
  ["cost_per_conversation", "Cost of a conversation", usd],
  ["first_content_p50", "First content, p50", seconds],
  ["first_content_p95", "First content, p95", seconds],
  ["duration_p50", "Whole answer, p50", seconds],
  ["duration_p95", "Whole answer, p95", seconds],
  ["failed", "Failed", percent, points],
  ["good", "Good, of rated", percent, points],
];
const FINDINGS = { higher: ["up", "in is higher"], lower: ["down", "in is lower"] };

export function Page({ page }) {
  const [question, ask] = useState(() => readQuestion(page.params, { range: "7d" }));
  const change = (next) => { page.keep(sharedPairs(next)); ask(next); };
  const answer = usePolling((signal) => page.api("/admin/arms", { query: parameters(question, page.session.zone), signal }), 0, JSON.stringify(question));
  return h("div.page",
    h(FilterBar, { page, question, change, compared: false }),
    answer ? (answer.rules.length ? answer.rules.map((rule) => h(Rule, { key: rule.rule, rule, answer })) : h(Nothing)) : null);
}

function Nothing() {
  return h(Panel, { title: "No arms in this time" }, h(Empty, { title: "No rule has drawn a call" },
    "A rule with `traffic: 10%` takes a part of the conversations. Its calls, in and out, are compared here."));
}

function Rule({ rule: { rule, in_both: both, differences, findings, ...arms }, answer }) {
  const sides = [arms.in, arms.out];
  const rows = [
    ...COUNTS.map(([name, text]) => [text, ...sides.map((arm) => count(arm[name])), "", ""]),
    ["Cost", ...sides.map((arm) => money(arm.cost, arm.unknown)), "", ""],
    ...FIGURES.map(([name, text, format, formatDifference = format]) => [
      text, ...sides.map((arm) => interval(arm.figures[name], format)), interval(differences[name], signed(formatDifference)), finding(differences[name], findings[name]),
    ]),
  ];
  return h(Panel, { title: rule, note: "Each with its 95% interval, by conversation" },
    h(Grid, { caption: `Arms of ${rule}`, heads: ["Figure", "#In", "#Out", "#In − out", "Finding"], rows }),
    h("p.faint", "A rule draws whole conversations, so the intervals count conversations, not calls. ", damageNote(answer),
      both ? h("span.unknown", ` ${count(both)} ${both === 1 ? "conversation has" : "conversations have"} calls in both arms, as \`traffic\` was changed: choose a time after that.`) : null));
}

/** A value with its interval below. Amounts of money are text. */
function interval(figure, format) {
  if (!figure) return "–";
  const [value, low, high] = [figure.value, figure.low, figure.high].map((one) => (one === null ? null : format(Number(one))));
  return [value, low === null ? null : h("span.faint.ends", `${low} to ${high}`)];
}

function signed(format) {
  return (value) => (value < 0 ? `−${format(-value)}` : value > 0 ? `+${format(value)}` : format(value));
}

function finding(difference, found) {
  if (!difference) return h("span.faint", "no calls to compare");
  if (found === null) return h("span.faint", "too few conversations");
  const [picture, text] = FINDINGS[found] ?? [];
  return text ? h("span.tag", icon(picture), text) : h("span.soft", found);
}
