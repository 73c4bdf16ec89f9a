// The controls above pages of figures and calls: the time, a comparison, a grouping, and filters as chips.
import { h, icon, say } from "./elements.js";
import { Choice, Segments } from "./parts.js";
import { FILTERS, RANGES, label, parameters } from "./question.js";
import { localText } from "./times.js";
import { useEffect, useRef, useState } from "./vendor/preact.js";

const NOT_GROUPED = new Set(["status", "conversation", "id"]);
const MOST_SUGGESTED = 100;

/** All of them; `change(question)` gets what is asked from then on. */
export function FilterBar({ page, question, change, ranges = RANGES, groups, compared = true, children }) {
  const set = (changes) => change({ ...question, ...changes });
  const [adding, setAdding] = useState(false);
  const opener = useRef();
  const stop = () => { setAdding(false); opener.current?.focus(); };
  const add = (name, value) => {
    set({ filters: [...question.filters.filter(([other, its]) => other !== name || its !== value), [name, value]] });
    say(`Only ${label(name)} ${value}`);
    stop();
  };
  return h("div.asked", { role: "search", "aria-label": "Which calls" },
    h("div.bar",
      h(Segments, { label: "Range", options: ranges, value: question.range, onchange: (range) => set({ range }) }),
      compared ? h("button", { type: "button", "aria-pressed": String(question.compare), onclick: () => set({ compare: !question.compare }) }, "Compare") : null,
      groups ? h(Choice, { label: "Split by", options: groups, value: question.by, onchange: (by) => set({ by }) }) : null,
      h("button", { type: "button", "aria-expanded": String(adding), ref: opener, onclick: () => setAdding(!adding) }, "Add filter"),
      h("div.end", children)),
    question.range === "custom" ? h(CustomTime, { page, question, set }) : null,
    adding ? h(NewFilter, { page, question, add, stop }) : null,
    question.filters.length ? h(Chips, { question, set, opener }) : null);
}

function CustomTime({ page, question, set }) {
  const zone = page.session.zone;
  const box = (name, text) => h("label.field", h("span", text), h("input", {
    type: "datetime-local", value: shown(question[name], zone), onchange: (event) => set({ [name]: event.target.value }),
  }));
  return h("div.bar", box("since", "From"), box("until", "to"), h("span.faint", zone));
}

/** A moment as the input takes it: addresses may have seconds since the epoch, or a date. */
function shown(text, zone) {
  if (/^\d{9,10}(\.\d+)?$/.test(text)) return localText(Number(text), zone);
  return /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text;
}

/** One more filter, with the values that calls of this time have. */
function NewFilter({ page, question, add, stop }) {
  const [name, choose] = useState(FILTERS[0][0]);
  const [values, setValues] = useState([]);
  const input = useRef();
  const select = useRef();
  useEffect(() => select.current.focus(), []);
  useEffect(() => {
    setValues([]);
    if (NOT_GROUPED.has(name)) return undefined;
    const ending = new AbortController();
    const query = { ...parameters(question, page.session.zone), by: name };
    page.api("/admin/costs", { query: query.since ? query : { ...query, since: "7d" }, signal: ending.signal })
      .then((answer) => setValues(answer.groups.slice(0, MOST_SUGGESTED).map((group) => group[name]).filter((value) => value !== null)), () => {});
    return () => ending.abort();
  }, [name]);
  const submit = (event) => {
    event.preventDefault();
    const value = input.current.value.trim();
    if (value) add(name, value);
  };
  return h("form.bar", { onsubmit: submit, onkeydown: (event) => { if (event.key === "Escape") stop(); } },
    h("select", { "aria-label": "Filter by", ref: select, value: name, onchange: (event) => choose(event.target.value) },
      FILTERS.map(([one, text]) => h("option", { value: one, selected: one === name }, text))),
    h("label.field", h("span", "is"), h("input", { type: "text", ref: input, list: "filter-values", autocomplete: "off", spellcheck: "false", size: 28 })),
    h("datalist#filter-values", values.map((value) => h("option", { value }))),
    h("button.main", { type: "submit" }, "Add"),
    h("button.quiet", { type: "button", onclick: stop }, "Cancel"));
}

function Chips({ question, set, opener }) {
  const remove = (gone) => {
    set({ filters: question.filters.filter((one) => one !== gone) });
    opener.current?.focus();
  };
  return h("ul.chips", { "aria-label": "Filters" },
    question.filters.map((one) => h("li", h("button.chip", { type: "button", "aria-label": `Remove the filter ${label(one[0])} ${one[1]}`, onclick: () => remove(one) },
      h("span.faint", label(one[0])), h("span", one[1]), icon("off")))),
    question.filters.length > 1 ? h("li", h("button.quiet", { type: "button", onclick: () => { set({ filters: [] }); opener.current?.focus(); } }, "Clear all")) : null);
}

