// Elements, tables and controls. Text is only ever set as text: nothing that was read becomes markup.

import { render } from "./vendor/preact.js";

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  mark: "M4 18h16 M4 12h10.5 M4 6h5",
  chart: "M4 19V5 M4 19h16 M8 15l3.5-4 3 2.5L20 8",
  list: "M8 6h12 M8 12h12 M8 18h12 M4 6h.01 M4 12h.01 M4 18h.01",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z M12 7.5V12l3 2",
  target: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z M12 1.5V5 M12 19v3.5 M1.5 12H5 M19 12h3.5",
  coin: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z M14.8 9.2c-.5-1-1.500-1.500-2.800-1.500-1.600 0-2.700.8-2.700 2s1.100 1.800 2.700 2.100 2.900.9 2.900 2.300-1.200 2.200-2.900 2.200c-1.400 0-2.500-.6-3-1.700 M12 6v1.700 M12 16.300V18",
  key: "M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8z M11 12.500L20 4 M16.500 7.500l2.500 2.500",
  play: "M7 5l11 7-11 7z",
  rules: "M5 5h7 M5 12h14 M5 19h10 M16 3v4 M9 10v4 M18 17v4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z M12 2.500v2 M12 19.500v2 M2.500 12h2 M19.500 12h2 M5.300 5.300l1.400 1.400 M17.300 17.300l1.400 1.400 M5.300 18.700l1.400-1.400 M17.300 6.700l1.400-1.400",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z",
  leave: "M10 4H5v16h5 M14 8l4 4-4 4 M18 12H9",
  down: "M7 10l5 5 5-5",
  check: "M5 12.500l4.500 4.500L19 7.500",
  warn: "M12 4l9 16H3z M12 10v4.500 M12 17.500h.01",
  off: "M6 6l12 12 M18 6L6 18",
};

/**
 * An element: `h("div.card#id", {attributes}, ...children)`. `on…` attributes are listeners, null and false are left
 * out; children are elements, texts, or lists of them.
 */
export function h(what, ...rest) {
  const [, tag, more] = /^([a-z0-9]+)(.*)$/.exec(what);
  const made = document.createElement(tag);
  for (const [, sign, name] of more.matchAll(/([.#])([\w-]+)/g)) {
    if (sign === "#") made.id = name;
    else made.classList.add(name);
  }
  const [first] = rest;
  const named = first && typeof first === "object" && !Array.isArray(first) && !(first instanceof Node);
  if (named) {
    rest.shift();
    for (const [name, value] of Object.entries(first)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name === "value") made.value = value;
      else if (name === "class") made.classList.add(...value.split(" ").filter(Boolean));
      else made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...rest.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false).map((one) => (typeof one === "object" && !(one instanceof Node) ? drawn(one) : one)));
  return made;
}

/** What Preact draws, as a node. */
function drawn(one) {
  const place = document.createElement("span");
  render(one, place);
  return place;
}

export function icon(name) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", "0 0 24 24");
  made.setAttribute("aria-hidden", "true");
  made.classList.add("icon", `icon-${name}`);
  for (const one of ICONS[name].split(/ (?=M)/)) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", one);
    made.append(path);
  }
  return made;
}

export function clear(node) {
  node.replaceChildren();
  return node;
}

/** Tells whoever listens to the page rather than looks at it. */
export function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}

/** A box with a title, and what belongs to the title at its right. */
export function panel(title, { note, aside, id } = {}, ...children) {
  const head = h("div.panel-head", h("h2", title), note ? h("p.faint", note) : null, aside ?? null);
  return h("section.panel", { id, "aria-label": title }, head, children);
}

/** Where there is nothing yet: what that means, and what to do. */
export function empty(title, ...text) {
  return h("div.empty", h("p.empty-title", title), text.map((one) => h("p", one)));
}

/** A labelled choice of `[value, label]`. */
export function choice(label, options, value, onchange, { hide = false } = {}) {
  const box = h("select", { onchange: () => onchange(box.value) }, options.map(([one, text]) => h("option", { value: one }, text)));
  box.value = value;
  return h("label.field", h("span", { class: hide ? "hidden" : null }, label), box);
}

