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
  const [adding, add] = useState("");
  const select = useRef();
  const stop = () => { add(""); select.current?.focus(); };
  return h("div.asked", { role: "search", "aria-label": "Which calls" },
    h("div.bar",
      h(Segments, { label: "Range", options: ranges, value: question.range, onchange: (range) => set({ range }) }),
      compared ? h("button", { type: "button", "aria-pressed": String(question.compare), onclick: () => set({ compare: !question.compare }) }, "Compare") : null,
      groups ? h(Choice, { label: "Split by", options: groups, value: question.by, onchange: (by) => set({ by }) }) : null,
      h("select.add", { "aria-label": "Add a filter", ref: select, value: adding, onchange: (event) => add(event.target.value) },
        h("option", { value: "", selected: adding === "" }, "Add filter"),
        FILTERS.map(([name, text]) => h("option", { value: name, selected: adding === name }, text))),
      h("div.end", children)),
    question.range === "custom" ? h(CustomTime, { page, question, set }) : null,
    adding ? h(NewFilter, { key: adding, page, question, name: adding, stop, add: (value) => {
      set({ filters: [...question.filters.filter(([name, other]) => name !== adding || other !== value), [adding, value]] });
      say(`Only ${label(adding)} ${value}`);
      stop();
    } }) : null,
    question.filters.length ? h(Chips, { question, set, select }) : null);
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

/** The value of one more filter, with the values that calls of this time have. */
function NewFilter({ page, question, name, add, stop }) {
  const [values, setValues] = useState([]);
  const input = useRef();
  useEffect(() => {
    input.current.focus();
    if (NOT_GROUPED.has(name)) return undefined;
    const ending = new AbortController();
    const query = { ...parameters(question, page.session.zone), by: name };
    page.api("/admin/costs", { query: query.since ? query : { ...query, since: "7d" }, signal: ending.signal })
      .then((answer) => setValues(answer.groups.slice(0, MOST_SUGGESTED).map((group) => group[name]).filter((value) => value !== null)), () => {});
    return () => ending.abort();
  }, []);
  const submit = (event) => {
    event.preventDefault();
    const value = input.current.value.trim();
    if (value) add(value);
  };
  return h("form.bar", { onsubmit: submit, onkeydown: (event) => { if (event.key === "Escape") stop(); } },
    h("label.field", h("span", label(name)), h("input", { type: "text", ref: input, list: "filter-values", autocomplete: "off", spellcheck: "false", size: 28 })),
    h("datalist#filter-values", values.map((value) => h("option", { value }))),
    h("button.main", { type: "submit" }, "Add"),
    h("button.quiet", { type: "button", onclick: stop }, "Cancel"));
}

function Chips({ question, set, select }) {
  const remove = (gone) => {
    set({ filters: question.filters.filter((one) => one !== gone) });
    select.current?.focus();
  };
  return h("ul.chips", { "aria-label": "Filters" },
    question.filters.map((one) => h("li", h("button.chip", { type: "button", "aria-label": `Remove the filter ${label(one[0])} ${one[1]}`, onclick: () => remove(one) },
      h("span.faint", label(one[0])), h("span", one[1]), icon("off")))),
    question.filters.length > 1 ? h("li", h("button.quiet", { type: "button", onclick: () => { set({ filters: [] }); select.current?.focus(); } }, "Clear all")) : null);
}

