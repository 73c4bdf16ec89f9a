// What a list of calls may show of each. Nobody sees more columns than were chosen; the browser keeps the choice.
import { h, say } from "./elements.js";
import { count, moment, seconds, usd } from "./figures.js";
import { tier } from "./trace.js";

const KEPT = "tiergate-columns";

/** All of them; the calls of a day can be sorted by those that have `sort`. */
export const COLUMNS = [
  { name: "time", label: "Time", sort: "received", cell: (row, zone) => h("time", { datetime: new Date(row.at * 1000).toISOString(), title: moment(row.at, zone) }, clock(row.at, zone)) },
  { name: "status", label: "Status", cell: status },
  { name: "asked", label: "Asked", cell: (row) => row.asked ?? row.operation ?? "–" },
  { name: "served", label: "Served by", cell: (row) => row.served ?? row.model ?? row.provider ?? "–" },
  { name: "tier", label: "Tier", cell: (row) => tier(row.tier) },
  { name: "key", label: "Key", cell: (row) => row.key },
  { name: "cost", label: "Cost", sort: "cost", number: true, cell: (row) => (row.cost === null ? h("span.unknown", "unknown") : usd(row.cost)) },
  { name: "input", label: "Tokens in", number: true, cell: (row) => tokens(row, ["input", "cache_read", "cache_write"]) },
  { name: "output", label: "out", full: "Tokens out", number: true, cell: (row) => tokens(row, ["output", "reasoning"]) },
  { name: "tokens", label: "Tokens", sort: "tokens", number: true, cell: (row) => tokens(row, ["input", "cache_read", "cache_write", "output", "reasoning"]) },
  { name: "first", label: "First token", sort: "first_content", number: true, cell: (row) => (row.first_content === null ? "–" : seconds(row.first_content)) },
  { name: "duration", label: "Latency", sort: "duration", number: true, cell: (row) => (row.duration === null ? "–" : seconds(row.duration)) },
  { name: "attempts", label: "Attempts", number: true, cell: (row) => (row.attempts > 1 ? h("span.tag.warn", { title: "Another target, or another try, answered" }, String(row.attempts)) : String(row.attempts)) },
  { name: "by", label: "Decided by", cell: (row) => (row.rule ? `${row.source}: ${row.rule}` : row.source ?? "–") },
  { name: "cache", label: "Cache", cell: (row) => (row.cache === "hit" ? h("span.tag.good", "hit") : row.cache) },
  { name: "provider", label: "Provider", cell: (row) => row.provider ?? "–" },
  { name: "lab", label: "Lab", cell: (row) => row.lab ?? "–" },
  { name: "team", label: "Team", cell: (row) => row.team ?? "–" },
  { name: "user", label: "User", cell: (row) => row.end_user ?? "–" },
  { name: "tags", label: "Tags", cell: (row) => row.tags.join(", ") || "–" },
  { name: "dialect", label: "Client", cell: (row) => row.dialect },
  { name: "operation", label: "Endpoint", cell: (row) => row.operation ?? "–" },
  { name: "arm", label: "Arm", cell: (row) => row.arm ?? "–" },
  { name: "state", label: "State", cell: (row) => row.state },
  { name: "saved", label: "Saved", number: true, cell: (row) => (row.cost === null || row.baseline === null ? "–" : usd(row.baseline - row.cost)) },
  { name: "conversation", label: "Conversation", cell: (row) => row.conversation ?? "–" },
  { name: "id", label: "Call", cell: (row) => row.id },
];
const USUAL = ["time", "status", "asked", "served", "tier", "key", "cost", "input", "output", "first", "duration", "attempts", "by"];

export function readColumns() {
  const kept = (localStorage.getItem(KEPT) ?? "").split(",").filter((name) => COLUMNS.some((one) => one.name === name));
  return kept.length ? kept : USUAL;
}

/** A list to choose columns from. */
export function ColumnChoice({ columns, change }) {
  const set = (next) => {
    if (next === USUAL) localStorage.removeItem(KEPT);
    else localStorage.setItem(KEPT, next.join(","));
    change(next);
  };
  const toggle = ({ name, label }) => {
    const next = COLUMNS.map((one) => one.name).filter((one) => (one === name) !== columns.includes(one));
    if (!next.length) return;
    set(next);
    say(`${label} is ${next.includes(name) ? "shown" : "hidden"}`);
  };
  return h("details.menu", { onkeydown: (event) => { if (event.key === "Escape") shut(event.currentTarget); } },
    h("summary", "Columns"),
    h("div.menu-box", { role: "group", "aria-label": "Columns" },
      COLUMNS.map((one) => h("label", h("input", { type: "checkbox", checked: columns.includes(one.name), onchange: () => toggle(one) }), one.full ?? one.label)),
      h("button", { type: "button", onclick: () => set(USUAL) }, "As usual")));
}

function shut(menu) {
  menu.open = false;
  menu.querySelector("summary").focus();
}

/** The time of day, with the day if that is not today. */
export function clock(at, zone) {
  const { day, time } = forms(zone);
  const date = day.format(at * 1000);
  return date === day.format(Date.now()) ? time.format(at * 1000) : `${date}, ${time.format(at * 1000)}`;
}

let made = { zone: null };
function forms(zone) {
  if (made.zone !== zone) {
    made = {
      zone,
      day: new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "2-digit", month: "short" }),
      time: new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit" }),
    };
  }
  return made;
}

/** How a call ended, in its colour. */
export function status(row) {
  const failed = row.problem || row.state === "failed" || row.state === "refused";
  const text = failed ? `${row.status ?? "–"} ${row.problem ?? row.state}` : row.state === "aborted" ? `${row.status ?? "–"} aborted` : String(row.status ?? "–");
  return h("span.tag", { class: failed ? "bad" : row.state === "aborted" ? "warn" : "good" }, text);
}

export function tokens(row, names) {
  const known = names.map((name) => row[name]).filter((one) => one !== null);
  return known.length ? count(known.reduce((sum, one) => sum + one, 0)) : "–";
}
