// Calls as they end, newest first, and of each why it was decided so.
import { choice, clear, empty, every, h, icon, say } from "../draw.js";
import { count, moment, seconds, usd } from "../figures.js";
import { decision, facts, grid, part, tier, tree } from "../trace.js";

export const title = "Calls";

const BEAT = 2; // seconds between looks
const PAGE = 100;
const MANY = 500; // calls between two looks, from which on some are left out
const MOST = 1000; // rows that are kept in the page
const FIELDS = [["lab", "Lab"], ["model", "Model"], ["key", "Key"], ["user", "User"], ["team", "Team"], ["tenant", "Tenant"], ["rule", "Rule"], ["guard", "Guard"], ["arm", "Arm"], ["status", "Status"], ["tag", "Tag"], ["conversation", "Conversation"]];
const TIERS = [["", "All"], ["fast", "Fast"], ["smart", "Smart"], ["reasoning", "Reasoning"]];
const HEADS = [["Time"], ["Status"], ["Asked"], ["Served by"], ["Tier"], ["Cost", 1], ["Tokens in", 1], ["out", 1], ["First token", 1], ["Latency", 1], ["Cache"], ["Attempts", 1], ["Decided by"], ["Key"]];

export async function render(root, { api, params, signal, keep, session, item }) {
  const chosen = Object.fromEntries(["tier", ...FIELDS.map(([name]) => name)].map((name) => [name, params.get(name) ?? ""]));
  const rows = new Map(); // by id: {row, line}
  let order = []; // ids, newest first
  let cursor = null;
  let more = false;
  let paused = false;
  let open = item || "";
  let turn = 0; // answers to an earlier question are not taken

  const lists = FIELDS.map(([name]) => h("datalist", { id: `known-${name}` }));
  const body = h("tbody", { onkeydown: keys });
  const older = h("button", { type: "button", hidden: true, onclick: () => page(order.at(-1)) }, "Earlier calls");
  const none = h("div");
  const state = h("span.tag");
  const stop = h("button", { type: "button", onclick: () => { paused = !paused; tell(); if (!paused) follow(); } });
  const detail = h("aside.detail.panel", { hidden: true, "aria-label": "One call", tabindex: -1, onkeydown: (event) => { if (event.key === "Escape") shut(); } });
  const list = h("section.panel.list", { "aria-label": "Calls" },
    h("div.scroll.flush", { role: "region", "aria-label": "Calls, newest first", tabindex: 0 },
      h("table.calls", h("caption.hidden", "Calls, newest first. Up and Down move, Enter opens, Escape closes."),
        h("thead", h("tr", HEADS.map(([label, wide]) => h("th", { scope: "col", class: wide ? "number" : null }, label)))), body)),
    none, h("div.foot", older));
  const frame = h("div.split", list, detail);
  root.append(filters(), ...lists, frame);
  tell();

  if (open) show(open);
  await begin();
  await every(BEAT, follow, signal);

  function filters() {
    const change = () => { address(); begin(); };
    const boxes = FIELDS.map(([name, label]) => h("label.field", h("span", label), h("input", {
      type: "search", value: chosen[name], list: `known-${name}`, size: 11, autocomplete: "off", spellcheck: false, "data-filter": name,
      onchange: (event) => { chosen[name] = event.target.value.trim(); change(); },
    })));
    const fresh = h("button.quiet", { type: "button", onclick: () => {
      for (const name of Object.keys(chosen)) chosen[name] = "";
      for (const box of bar.querySelectorAll("input, select")) box.value = "";
      change();
    } }, "Clear");
    const bar = h("form.bar.filters", { role: "search", "aria-label": "Which calls", onsubmit: (event) => { event.preventDefault(); } },
      h("details.more", { open: Object.values(chosen).some(Boolean) || !matchMedia("(max-width: 820px)").matches },
        h("summary", "Choose calls"),
        h("div.bar", choice("Tier", TIERS, chosen.tier, (value) => { chosen.tier = value; change(); }), boxes, fresh)),
      h("div.end", state, stop));
    return bar;
  }

  function only() {
    return Object.entries(chosen).filter(([, value]) => value).map(([name, value]) => `${name}:${value}`);
  }

  function address() {
    keep(chosen, open);
  }

  function tell(wrong = "") {
    const text = wrong ? "not reached" : paused ? "paused" : "live";
    if (state.textContent === text) return;
    state.className = `tag ${wrong ? "bad" : paused ? "warn" : "good"}`;
    state.title = wrong;
    clear(state).append(icon(wrong ? "warn" : paused ? "off" : "check"), text);
    stop.textContent = paused ? "Follow" : "Pause";
  }

  /** Asks anew, by the filters. */
  async function begin() {
    turn += 1;
    rows.clear();
    order = [];
    cursor = null;
    clear(body);
    await page();
  }

  async function page(before) {
    const mine = turn;
    const told = await api("/admin/entries", { query: { order: "newest", before, limit: PAGE, format: "json", only: only() }, signal });
    if (signal.aborted || mine !== turn) return;
    cursor ??= told.cursor;
    more = told.entries.length === PAGE;
    for (const row of told.entries) put(row);
    drawn();
  }

  /** What has come since. */
  async function follow() {
    if (paused || cursor === null) return;
    const mine = turn;
    let told;
    try {
      told = await api("/admin/entries", { query: { after: cursor, limit: MANY, format: "json", only: only() }, signal });
    } catch (error) {
      if (signal.aborted || error.status === 401) throw error;
      tell(error.message); // it is asked again
      if (error.status === 400) await begin(); // the ledger was made anew: its old places mean nothing
      return;
    }
    if (signal.aborted || mine !== turn || paused) return;
    tell();
    if (told.entries.length === MANY) { // more than anybody reads: go on with the newest
      await begin();
      return;
    }
    cursor = told.cursor ?? cursor;
    const oldest = more ? rows.get(order.at(-1))?.row.at ?? 0 : 0;
    const fresh = told.entries.filter((row) => row.at >= oldest);
    const unseen = fresh.filter((row) => !rows.has(row.id)).length;
    for (const row of fresh) put(row);
    if (fresh.length) drawn();
    if (unseen) say(`${count(unseen)} new ${unseen === 1 ? "call" : "calls"}`);
  }

  /** A row in its place: those that are there stay as they are, with what is focused. */
  function put(row) {
    const known = rows.get(row.id);
    const line = draw(row);
    if (known) {
      const focused = document.activeElement === known.line;
      known.line.replaceWith(line);
      rows.set(row.id, { row, line });
      if (focused) line.focus();
      return;
    }
    let at = order.findIndex((id) => later(row, rows.get(id).row));
    if (at < 0) at = order.length;
    const next = order[at] ? rows.get(order[at]).line : null;
    body.insertBefore(line, next);
    order.splice(at, 0, row.id);
    rows.set(row.id, { row, line });
  }

  function drawn() {
    while (order.length > MOST) {
      const last = order.pop();
      rows.get(last).line.remove();
      rows.delete(last);
      more = true;
    }
    older.hidden = !more || order.length >= MOST;
    clear(none);
    if (!order.length) none.append(empty("No such calls", only().length ? "No call is of all that is chosen above." : "Calls are here a second or two after they end."));
    FIELDS.forEach(([name], at) => {
      const known = new Set([...rows.values()].flatMap(({ row }) => (name === "tag" ? row.tags : name === "guard" ? row.guards : [row[name]])).filter((one) => one !== null && one !== undefined));
      lists[at].replaceChildren(...[...known].slice(0, 100).map((one) => h("option", { value: String(one) })));
    });
    rove();
  }

  function draw(row) {
    const failed = row.problem || row.state === "failed" || row.state === "refused";
    const by = row.rule ? `${row.source}: ${row.rule}` : row.source ?? "–";
    const cut = row.state === "aborted";
    const status = failed ? `${row.status ?? "–"} ${row.problem ?? row.state}` : cut ? `${row.status ?? "–"} aborted` : String(row.status ?? "–");
    const cells = [
      h("time", { datetime: new Date(row.at * 1000).toISOString(), title: moment(row.at, session.zone) }, clock(row.at, session.zone)),
      h("span.tag", { class: failed ? "bad" : cut ? "warn" : "good" }, status),
      row.asked ?? "–",
      row.served ?? row.model ?? "–",
      tier(row.tier),
      row.cost === null ? h("span.unknown", "unknown") : usd(row.cost),
      tokens(row, ["input", "cache_read", "cache_write"]),
      tokens(row, ["output", "reasoning"]),
      row.first_content === null ? "–" : seconds(row.first_content),
      row.duration === null ? "–" : seconds(row.duration),
      row.cache === "hit" ? h("span.tag.good", "hit") : row.cache,
      row.attempts > 1 ? h("span.tag.warn", { title: "Another target, or another try, answered" }, String(row.attempts)) : String(row.attempts),
      by,
      row.key,
    ];
    const label = `${clock(row.at, session.zone)}, ${row.asked ?? "no model"}, ${row.tier ?? "no tier"}, status ${row.status ?? "unknown"}`;
    return h("tr.call", {
      tabindex: -1, "data-id": row.id, "aria-label": label, "aria-selected": row.id === open ? "true" : null,
      onclick: () => show(row.id, true),
    }, cells.map((one, at) => h("td", { class: HEADS[at][1] ? "number" : null }, one)));
  }

  /** One row can be reached by Tab; arrows go on from there. */
  function rove(id) {
    const at = id ?? (rows.has(open) ? open : order[0]);
    for (const { line } of rows.values()) line.tabIndex = line.dataset.id === at ? 0 : -1;
  }

  function keys(event) {
    const line = event.target.closest("tr");
    if (!line) return;
    const at = order.indexOf(line.dataset.id);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: order.length - 1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      const found = rows.get(order[Math.max(0, Math.min(order.length - 1, next))]);
      rove(found.line.dataset.id);
      found.line.focus();
      if (open) show(found.line.dataset.id);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      show(line.dataset.id, true);
    } else if (event.key === "Escape") shut();
  }

  async function show(id, go = false) {
    open = id;
    address();
    for (const { line } of rows.values()) {
      if (line.dataset.id === id) line.setAttribute("aria-selected", "true");
      else line.removeAttribute("aria-selected");
    }
    detail.hidden = false;
    frame.classList.add("open");
    if (detail.dataset.id !== id) clear(detail).append(top(id), h("p.faint", "Loading"));
    detail.dataset.id = id;
    if (go) detail.focus();
    const at = `/admin/entries/${encodeURIComponent(id)}`;
    try {
      const [row, told] = await Promise.all([api(at, { signal }), api(`${at}/decision`, { signal })]);
      if (open === id) detail.replaceChildren(top(id), ...whole(row, told, at));
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) throw error;
      if (open === id) detail.replaceChildren(top(id), h("div.notice.bad", { role: "alert" }, error.message));
    }
  }

  function shut() {
    if (!open) return;
    const line = rows.get(open)?.line;
    open = "";
    address();
    detail.hidden = true;
    detail.dataset.id = "";
    frame.classList.remove("open");
    line?.removeAttribute("aria-selected");
    (line ?? list.querySelector("[tabindex]"))?.focus();
  }

  function top(id) {
    return h("div.panel-head", h("h2.mono", id), h("button.quiet", { type: "button", onclick: shut }, "Close"));
  }

  function whole(row, told, at) {
    const tries = row.tries.map((one) => [
      String(one.attempt), `${one.provider}/${one.model}`, one.account ?? "–", h("span.tag.bad", `${one.status ?? "–"} ${one.problem}`), seconds(one.duration), one.cost === null ? "unknown" : usd(one.cost),
    ]);
    const { basis, tries: _, ...plain } = row;
    return [
      facts([
        ["Received", moment(row.at, session.zone)],
        ["Decided", [tier(row.tier), ` ${row.lab ?? ""} by ${row.rule ? `${row.source} “${row.rule}”` : row.source ?? row.problem ?? "nobody"}`]],
        ["Arm", row.arm],
        ["Guards", row.guards.length ? row.guards.join(", ") : null],
        ["Asked for", row.asked],
        ["Served by", row.model && `${row.provider}/${row.model}${row.effort ? ` at effort ${row.effort}` : ""}`],
        ["State", `${row.state}${row.problem ? `, ${row.problem}` : ""}${row.aborted_by ? `, by ${row.aborted_by}` : ""}`],
        ["Cost", row.cost === null ? "unknown" : `${usd(row.cost)} (${row.cost})`],
        ["Lost prompt cache", row.switch_cost === null ? null : `${usd(row.switch_cost)}, once`],
        ["Tags", row.tags.join(", ")],
        ["Conversation", row.conversation && h("a", { href: `#/calls?conversation=${encodeURIComponent(row.conversation)}` }, row.conversation)],
      ]),
      ...decision(told),
      tries.length ? part("Attempts that gave no answer", grid("Attempts", ["Nr", "Target", "Account", "Error", "Took", "Cost"], tries)) : null,
      basis?.evidence && !told.basis ? part("Evidence", tree(basis.evidence)) : null,
      basis?.score && !told.basis ? part("Score", tree(basis.score)) : null,
      part("Text", words(at)),
      h("details", h("summary", "The whole row"), tree(plain)),
      basis && !told.basis ? h("details", h("summary", "All that it was decided on"), tree(basis)) : null,
    ].filter(Boolean);
  }

  /** What was said is fetched only when somebody wants to read it. */
  function words(at) {
    const box = h("div.words");
    box.append(h("button", { type: "button", onclick: async () => {
      try {
        const text = await api(`${at}/text`, { signal });
        box.replaceChildren(h("h4", "The client sent"), h("pre", { tabindex: 0 }, pretty(text.prompt)), h("h4", "The client got"), h("pre", { tabindex: 0 }, text.answer), text.cut ? h("p.faint", "Something is missing: it was too long.") : "");
      } catch (error) {
        if (error.status === 401) throw error;
        box.replaceChildren(h("p.faint", { role: "status" }, error.message));
      }
    } }, "Show what was said"));
    return box;
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function later(one, other) {
  return one.at > other.at || (one.at === other.at && one.id > other.id);
}

/** The time of day, with the day where that is not today. */
function clock(at, zone) {
  const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "2-digit", month: "short" });
  const time = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(at * 1000);
  return day.format(at * 1000) === day.format(Date.now()) ? time : `${day.format(at * 1000)}, ${time}`;
}

function tokens(row, names) {
  const known = names.map((name) => row[name]).filter((one) => one !== null);
  return known.length ? count(known.reduce((sum, one) => sum + one, 0)) : "–";
}
