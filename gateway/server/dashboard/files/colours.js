// A colour for each name, the same on all pages: eight colours, each plain, striped and dotted.
const COLOURS = 8;
const PATTERNS = 3;
/** The look of all others together. */
export const OTHERS = { tone: 0, pattern: 0 };
const given = new Map(); // names by what they name, the longest unseen first

/** The looks of the names in a chart: never one twice. A name keeps its look until 24 others have come after it. */
export function looks(dimension, names) {
  if (!given.has(dimension)) given.set(dimension, start(dimension));
  const known = given.get(dimension);
  for (const name of names) {
    const look = known.get(name);
    if (!look) continue;
    known.delete(name);
    known.set(name, look); // seen last
  }
  for (const name of names) if (!known.has(name)) known.set(name, free(known, name, names));
  return names.map((name) => known.get(name));
}

function start(dimension) {
  const fixed = dimension === "tier" ? [["fast", 2], ["smart", 1], ["reasoning", 5]] : [];
  return new Map(fixed.map(([name, tone]) => [name, { tone, pattern: 0 }]));
}

function free(known, name, shown) {
  const taken = new Set([...known.values()].map(({ tone, pattern }) => tone + pattern * COLOURS));
  const first = hash(name) % COLOURS;
  for (let at = 0; at < COLOURS * PATTERNS; at += 1) {
    const look = { tone: ((first + at) % COLOURS) + 1, pattern: Math.floor(at / COLOURS) };
    if (!taken.has(look.tone + look.pattern * COLOURS)) return look;
  }
  const oldest = [...known.keys()].find((one) => !shown.includes(one));
  const look = known.get(oldest);
  known.delete(oldest);
  return look;
}

/** The same number for the same name in every browser, so that reloading keeps most colours. */
function hash(name) {
  let sum = 7;
  for (const sign of name) sum = (sum * 31 + sign.codePointAt(0)) % 65521;
  return sum;
}
