// How targets, accounts and retries stand: who is asked, who is not, why, and until when.
import { h, icon } from "../elements.js";
import { ago, brief, count, percent, seconds, span } from "../figures.js";
import { Empty, Figure, Meter, Panel, Table } from "../parts.js";
import { usePolling } from "../polling.js";

export const title = "Targets";
const BEAT = 5;
const TONES = { closed: ["good", "check", "asked"], open: ["bad", "off", "out"], "half-open": ["warn", "warn", "on trial"] };
const ORDER = ["open", "half-open", "closed"];
const RETRIES = [
  { name: "lab", label: "Lab", cell: (row) => row.lab, order: (row) => row.lab },
  { name: "calls", label: "Calls", number: true, cell: (row) => count(row.calls), order: (row) => row.calls },
  { name: "retries", label: "Further attempts", number: true, cell: (row) => count(row.retries), order: (row) => row.retries },
  { name: "denied", label: "Not made", number: true, cell: (row) => count(row.denied), order: (row) => row.denied, hint: "The lab had no more of them" },
  { name: "left", label: "Left", number: true, cell: (row) => count(row.left), order: (row) => row.left },
];
const ACCOUNTS = columns({});

export function Page({ page }) {
  const health = usePolling((signal) => page.api("/admin/health", { signal }), BEAT, "");
  if (!health) return null;
  const { targets, accounts, retries } = health;
  if (!targets.length) {
    return h(Panel, { title: "Targets" }, h(Empty, { title: "No target can be asked" },
      "No provider has a credential. `tiergate check` says which are off, and what turns them on."));
  }
  // Few providers tell their limits: where none does, there is no column for them.
  const limited = targets.some((row) => row.limits?.levels.length || row.limits?.parked > 0);
  const grouped = targets.some((row) => row.group !== null);
  return h("div.page",
    h("dl.figures", figures(targets)),
    h(Panel, { title: "Targets", note: "As the worker that answered knows them; a pair of model and host, with each account" },
      h(Table, { caption: "Targets", columns: columns({ models: true, grouped, limited }), rows: targets, sort: "state" })),
    accounts.length ? h(Panel, { title: "Accounts", note: "A credential that is refused is out at all of its targets" },
      h(Table, { caption: "Accounts", columns: ACCOUNTS, rows: accounts, sort: "state" })) : null,
    retries.length ? h(Panel, { title: "Retries", note: "A lab has only so many, so that one that is down is not asked ever more" },
      h(Table, { caption: "Retries", columns: RETRIES, rows: retries, sort: "lab" })) : null);
}

function figures(targets) {
  const of = (state) => targets.filter((row) => row.state === state).length;
  const [out, trial] = [of("open"), of("half-open")];
  return [
    h(Figure, { name: "Targets", value: count(targets.length) }),
    h(Figure, { name: "Asked", value: count(of("closed")), tone: out + trial ? null : "good" }),
    h(Figure, { name: "Out", value: count(out), tone: out ? "bad" : null, notes: ["others answer in their place"] }),
    h(Figure, { name: "On trial", value: count(trial), tone: trial ? "warn" : null, notes: ["one call finds out"] }),
    h(Figure, { name: "In flight", value: count(targets.reduce((sum, row) => sum + row.in_flight, 0)) }),
  ];
}

function columns({ models = false, grouped = false, limited = false }) {
  return [
    ...(models ? [{ name: "model", label: "Model", cell: (row) => row.model, order: (row) => row.model }] : []),
    { name: "provider", label: "Provider", cell: (row) => row.provider, order: (row) => row.provider },
    { name: "account", label: "Account", cell: (row) => row.account, order: (row) => row.account },
    ...(grouped ? [
      { name: "group", label: "Group", cell: (row) => (row.group === null ? "–" : [row.group, h("span.faint", ` ${row.balance}`)]), order: (row) => row.group, hint: "Among these equals the gateway chooses" },
      { name: "load", label: "Load", number: true, cell: (row) => (row.load === null ? "–" : count(row.load)), order: (row) => row.load, hint: "Calls whose answer has not ended" },
    ] : []),
    { name: "state", label: "State", cell: state, order: (row) => ORDER.indexOf(row.state) },
    { name: "answered", label: "Answered", number: true, cell: (row) => count(row.answered), order: (row) => row.answered, hint: "Lately, as its breaker counts" },
    { name: "failed", label: "Failed", number: true, cell: (row) => (row.failed ? h("span.bad", count(row.failed)) : "0"), order: (row) => row.failed, hint: "Lately, as its breaker counts" },
    { name: "in_flight", label: "In flight", number: true, cell: (row) => count(row.in_flight), order: (row) => row.in_flight },
    { name: "usual", label: "Usual time", number: true, cell: (row) => seconds(row.usual), order: (row) => row.usual, hint: "Of first content" },
    { name: "error", label: "Last error", cell: (row) => (row.error ? [row.error, h("span.faint", ` ${ago(row.error_at)}`)] : "–"), order: (row) => row.error_at },
    ...(limited ? [{ name: "limits", label: "Left at the provider", cell: limits }] : []),
  ];
}

function state(row) {
  const [tone, picture, text] = TONES[row.state] ?? ["", "warn", row.state];
  const left = row.until === null ? null : row.until - Date.now() / 1000;
  return [h("span.tag", { class: tone }, icon(picture), text),
    row.state === "closed" ? null : h("span.faint", ` ${[row.cause, row.since === null ? null : `for ${span(Date.now() / 1000 - row.since)}`, left > 0 ? `asked again in ${span(left)}` : null].filter(Boolean).join(", ")}`)];
}

/** What the provider has reported of its own limits. */
function limits({ limits: reported }) {
  if (!reported) return "–";
  const known = reported.levels.filter((one) => one.limit);
  return [
    reported.parked > 0 ? h("span.tag.warn", `waits ${span(reported.parked)}`) : null,
    known.length ? h("div.levels", known.map((one) => h("div", { title: `${brief(one.left)} of ${brief(one.limit)} ${one.name}` },
      h(Meter, { part: one.left / one.limit, tone: one.left / one.limit < 0.1 ? "bad" : "" }), h("span.faint", `${percent(one.left / one.limit)} of ${one.name}`)))) : reported.parked > 0 ? null : "–",
  ];
}
