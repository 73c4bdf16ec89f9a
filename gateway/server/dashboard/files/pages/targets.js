// How targets, accounts and retries stand: who is asked, who is not, why, and until when.
import { clear, empty, every, h, icon, meter, panel, table } from "../draw.js";
import { ago, brief, count, figure, percent, seconds, span } from "../figures.js";

export const title = "Targets";
const BEAT = 5;
const TONES = { closed: ["good", "check", "asked"], open: ["bad", "off", "out"], "half-open": ["warn", "warn", "on trial"] };
const ORDER = ["open", "half-open", "closed"];

export async function render(root, page) {
  let parts;
  async function load() {
    const told = await page.api("/admin/health", { signal: page.signal });
    if (page.signal.aborted) return;
    if (!told.targets.length) {
      parts = undefined;
      root.replaceChildren(panel("Targets", {}, empty("No target can be asked",
        "No provider has a credential. `tiergate check` says which are off, and what turns them on.")));
      return;
    }
    if (!parts) {
      parts = pageOf();
      root.replaceChildren(...parts.all);
    }
    parts.set(told);
  }
  await every(BEAT, load, page.signal);
}

function pageOf() {
  const strip = h("dl.figures");
  let limited = false;
  const box = h("div");
  let targets;
  const accounts = table("Accounts", columns(false), [], { sort: "state" });
  const retries = table("Retries", [
    { name: "lab", label: "Lab", cell: (row) => row.lab, order: (row) => row.lab },
    { name: "calls", label: "Calls", number: true, cell: (row) => count(row.calls), order: (row) => row.calls },
    { name: "retries", label: "Further attempts", number: true, cell: (row) => count(row.retries), order: (row) => row.retries },
    { name: "denied", label: "Not made", number: true, cell: (row) => count(row.denied), order: (row) => row.denied, hint: "The lab had no more of them" },
    { name: "left", label: "Left", number: true, cell: (row) => count(row.left), order: (row) => row.left },
  ], [], { sort: "lab" });
  const keys = panel("Accounts", { note: "A credential that is refused is out at all of its targets" }, accounts);
  const again = panel("Retries", { note: "A lab has only so many, so that one that is down is not asked ever more" }, retries);
  return {
    all: [strip, panel("Targets", { note: "As the worker that answered knows them; a pair of model and host, with each account" }, box), keys, again],
    set(told) {
      clear(strip).append(...figures(told.targets));
      // Few providers tell their limits: where none does, there is no column for them.
      const some = told.targets.some((row) => row.limits?.levels.length || row.limits?.parked > 0);
      if (!targets || some !== limited) {
        limited = some;
        targets = table("Targets", columns(true, some), [], { sort: "state" });
        clear(box).append(targets);
      }
      targets.set(told.targets);
      accounts.set(told.accounts);
      retries.set(told.retries);
      keys.hidden = !told.accounts.length;
      again.hidden = !told.retries.length;
    },
  };
}

function figures(targets) {
  const of = (...states) => targets.filter((row) => states.includes(row.state)).length;
  const sum = (name) => targets.reduce((all, row) => all + row[name], 0);
  const out = of("open");
  const trial = of("half-open");
  return [
    figure("Targets", count(targets.length)),
    figure("Asked", count(of("closed")), { tone: out + trial ? null : "good" }),
    figure("Out", count(out), { tone: out ? "bad" : null, note: "others answer in their place" }),
    figure("On trial", count(trial), { tone: trial ? "warn" : null, note: "one call finds out" }),
    figure("In flight", count(sum("in_flight"))),
  ];
}

function columns(whole, told = false) {
  return [
    ...(whole ? [{ name: "model", label: "Model", cell: (row) => row.model, order: (row) => row.model }] : []),
    { name: "provider", label: "Provider", cell: (row) => row.provider, order: (row) => row.provider },
    { name: "account", label: "Account", cell: (row) => row.account, order: (row) => row.account },
    { name: "state", label: "State", cell: state, order: (row) => ORDER.indexOf(row.state) },
    { name: "answered", label: "Answered", number: true, cell: (row) => count(row.answered), order: (row) => row.answered, hint: "Lately, as its breaker counts" },
    { name: "failed", label: "Failed", number: true, cell: (row) => (row.failed ? h("span.bad", count(row.failed)) : "0"), order: (row) => row.failed, hint: "Lately, as its breaker counts" },
    { name: "in_flight", label: "In flight", number: true, cell: (row) => count(row.in_flight), order: (row) => row.in_flight },
    { name: "usual", label: "Usual time", number: true, cell: (row) => seconds(row.usual), order: (row) => row.usual, hint: "Of first content" },
    { name: "error", label: "Last error", cell: (row) => (row.error ? [row.error, h("span.faint", ` ${ago(row.error_at)}`)] : "–"), order: (row) => row.error_at },
    ...(told ? [{ name: "limits", label: "Left at the provider", cell: limits }] : []),
  ];
}

function state(row) {
  const [tone, picture, text] = TONES[row.state] ?? ["", "warn", row.state];
  const left = row.until === null ? null : row.until - Date.now() / 1000;
  return [h("span.tag", { class: tone }, icon(picture), text),
    row.state === "closed" ? null : h("span.faint", ` ${[row.cause, row.since === null ? null : `for ${span(Date.now() / 1000 - row.since)}`, left > 0 ? `asked again in ${span(left)}` : null].filter(Boolean).join(", ")}`)];
}

/** What the provider has told of its own limits. */
function limits({ limits: told }) {
  if (!told) return "–";
  const known = told.levels.filter((one) => one.limit);
  return [
    told.parked > 0 ? h("span.tag.warn", `waits ${span(told.parked)}`) : null,
    known.length ? h("div.levels", known.map((one) => h("div", { title: `${brief(one.left)} of ${brief(one.limit)} ${one.name}` }, meter(one.left / one.limit, { tone: one.left / one.limit < 0.1 ? "bad" : "" }), h("span.faint", `${percent(one.left / one.limit)} of ${one.name}`)))) : told.parked > 0 ? null : "–",
  ];
}
