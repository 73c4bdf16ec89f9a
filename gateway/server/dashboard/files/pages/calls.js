// Calls as they end, newest first, or sorted and searched; and of each why it was decided so.
import { COLUMNS, ColumnChoice, clock, readColumns } from "../call_columns.js";
import { CallDetail } from "../call_detail.js";
import { NEWEST, entriesQuery, useCalls } from "../calls_live.js";
import { Conversations } from "../conversations.js";
import { h, icon, say } from "../elements.js";
import { count } from "../figures.js";
import { FilterBar } from "../filters.js";
import { Empty, Segments } from "../parts.js";
import { RANGES, readQuestion, sharedPairs } from "../question.js";
import { useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";

export const title = "Calls";
const TIMES = [["any", "Newest", "Any time, the newest first"], ...RANGES];
const VIEWS = [["calls", "Calls"], ["threads", "Conversations"]];
const SORTS = new Set(COLUMNS.flatMap(({ sort }) => (sort ? [sort, `-${sort}`] : [])));
const MOST_EXPORTED = 10_000;

/** What the address asks: the question of all pages, an order, a search, and whether conversations are listed. */
function readCalls(params) {
  return {
    ...readQuestion(params, { range: "any" }),
    sort: SORTS.has(params.get("sort")) ? params.get("sort") : NEWEST,
    search: params.get("search") ?? "",
    view: params.get("view") === "threads" ? "threads" : "calls",
  };
}

function callsPairs(question) {
  const { sort, search, view } = question;
  return [...sharedPairs(question), ...(search ? [["search", search]] : []), ...(sort === NEWEST ? [] : [["sort", sort]]), ...(view === "calls" ? [] : [["view", view]])];
}

export function Page({ page }) {
  const [question, ask] = useState(() => readCalls(page.params));
  const [open, setOpen] = useState({ id: page.item, focused: false });
  const list = useRef();
  const place = (next, id) => page.keep(callsPairs(next), id);
  const change = (next) => { place(next, open.id); ask(next); };
  const show = (id, focused) => { place(question, id); setOpen({ id, focused }); };
  const close = () => {
    const { id } = open;
    show("", false);
    const line = list.current?.querySelector(`tr[data-id="${CSS.escape(id)}"]`) ?? list.current?.querySelector("[tabindex]");
    line?.focus();
  };
  return h("div.page",
    h(FilterBar, { page, question, change, ranges: TIMES, compared: false },
      h(Segments, { label: "View", options: VIEWS, value: question.view, onchange: (view) => change({ ...question, view }) })),
    question.view === "threads" ? h(Conversations, { page, question }) : h("div.split", { class: open.id ? "open" : null },
      h("div.list", { ref: list }, h(List, { page, question, change, open, show, close })),
      open.id ? h(CallDetail, { page, ...open, close }) : null));
}

function List({ page, question, change, open, show, close }) {
  const calls = useCalls(page, question);
  const [names, choose] = useState(readColumns);
  const columns = useMemo(() => names.map((name) => COLUMNS.find((one) => one.name === name)), [names]);
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...entriesQuery(question, page.session.zone), format: "csv", limit: MOST_EXPORTED })) for (const one of [value].flat()) if (one) query.append(name, one);
  return h("section.panel", { "aria-label": "Calls" },
    h("div.bar.tools-bar",
      h(Search, { question, change }),
      h("span.soft", calls.loaded ? `${count(calls.rows.length)}${calls.more ? " or more" : ""} ${calls.rows.length === 1 ? "call" : "calls"}` : ""),
      h("div.end", h(Liveness, calls), h(ColumnChoice, { columns: names, change: choose }),
        h("a.button", { href: `/admin/entries?${query}`, download: "calls.csv", title: `At most ${count(MOST_EXPORTED)} calls` }, "Export CSV"))),
    calls.problem ? h("div.notice.bad", { role: "alert" }, h("p", calls.problem),
      question.range === "24h" ? null : h("button", { type: "button", onclick: () => change({ ...question, range: "24h" }) }, "Last 24 hours")) : null,
    h(Rows, { page, question, change, columns, calls, open, show, close }),
    calls.loaded && !calls.rows.length && !calls.problem ? h(Empty, { title: "No such calls" },
      question.filters.length || question.search ? "No call is of all that is chosen above." : "Calls are here a second or two after they end.") : null,
    calls.more ? h("div.foot", h("button", { type: "button", onclick: calls.older }, "Earlier calls")) : null);
}

