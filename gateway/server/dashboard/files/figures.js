// Figures as people read them. Unknown is said to be unknown; it is never drawn or added as 0.
import { h } from "./elements.js";

export const UNKNOWN = "unknown";
const whole = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** A number of things. */
export function count(value) {
  return value === null || value === undefined ? UNKNOWN : whole.format(value);
}

/** The same in few signs. */
export function brief(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return Math.abs(value) < 10000 ? whole.format(value) : short.format(value);
}

/** USD, of a number or an exact text. */
export function usd(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const amount = Number(value);
  const size = Math.abs(amount);
  let digits = 2;
  if (size > 0 && size < 1) digits = size < 0.0001 ? 6 : 4;
  if (size >= 100000) return `${amount < 0 ? "-" : ""}$${short.format(size)}`;
  const text = size.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${amount < 0 ? "-" : ""}$${text}`;
}

/** Seconds, in the unit that fits. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 s";
  if (value < 0.0995) return `${(value * 1000).toFixed(value < 0.00995 ? 1 : 0)} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 100) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  return span(value);
}

/** A long time: 3 min, 5 h 20 min, 4 d. */
export function span(value) {
  const at = Math.max(0, Math.round(value));
  if (at < 60) return `${at} s`;
  if (at < 3600) return `${Math.round(at / 60)} min`;
  if (at < 86400) {
    const hours = Math.floor(at / 3600);
    const minutes = Math.round((at % 3600) / 60);
    return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  }
  const days = at / 86400;
  return `${days < 10 ? days.toFixed(1).replace(/\.0$/, "") : Math.round(days)} d`;
}

/** A part of a whole, both numbers; a dash where there is no whole. */
export function share(part, all) {
  if (!all || part === null || part === undefined) return "–";
  return percent(part / all);
}

export function percent(value) {
  if (value === null || value === undefined) return "–";
  const found = value * 100;
  if (found > 0 && found < 0.1) return "<0.1 %";
  return `${found.toFixed(Math.abs(found) < 9.95 && found !== 0 ? 1 : 0)} %`;
}

/** A moment, in a zone. */
export function moment(at, zone) {
  if (at === null || at === undefined) return "–";
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, dateStyle: "medium", timeStyle: "medium" }).format(at * 1000);
}

/** How long ago. */
export function ago(at, now = Date.now() / 1000) {
  return at === null || at === undefined ? "–" : `${span(now - at)} ago`;
}

/**
 * Money of which some may not be known: `unknown` is of how many calls. Where that is 0 and there is no money at all,
 * nothing was billed that could be known; without a number it is unknown as a whole.
 */
export function money(known, unknown) {
  if (known === null || known === undefined) return unknown === 0 ? "–" : h("span.unknown", UNKNOWN);
  if (!unknown) return usd(known);
  return h("span", usd(known), h("span.unknown", { title: `The cost of ${count(unknown)} calls is not known` }, ` + ${count(unknown)} unknown`));
}

/** How much a figure has changed since the time before, in words; null where that is not known. */
export function change(now, then, format) {
  if (now === null || now === undefined || then === null || then === undefined) return null;
  if (!then) return now ? `was ${format(then)}` : "as before";
  const part = (now - then) / Math.abs(then);
  if (Math.abs(part) < 0.0005) return "as before";
  return `${part > 0 ? "+" : "−"}${percent(Math.abs(part))}, was ${format(then)}`;
}

/** How much a share of calls has changed, in percentage points; null if it is not known. */
export function shareChange(now, then) {
  if (now === null || then === null) return null;
  const points = (now - then) * 100;
  if (Math.abs(points) < 0.05) return "as before";
  return `${points > 0 ? "+" : "−"}${Math.abs(points).toFixed(1)} pp, was ${percent(then)}`;
}
