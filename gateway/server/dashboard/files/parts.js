// What pages are made of: panels, choices, tables and figures.
import { h, say } from "./elements.js";
import { count } from "./figures.js";
import { useMemo, useState } from "./vendor/preact.js";

/** A box with a title, a note beside it, and controls at its right. */
export function Panel({ title, note, aside, wide, class: more, children }) {
  return h("section.panel", { "aria-label": title, class: [wide ? "wide" : "", more ?? ""].join(" ").trim() || null },
    h("div.panel-head", h("h2", title), note ? h("p.faint", note) : null, aside ?? null), children);
}

/** A place where there is nothing yet: what that means, and what to do. */
export function Empty({ title, children }) {
  return h("div.empty", h("p.empty-title", title), [children].flat().map((text) => h("p", text)));
}

/** A labelled choice of `[value, label]`. */
export function Choice({ label, options, value, onchange }) {
  return h("label.field", h("span", label),
    h("select", { value, onchange: (event) => onchange(event.target.value) },
      options.map(([name, text]) => h("option", { value: name, selected: name === value }, text))));
}

/** Buttons of which one is pressed: `[value, label, full label]`. */
export function Segments({ label, options, value, onchange }) {
  return h("div.segments", { role: "group", "aria-label": label }, options.map(([name, text, full]) =>
    h("button", { type: "button", "aria-label": full, "aria-pressed": String(name === value), onclick: () => onchange(name) }, text)));
}

/**
 * A table that its heads sort, also from the keyboard. A column is {name, label, unit, cell(row), order(row), number, hint}:
 * nobody sorts by one without `order`. `sort` is a name, with a minus for the largest first. Unknown goes last either way.
 */
export function Table({ caption, columns, rows, sort = "", rowKey }) {
  const [chosen, choose] = useState(sort);
  const [name, down] = [chosen.replace(/^-/, ""), chosen.startsWith("-")];
  const column = columns.find((one) => one.name === name && one.order);
  const sorted = useMemo(
    () => (column ? [...rows].sort((one, other) => compare(column.order(one), column.order(other), down)) : rows), [rows, chosen, columns]);
  const press = (one) => {
    const next = name === one.name ? !down : Boolean(one.number);
    choose(`${next ? "-" : ""}${one.name}`);
    say(`Sorted by ${one.label}, ${next ? "descending" : "ascending"}`);
  };
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": `${caption}, table` },
    h("table", h("caption.hidden", caption),
      h("thead", h("tr", columns.map((one) => h(Head, { column: one, sorted: one === column ? (down ? "descending" : "ascending") : null, press })))),
      h("tbody", sorted.map((row) => h("tr", { key: rowKey?.(row), "data-key": rowKey?.(row) }, columns.map((one, at) =>
        h(at ? "td" : "th", { scope: at ? null : "row", class: one.number ? "number" : null }, one.cell(row))))))));
}

/** The head of a column; it is a button if the table can be sorted by the column. */
export function Head({ column, sorted, press }) {
  const label = h("span", column.label, column.unit ? h("span.unit", ` ${column.unit}`) : null);
  return h("th", { scope: "col", class: column.number ? "number" : null, title: column.hint, "aria-sort": sorted },
    press && column.order ? h("button", { type: "button", onclick: () => press(column) }, label, h("span.arrow", { "aria-hidden": "true" })) : label);
}

function compare(one, other, down) {
  if (one === null || one === undefined) return other === null || other === undefined ? 0 : 1;
  if (other === null || other === undefined) return -1;
  const order = typeof one === "string" ? one.localeCompare(other, undefined, { numeric: true }) : one - other;
  return down ? -order : order;
}

/** A bar of how much is used, from 0 to 1; `mark` is a place on it. Its text stands beside it. */
export function Meter({ part, tone = "", mark }) {
  return h("div.meter", { "aria-hidden": "true" },
    h("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none" },
      h("rect", { x: 0, y: 0, width: Math.max(part > 0 ? 0.8 : 0, Math.min(1, part) * 100), height: 8, class: `fill ${tone}` }),
      mark === undefined || mark === null ? null : h("rect.mark", { x: Math.min(99.4, mark * 100), y: 0, width: 0.6, height: 8 })));
}

/** The note on sums that may lack calls; null if they lack none. */
export function damageNote({ damaged_rows: rows }) {
  return rows ? h("span.unknown", `${count(rows)} ${rows === 1 ? "row of the journal is" : "rows of the journal are"} damaged: calls may be missing`) : null;
}

/** The note on an answer for which the gateway read single calls. */
export function RowsNote({ answer }) {
  return answer.from_rows ? h("p.faint", "Read from single calls, as this question has no sums: a shorter time answers sooner.") : null;
}

/** One large figure with its name; `notes` stand below, and `href` leads to its calls. */
export function Figure({ name, value, notes = [], tone, href }) {
  return h("div.figure",
    h("dt", name),
    h("dd.value", { class: tone ?? null }, href ? h("a", { href, "aria-label": `Calls of: ${name}` }, value) : value),
    notes.filter(Boolean).map((note) => h("dd.faint", note)));
}
