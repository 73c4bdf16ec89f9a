// Moments in the time zone of the ledger.

/** A moment as `2026-11-30T09:30` in a zone: the value of an input for a date and time. */
export function localText(at, zone) {
  const form = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" });
  return form.format(at * 1000).replace(" ", "T");
}

/** Seconds since the epoch of a local date, or date and time, in a zone; null for anything else. */
export function moment(text, zone) {
  if (/^\d{9,10}(\.\d+)?$/.test(text)) return Number(text);
  if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?$/.test(text)) return null;
  const utc = Date.parse(`${text.includes("T") ? text : `${text}T00:00`}Z`) / 1000;
  if (Number.isNaN(utc)) return null;
  const offset = (at) => Date.parse(`${localText(at, zone)}Z`) / 1000 - at + (at % 60);
  return utc - offset(utc - offset(utc)); // twice: the offset at that place may be another
}

/** The first day of the month that a moment is in, or of one some months before. */
export function monthStart(at, zone, before = 0) {
  const [year, month] = localText(at, zone).split("-").map(Number);
  const months = year * 12 + month - 1 - before;
  return `${Math.floor(months / 12)}-${String((months % 12) + 1).padStart(2, "0")}-01`;
}
