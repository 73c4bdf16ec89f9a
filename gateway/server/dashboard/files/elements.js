// Elements of pages, on Preact. Text is only ever set as text: nothing that was read becomes markup.
import { h as create } from "./vendor/preact.js";

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
  split: "M12 20v-7 M12 13L5 6 M12 13l7-7 M5 10V6h4 M15 6h4v4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z M12 2.500v2 M12 19.500v2 M2.500 12h2 M19.500 12h2 M5.300 5.300l1.400 1.400 M17.300 17.300l1.400 1.400 M5.300 18.700l1.400-1.400 M17.300 6.700l1.400-1.400",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z",
  leave: "M10 4H5v16h5 M14 8l4 4-4 4 M18 12H9",
  up: "M7 14l5-5 5 5",
  down: "M7 10l5 5 5-5",
  check: "M5 12.500l4.500 4.500L19 7.500",
  warn: "M12 4l9 16H3z M12 10v4.500 M12 17.500h.01",
  off: "M6 6l12 12 M18 6L6 18",
  "thumb-up": "M4 11h3v9H4z M7 11l4-7c1.500 0 2.500 1 2.200 2.600L12.500 10H18c1.400 0 2.200 1.100 1.900 2.300l-1.500 6c-.2 1-1 1.700-2 1.700H7",
  "thumb-down": "M4 13h3V4H4z M7 13l4 7c1.500 0 2.500-1 2.200-2.600L12.500 14H18c1.400 0 2.200-1.100 1.900-2.300l-1.500-6c-.2-1-1-1.700-2-1.700H7",
  star: "M12 4l2.400 5 5.600.7-4.100 3.800 1.100 5.500-5-2.800-5 2.800 1.100-5.500L4 9.700 9.600 9z",
};

/**
 * An element or a component: `h("div.card#id", {attributes}, ...children)` or `h(Component, {properties}, ...children)`.
 * Attributes that are null, undefined or false are left out.
 */
export function h(what, ...rest) {
  const hasAttributes = rest[0]?.constructor === Object;
  const given = hasAttributes ? rest.shift() : {};
  if (typeof what === "function") return create(what, given, ...rest);
  const [, tag, more] = /^([a-z0-9]+)(.*)$/.exec(what);
  const attributes = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null && value !== undefined && value !== false));
  const classes = [];
  for (const [, sign, name] of more.matchAll(/([.#])([\w-]+)/g)) {
    if (sign === "#") attributes.id = name;
    else classes.push(name);
  }
  if (attributes.class) classes.push(attributes.class);
  if (classes.length) attributes.class = classes.join(" ");
  return create(tag, attributes, ...rest);
}

export function icon(name) {
  return create("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", class: `icon icon-${name}` }, ICONS[name].split(/ (?=M)/).map((d) => create("path", { d })));
}

/** Tells those who listen to the page rather than look at it. */
export function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}
