// The keys of clients: who may call. A secret is shown once, when it is made, and kept nowhere.
import { h, icon, say } from "../elements.js";
import { moment } from "../figures.js";
import { Empty, Panel, Table } from "../parts.js";
import { usePolling } from "../polling.js";
import { useMemo, useRef, useState } from "../vendor/preact.js";

export const title = "Keys";
const TONES = { live: "good", expired: "warn", revoked: "bad", invalid: "bad" };
const PAGE_SIZE = 1000;

export function Page({ page }) {
  const [version, setVersion] = useState(0); // of the list: it is read again after a change
  const [secret, setSecret] = useState(null);
  const keys = usePolling((signal) => loadAll(page, signal), 0, version);
  const reload = () => setVersion((count) => count + 1);
  const show = (made, note) => {
    setSecret({ ...made, note });
    say(`${made.name} has a new secret`);
  };
  const tools = { page, reload, show };
  const canChange = keys?.source === "database";
  const columns = useMemo(() => keyColumns(tools, canChange), [canChange]);
  if (!keys) return null;
  if (keys.source === "open") {
    return h(Panel, { title: "No keys" }, h(Empty, { title: "Keys are open: every client that reaches the gateway may call" },
      "Set `keys` to a file or to a database; docs/keys.md has both."));
  }
  return h("div.page",
    h("div", { role: "status" }, secret ? h(Secret, { secret, close: () => setSecret(null) }) : null),
    canChange ? h(NewKey, tools) : null,
    h(Panel, { title: "Keys", note: canChange ? "A change holds on all gateways within seconds." : `They come from ${keys.place}: change them there, with tiergate keys.` },
      h(Table, { caption: "Keys", columns, rows: keys.keys, sort: "name", rowKey: (row) => row.name })));
}

async function loadAll(page, signal) {
  let answer = await page.api("/admin/keys", { query: { limit: String(PAGE_SIZE) }, signal });
  const keys = answer.keys;
  while (answer.next && !signal.aborted) {
    answer = await page.api("/admin/keys", { query: { limit: String(PAGE_SIZE), after: answer.next }, signal });
    keys.push(...answer.keys);
  }
  return { ...answer, keys };
}