/** Buttons of which one is pressed: a choice that is seen whole. */
export function segments(label, options, value, onchange) {
  const box = h("div.segments", { role: "group", "aria-label": label });
  const mark = (chosen) => { for (const one of box.children) one.setAttribute("aria-pressed", String(one.dataset.value === chosen)); };
  for (const [one, text, full] of options) {
    box.append(h("button", { type: "button", "data-value": one, "aria-label": full, onclick: () => { mark(one); onchange(one); } }, text));
  }
  mark(value);
  return box;
}

/**
 * A table that is sorted by its heads, also from the keyboard.
 * `columns`: {name, label, unit, cell(row) -> text or element, order(row) -> what is compared, number, hint}; a column
 * without `order` is not sorted by. `sort` is a name, with a minus for the largest first. Unknown goes last either way.
 */
export function table(caption, columns, rows, { sort = "", seen = false, key } = {}) {
  let [by, down] = [sort.replace(/^-/, ""), sort.startsWith("-")];
  const body = h("tbody");
  const heads = columns.map((column) => {
    const label = h("span", column.label, column.unit ? h("span.unit", ` ${column.unit}`) : null);
    const press = () => {
      down = by === column.name ? !down : Boolean(column.number);
      by = column.name;
      draw();
      say(`Sorted by ${column.label}, ${down ? "descending" : "ascending"}`);
    };
    const inside = column.order ? h("button", { type: "button", onclick: press }, label, h("span.arrow", { "aria-hidden": "true" })) : label;
    return h("th", { scope: "col", class: column.number ? "number" : null, title: column.hint, "data-name": column.name }, inside);
  });
  function draw() {
    const column = columns.find((one) => one.name === by);
    const sorted = column?.order ? [...rows].sort((a, b) => compare(column.order(a), column.order(b), down)) : rows;
    body.replaceChildren(...sorted.map((row) => h("tr", { "data-key": key?.(row) }, columns.map((one, at) => cell(one, row, at)))));
    columns.forEach((one, at) => {
      const head = heads[at];
      if (one.name === by && one.order) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }
  draw();
  const made = h("table", h("caption", { class: seen ? null : "hidden" }, caption), h("thead", h("tr", heads)), body);
  const box = h("div.scroll", { tabindex: 0, role: "region", "aria-label": `${caption}, table` }, made);
  /** Other rows, in the order that was chosen. */
  box.set = (others) => {
    rows = others;
    draw();
  };
  return box;
}

function cell(column, row, at) {
  const found = column.cell(row);
  return h(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : null, class: column.number ? "number" : null }, found);
}

function compare(a, b, down) {
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1;
  if (b === null || b === undefined) return -1;
  const found = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  return down ? -found : found;
}

/** A bar of how much is used, from 0 to 1; `mark` is a place on it. Its text stands beside it. */
export function meter(part, { tone = "", mark } = {}) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", "0 0 100 8");
  made.setAttribute("preserveAspectRatio", "none");
  const bar = (x, width, name) => {
    const one = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries({ x, y: 0, width, height: 8, class: name })) one.setAttribute(key, value);
    made.append(one);
  };
  bar(0, Math.max(part > 0 ? 0.8 : 0, Math.min(1, part) * 100), `fill ${tone}`);
  if (mark !== undefined && mark !== null) bar(Math.min(99.4, mark * 100), 0.6, "mark");
  return h("div.meter", { "aria-hidden": "true" }, made);
}

/**
 * Calls `work` now, and every so many seconds while the page is seen, until `signal`. A failure of the first call is
 * the caller's; of later ones the page tells, and goes on: `trouble` is heard by its frame.
 */
export async function every(seconds, work, signal) {
  let timer;
  const again = async () => {
    clearTimeout(timer);
    if (signal.aborted) return;
    try {
      if (!document.hidden) await work();
      if (!signal.aborted) dispatchEvent(new CustomEvent("trouble", { detail: null }));
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      dispatchEvent(new CustomEvent("trouble", { detail: error }));
    }
    wait();
  };
  const wait = () => { if (!signal.aborted && seconds > 0) timer = setTimeout(again, seconds * 1000); };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && seconds > 0) again(); }, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  try {
    if (!document.hidden) await work();
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    wait();
    throw error;
  }
  wait();
}
