// What a page is asked: a time, a comparison, a grouping and filters. The address keeps all of it, the same on every page.
import { moment, monthStart } from "./times.js";

const SECONDS = { "1h": 3600, "24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400 };
/** Seconds between two looks; a time that is over is read once. */
const BEATS = { "1h": 10, "24h": 30, "7d": 60, "30d": 300, month: 300, custom: 0, any: 0 };
export const RANGES = [["1h", "1 h", "Last hour"], ["24h", "24 h", "Last 24 hours"], ["7d", "7 d", "Last 7 days"], ["30d", "30 d", "Last 30 days"], ["month", "Month", "This month"], ["custom", "Custom", "Custom range"]];
export const GROUPS = [["tier", "Tier"], ["lab", "Lab"], ["model", "Model"], ["provider", "Provider"], ["key", "Key"], ["user", "User"], ["team", "Team"], ["tenant", "Tenant"], ["tag", "Tag"], ["dialect", "Client"], ["state", "State"], ["rule", "Rule"], ["guard", "Guard"], ["arm", "Arm"], ["operation", "Endpoint"]];
/** Names to filter calls by: those to group by, and those of single calls. */
export const FILTERS = [...GROUPS, ["account", "Account"], ["cache", "Cache"], ["problem", "Problem"], ["status", "Status"], ["conversation", "Conversation"], ["id", "Call"]];
const LABELS = Object.fromEntries(FILTERS);

export function label(name) {
  return LABELS[name];
}

/** Reads the address. `range` is the time of a page that is not asked for one. */
export function readQuestion(params, { range = "24h", groups = GROUPS } = {}) {
  const known = RANGES.some(([name]) => name === params.get("range"));
  return {
    range: known ? params.get("range") : range,
    since: params.get("since") ?? "",
    until: params.get("until") ?? "",
    compare: params.get("compare") === "before",
    by: groups.some(([name]) => name === params.get("by")) ? params.get("by") : groups[0][0],
    filters: FILTERS.flatMap(([name]) => params.getAll(name).filter(Boolean).map((value) => [name, value])),
  };
}

/** The part of the address that all pages share: `[name, value]` pairs. */
export function sharedPairs({ range, since, until, compare, filters }) {
  const time = range === "custom" ? [["since", since], ["until", until]] : [];
  return [...(range === "any" ? [] : [["range", range]]), ...time.filter(([, value]) => value), ...(compare ? [["compare", "before"]] : []), ...filters];
}

/** The whole of it, for a page that groups. */
export function pairs(question) {
  const [range, ...rest] = sharedPairs(question);
  return [range, ["by", question.by], ...rest];
}

/** The address of the calls of a question; `more` are filters, or a time as {since, until}. */
export function callsLink(question, more = [], time = null, extra = []) {
  const filters = [...question.filters.filter(([name]) => !more.some(([other]) => other === name)), ...more];
  const asked = { ...question, ...(time ? { range: "custom", ...time } : {}), compare: false, filters };
  return `#/calls?${new URLSearchParams([...sharedPairs(asked), ...extra])}`;
}

/** The question of the calls that a series has counted: it begins with its first slot, which may be earlier. */
export function counted(question, { starts, until }) {
  return { ...question, range: "custom", since: String(starts[0]), until: until === null ? "" : String(until) };
}

/** The parameters of the API: a time and filters. */
export function parameters(question, zone) {
  return { ...times(question, zone), only: filterParameters(question) };
}

/** The filters as the API takes them. */
export function filterParameters({ filters }) {
  return filters.map(([name, value]) => `${name}=${value}`);
}

function times({ range, since, until }, zone) {
  if (range === "any") return {};
  if (range === "custom") return since || until ? { since: since || "2000-01-01", until } : { since: "24h" };
  if (range === "month") return { since: monthStart(Date.now() / 1000, zone) };
  return { since: range };
}

/** The time as long as the one from `start` to `end`, just before it; of a month, the same part of the month before. */
export function timeBefore({ range }, start, end, zone) {
  const length = end - start;
  const since = range === "month" ? moment(monthStart(start, zone, 1), zone) : start - length;
  return { since: String(Math.floor(since)), until: String(Math.floor(Math.min(since + length, start))) };
}

export function beat(question) {
  return BEATS[question.range];
}

/** Seconds that a range lasts; undefined for one of another kind. */
export function lasts(range) {
  return Object.hasOwn(SECONDS, range) ? SECONDS[range] : undefined;
}