function keyColumns(tools, canChange) {
  const { zone } = tools.page.session;
  const columns = [
    { name: "name", label: "Name", cell: (row) => h("a", { href: `#/calls?${new URLSearchParams({ key: row.name })}` }, row.name), order: (row) => row.name },
    { name: "state", label: "State", cell: (row) => h(`span.tag.${TONES[row.state]}`, row.state), order: (row) => row.state },
    { name: "settings", label: "Settings", cell: (row) => h("span.wrap", settings(row)) },
    { name: "expires", label: "Expires", cell: (row) => expiry(row, zone), order: (row) => row.expires ?? null },
  ];
  if (!canChange) return columns;
  return [...columns,
    { name: "changed", label: "Changed", cell: (row) => [moment(row.changed, zone), h("div.unit", `by ${row.changed_by}`)], order: (row) => row.changed },
    { name: "act", label: "Act", cell: (row) => (row.state === "revoked" ? "" : h(Acts, { ...tools, row })) },
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

function Acts({ page, reload, show, row }) {
  const [asked, setAsked] = useState(false);
  const [editing, setEditing] = useState(false);
  const revoke = async () => {
    if (!asked) {
      setAsked(true);
      return;
    }
    await page.api(path(row.name), { method: "DELETE" });
    say(`${row.name} is revoked`);
    reload();
  };
  const rotate = async () => {
    show(await page.api(`${path(row.name)}/rotate`, { json: { keep: "24h" } }), "Its earlier secret works for 24 hours more.");
    reload();
  };
  if (editing) return h(EditKey, { page, row, close: () => setEditing(false), reload });
  return h("span.bar",
    h("button", { type: "button", "aria-label": `Edit ${row.name}`, onclick: () => setEditing(true) }, "Edit"),
    h("button", { type: "button", "aria-label": `Rotate ${row.name}`, disabled: row.state !== "live", onclick: rotate }, "Rotate"),
    h("button.danger", { type: "button", "aria-label": `Revoke ${row.name}`, onclick: revoke }, asked ? "Revoke now?" : "Revoke"));
}

const PERIODS = ["hour", "day", "week", "month", "total"];

/** The team, the budget and the end of a key. Of several budgets, the form changes the first. */
function EditKey({ page, row, close, reload }) {
  const [first, ...others] = row.budgets;
  const [wrong, setWrong] = useState("");
  const form = useRef();
  const submit = async (event) => {
    event.preventDefault();
    const { team, usd, every, expires } = Object.fromEntries(new FormData(form.current));
    const json = {};
    if (team !== (row.team ?? "")) json.team = team || null;
    if (usd !== String(first?.usd ?? "") || (usd && every !== first?.every)) json.budgets = usd ? [{ ...first, usd: Number(usd), every }, ...others] : others;
    if (expires !== (row.expires ?? "").slice(0, 10)) json.expires = expires || null;
    try {
      if (Object.keys(json).length) await page.api(path(row.name), { method: "PATCH", json });
      say(`${row.name} is changed`);
      close();
      reload();
    } catch (error) {
      if (error.status === 401) throw error;
      setWrong(error.message);
    }
  };
  const field = (label, input) => h("label.field", h("span", label), input);
  return h("form.bar.edit", { ref: form, onsubmit: submit, "aria-label": `Edit ${row.name}`, onkeydown: (event) => { if (event.key === "Escape") close(); } },
    field("Team", h("input", { type: "text", name: "team", defaultValue: row.team ?? "", size: 10 })),
    field("Budget, USD", h("input", { type: "number", name: "usd", min: 0, step: "any", defaultValue: first?.usd ?? "", placeholder: "none" })),
    field("Every", h("select", { name: "every" }, PERIODS.map((one) => h("option", { value: one, selected: one === (first?.every ?? "month") }, one)))),
    field("Expires", h("input", { type: "date", name: "expires", defaultValue: (row.expires ?? "").slice(0, 10) })),
    h("button.main", { type: "submit" }, "Save"), h("button", { type: "button", onclick: close }, "Cancel"),
    wrong ? h("p.wrong", { role: "alert" }, wrong) : null);
}

function NewKey({ page, reload, show }) {
  const form = useRef();
  const [wrong, setWrong] = useState("");
  const create = async (event) => {
    event.preventDefault();
    setWrong("");
    const { name, usd, expires } = Object.fromEntries(new FormData(form.current));
    const json = { name };
    if (usd) json.budgets = [{ usd: Number(usd), every: "month" }];
    if (expires) json.expires = expires;
    try {
      show(await page.api("/admin/keys", { json }), "");
      form.current.reset();
    } catch (error) {
      if (error.status === 401) throw error;
      setWrong(error.message);
      return;
    }
    reload();
  };
  const field = (label, input) => h("label.field", h("span", label), input);
  return h(Panel, { title: "New key", note: "More settings: PATCH /admin/keys/NAME, or tiergate keys change." },
    h("form.bar", { ref: form, onsubmit: create },
      field("Name", h("input", { type: "text", name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9._@\\-]*", placeholder: "website" })),
      field("USD a month", h("input", { type: "number", name: "usd", min: 0, step: "any", placeholder: "none" })),
      field("Expires", h("input", { type: "date", name: "expires" })),
      h("button.main", { type: "submit" }, "Create")),
    h("p.wrong", { role: "alert" }, wrong));
}

/** A secret, until it is closed; nobody can see it again. */
function Secret({ secret, close }) {
  return h("div.notice",
    h("p", `The secret of ${secret.name}, shown only once: `, h("code.secret", secret.secret), secret.note ? ` ${secret.note}` : ""),
    h("button", { type: "button", onclick: close }, icon("off"), h("span", "I have copied it")));
}

const path = (name) => `/admin/keys/${encodeURIComponent(name)}`;
