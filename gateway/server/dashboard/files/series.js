// What `/admin/series` and `/admin/latency` answer, as columns for charts.
import { OTHERS, looks } from "./colours.js";

const MOST = 7;
/** What all groups that a chart does not show are called together. */
export const OTHER = "all others";

/** What a group of a series is called; "none" is for calls without a value. */
export function name(row, by) {
  return row[by] ?? "none";
}

/** A number of money or of things; null is unknown. */
export function number(value) {
  return value === null || value === undefined ? null : Number(value);
}

/** Tokens of a row in and out, null if no provider reported any. */
export function tokens(row) {
  const parts = [row.input, row.cache_read, row.cache_write, row.output].filter((one) => one !== null);
  return parts.length ? parts.reduce((sum, one) => sum + one, 0) : null;
}

/**
 * A series for each of the largest groups, and one for all others together. `of(row)` is a number or null; a slot
 * without a call has null, which is drawn as nothing.
 */
export function split(answer, by, of) {
  const totals = answer.totals.map((row) => [name(row, by), of(row)]).sort((a, b) => (b[1] ?? -1) - (a[1] ?? -1));
  const shown = totals.slice(0, totals.length > MOST + 1 ? MOST : MOST + 1).map(([one]) => one);
  const names = totals.length > shown.length ? [...shown, OTHER] : shown;
  const at = new Map(names.map((one, n) => [one, n]));
  const values = names.map(() => Array(answer.starts.length).fill(null));
  for (const row of answer.groups) {
    const value = of(row);
    if (value === null) continue;
    const column = values[at.get(name(row, by)) ?? names.length - 1];
    column[row.slot] = (column[row.slot] ?? 0) + value;
  }
  const given = looks(by, shown);
  return names.map((one, n) => ({ name: one, values: values[n], ...(given[n] ?? OTHERS) }));
}

/** One value for each slot, of all groups together: `add(sum, row)` from `start`; null where there was no call. */
export function whole(answer, add, start = 0) {
  const values = Array(answer.starts.length).fill(null);
  for (const row of answer.groups) values[row.slot] = add(values[row.slot] ?? start, row);
  return values;
}

/** What is not known of each slot's money, in words; undefined where all is. */
export function missing(answer) {
  if (!answer.total.unknown) return undefined;
  return whole(answer, (sum, row) => sum + row.unknown).map((count) => (count ? `${count} of unknown cost` : null));
}
