// The keys of clients: who may call. A secret is shown once, when it is made, and kept nowhere.
import { clear, empty, h, icon, panel, say, table } from "../draw.js";
import { moment } from "../figures.js";

export const title = "Keys";
const TONES = { live: "good", expired: "warn", revoked: "bad", invalid: "bad" };
const PAGE_SIZE = 1000;

export async function render(root, page) {
  const shown = h("div", { role: "status" });
  const body = h("div.page");
  const state = { page, shown, list: null, load };
  root.append(shown, body);
  async function load() {
    const told = await loadAll(page);
    if (page.signal.aborted) return;
    if (told.source === "open") {
      body.replaceChildren(panel("No keys", {}, empty("Keys are open: every client that reaches the gateway may call",
        "Set `keys` to a file or to a database; docs/keys.md has both.")));
      return;
    }
    if (!state.list) {
      const canChange = told.source === "database";
      state.list = table("Keys", columns(state, canChange), [], { sort: "name", key: (row) => row.name });
      const note = canChange ? "A change holds on all gateways within seconds." : `They come from ${told.place}: change them there, with tiergate keys.`;
      body.replaceChildren(...[canChange ? form(state) : null, panel("Keys", { note }, state.list)].filter(Boolean));
    }
    state.list.set(told.keys);
  }
  await load();
}

async function loadAll(page) {
  let told = await page.api("/admin/keys", { query: { limit: String(PAGE_SIZE) }, signal: page.signal });
  const keys = told.keys;
  while (told.next && !page.signal.aborted) {
    told = await page.api("/admin/keys", { query: { limit: String(PAGE_SIZE), after: told.next }, signal: page.signal });
    keys.push(...told.keys);
  }
  return { ...told, keys };
}

function columns(state, canChange) {
  const zone = state.page.session.zone;
  const made = [
    { name: "name", label: "Name", cell: (row) => row.name, order: (row) => row.name },
    { name: "state", label: "State", cell: (row) => h(`span.tag.${TONES[row.state]}`, row.state), order: (row) => row.state },
    { name: "settings", label: "Settings", cell: settings },
    { name: "expires", label: "Expires", cell: (row) => expiry(row, zone), order: (row) => row.expires ?? null },
  ];
  if (!canChange) return made;
  return [...made,
    { name: "changed", label: "Changed", cell: (row) => [moment(row.changed, zone), h("div.unit", `by ${row.changed_by}`)], order: (row) => row.changed },
    { name: "act", label: "Act", cell: (row) => acts(state, row) },
  ];
}

/** When a key expires: a date, or a moment. */
function expiry(row, zone) {
  const at = row.expires ?? "never";
  return at.includes("T") ? moment(Date.parse(at) / 1000, zone) : at;
}

/** What a key may do and spend, in a line. */
function settings(row) {
  if (row.problem) return row.problem;
  const parts = row.admin ? ["admin"] : [];
  for (const name of ["tenant", "team", "lab", "labs", "tiers", "models", "regions", "tags", "denied_tokens"]) {
    const value = row[name];
    if (value && value !== "default") parts.push(`${name.replace("_", " ")} ${[value].flat().join(" ")}`);
  }
  for (const limit of row.limits) for (const [name, value] of Object.entries(limit)) parts.push(`${name} ${value}`);
  for (const budget of row.budgets) parts.push(`$${budget.usd}/${budget.every}`);
  return parts.join(", ");
}

function acts(state, row) {
  if (row.state === "revoked") return "";
  const revoke = h("button.danger", { type: "button", "aria-label": `Revoke ${row.name}` }, "Revoke");
  revoke.onclick = async () => {
    if (!revoke.dataset.asked) {
      revoke.dataset.asked = "yes";
      revoke.textContent = "Revoke now?";
      return;
    }
    await state.page.api(path(row.name), { method: "DELETE" });
    say(`${row.name} is revoked`);
    await state.load();
  };
  const rotate = h("button", { type: "button", "aria-label": `Rotate ${row.name}`, disabled: row.state !== "live", onclick: async () => {
    const told = await state.page.api(`${path(row.name)}/rotate`, { json: { keep: "24h" } });
    show(state, told, "Its earlier secret works for 24 hours more.");
    await state.load();
  } }, "Rotate");
  return h("span.bar", rotate, revoke);
}

function form(state) {
  const name = h("input", { type: "text", required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9._@\\-]*", placeholder: "website" });
  const budget = h("input", { type: "number", min: 0, step: "any", placeholder: "none" });
  const expires = h("input", { type: "date" });
  const wrong = h("p.wrong", { role: "alert" });
  async function create(event) {
    event.preventDefault();
    wrong.textContent = "";
    const json = { name: name.value };
    if (budget.value) json.budgets = [{ usd: Number(budget.value), every: "month" }];
    if (expires.value) json.expires = expires.value;
    try {
      const told = await state.page.api("/admin/keys", { json });
      show(state, told, "");
      for (const one of [name, budget, expires]) one.value = "";
    } catch (error) {
      wrong.textContent = error.message;
      return;
    }
    await state.load();
  }
  const field = (label, input) => h("label.field", h("span", label), input);
  return panel("New key", { note: "More settings: PATCH /admin/keys/NAME, or tiergate keys change." },
    h("form.bar", { onsubmit: create }, field("Name", name), field("USD a month", budget), field("Expires", expires),
      h("button.main", { type: "submit" }, "Create")), wrong);
}

/** Shows a secret until it is closed; nobody can see it again. */
function show(state, told, note) {
  const close = h("button", { type: "button", onclick: () => clear(state.shown) }, icon("off"), h("span", "I have copied it"));
  clear(state.shown).append(h("div.notice",
    h("p", `The secret of ${told.name}, shown only once: `, h("code.secret", told.secret), note ? ` ${note}` : ""), close));
  say(`${told.name} has a new secret`);
}

const path = (name) => `/admin/keys/${encodeURIComponent(name)}`;
