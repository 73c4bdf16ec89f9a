// Conversations, those with the newest calls first: what each has cost, and its calls in their order.
import { clock, status } from "./call_columns.js";
import { Thread } from "./call_detail.js";
import { h } from "./elements.js";
import { brief, count, money, span } from "./figures.js";
import { Empty, Panel } from "./parts.js";
import { parameters } from "./question.js";
import { tokens } from "./series.js";
import { tier } from "./trace.js";
import { useEffect, useState } from "./vendor/preact.js";

const PAGE = 50;

export function Conversations({ page, question }) {
  const [list, setList] = useState(null);
  const query = { ...parameters(question, page.session.zone), limit: PAGE };
  const load = async (before, former, signal) => {
    const answer = await page.api("/admin/conversations", { query: { ...query, before }, signal });
    if (!signal.aborted) setList({ rows: [...former, ...answer.conversations], next: answer.next });
  };
  useEffect(() => {
    const ending = new AbortController();
    load("", [], ending.signal).catch((error) => { if (error.name !== "AbortError") dispatchEvent(new CustomEvent("trouble", { detail: error })); });
    return () => ending.abort();
  }, [JSON.stringify(query)]);
  if (!list) return null;
  if (!list.rows.length) return h(Panel, { title: "Conversations" }, h(Empty, { title: "No conversations" }, "No call of this time and of these filters belongs to a conversation."));
  return h(Panel, { title: "Conversations", note: question.range === "any" ? "Of the last 24 hours" : null },
    h("ul.threads", list.rows.map((row) => h(Conversation, { key: row.conversation, page, row }))),
    list.next ? h("div.foot", h("button", { type: "button", onclick: () => load(list.next, list.rows, page.signal) }, "Earlier conversations")) : null);
}

function Conversation({ page, row }) {
  const [open, setOpen] = useState(false);
  const { last_call: last, conversation } = row;
  const lasts = row.last - row.first;
  return h("li", h("details", { ontoggle: (event) => setOpen(event.target.open) },
    h("summary",
      h("span.thread-head",
        h("b", clock(row.last, page.session.zone)), tier(last.tier), h("span.wrap", last.model ?? "–"), status(last),
        h("span.soft", `${count(row.calls)} ${row.calls === 1 ? "call" : "calls"}${lasts >= 1 ? ` in ${span(lasts)}` : ""}`),
        h("span.faint", row.keys.join(", ")),
        h("span.soft", tokens(row) === null ? "" : `${brief(tokens(row))} tokens`), h("b.amount", money(row.cost, row.unknown)))),
    open ? h(Thread, { page, row: { id: "", conversation }, since: String(Math.floor(row.first)) }) : null));
}