function Search({ question, change }) {
  const input = useRef();
  const submit = (event) => {
    event.preventDefault();
    change({ ...question, search: input.current.value.trim() });
  };
  return h("form.bar", { onsubmit: submit, role: "search", "aria-label": "Search calls" },
    h("input", { type: "search", ref: input, "aria-label": "Search", placeholder: "Id, model, key, user, problem", value: question.search, size: 26, autocomplete: "off", spellcheck: "false", onsearch: submit }),
    h("button", { type: "submit" }, "Search"));
}

/** Whether the list goes on by itself. */
function Liveness({ live, away, paused, pause }) {
  if (!live) return null;
  const text = away ? "not reached" : paused ? "paused" : "live";
  return [
    h("span.tag.liveness", { class: away ? "bad" : paused ? "warn" : "good", title: away || null }, icon(away ? "warn" : paused ? "off" : "check"), text),
    h("button", { type: "button", onclick: pause }, paused ? "Follow" : "Pause"),
  ];
}

/** The table: one row can be reached by Tab, and arrows go on from there. */
function Rows({ page, question, change, columns, calls: { rows }, open, show, close }) {
  const body = useRef();
  const goal = useRef(null); // the row that gets the focus when it is drawn
  const [current, setCurrent] = useState("");
  const reached = rows.some((row) => row.id === current) ? current : rows.some((row) => row.id === open.id) ? open.id : rows[0]?.id;
  useLayoutEffect(() => {
    if (goal.current === null) return;
    body.current.querySelector(`tr[data-id="${CSS.escape(goal.current)}"]`)?.focus();
    goal.current = null;
  });
  const keys = (event) => {
    const id = event.target.closest("tr")?.dataset.id;
    if (id === undefined) return;
    const at = rows.findIndex((row) => row.id === id);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      const to = rows[Math.max(0, Math.min(rows.length - 1, next))].id;
      goal.current = to;
      setCurrent(to);
      if (open.id) show(to, false);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      setCurrent(id);
      show(id, true);
    } else if (event.key === "Escape" && open.id) close();
  };
  const press = ({ sort, label }) => {
    const next = question.sort === `-${sort}` ? sort : `-${sort}`;
    change({ ...question, sort: next });
    say(`Sorted by ${label}, ${next === sort ? "ascending" : "descending"}`);
  };
  const actions = useRef();
  actions.current = (id) => { setCurrent(id); show(id, true); };
  const select = useMemo(() => (id) => actions.current(id), []);
  return h("div.scroll.flush", { role: "region", "aria-label": "Calls, newest first", tabindex: 0 },
    h("table.calls", h("caption.hidden", "Calls. Up and Down move, Enter opens, Escape closes."),
      h("thead", h("tr", columns.map((column) => h(SortHead, { column, sort: question.sort, press })))),
      h("tbody", { onkeydown: keys, ref: body },
        rows.map((row) => h(Row, { key: row.id, row, columns, zone: page.session.zone, selected: row.id === open.id, reached: row.id === reached, select })))));
}

function SortHead({ column, sort, press }) {
  const order = column.sort === sort ? "ascending" : `-${column.sort}` === sort ? "descending" : null;
  return h("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": order },
    column.sort ? h("button", { type: "button", onclick: () => press(column) }, column.label, h("span.arrow", { "aria-hidden": "true" })) : column.label);
}

/** A row, drawn anew only if something in it is another. */
function Row({ row, columns, zone, selected, reached, select }) {
  return useMemo(() => h("tr.call", {
    tabindex: reached ? 0 : -1, "data-id": row.id, "aria-selected": selected ? "true" : null, onclick: () => select(row.id),
    "aria-label": `${clock(row.at, zone)}, ${row.asked ?? "no model"}, ${row.tier ?? "no tier"}, status ${row.status ?? "unknown"}`,
  }, columns.map((column) => h("td", { class: column.number ? "number" : null }, column.cell(row, zone)))), [row, columns, zone, selected, reached]);
}
