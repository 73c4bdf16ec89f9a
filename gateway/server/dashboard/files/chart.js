// Charts over time, drawn by uPlot: a panel with a legend, a plot that the arrow keys walk through, and a table of
// the same figures. Colours are those of the style sheet, in both themes.
import { h, say } from "./elements.js";
import { Panel, Table } from "./parts.js";
import { useEffect, useRef, useState } from "./vendor/preact.js";

const HEIGHT = 190;
const DASHES = [undefined, [7, 3], [2, 3]];
const STEPS = { minute: 60, hour: 3600, day: 86400 };

/** How a moment is shown on an axis and in a table, by the length of slots. */
export function clock(every, zone) {
  const forms = {
    minute: { hour: "2-digit", minute: "2-digit" },
    hour: { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
    day: { weekday: "short", day: "numeric", month: "short" },
  };
  const form = new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...forms[every] });
  return (at) => form.format(at * 1000);
}

/** When a slot of a series ends, in seconds since the epoch. */
export function slotEnd({ starts, every }, at) {
  return starts[at + 1] ?? starts[at] + STEPS[every];
}

/**
 * A chart of `data`, {starts, every, zone, until, series: [{name, values, tone, pattern, dash}], missing}: values stand by
 * the slots that begin at `starts`, null where nothing is known. `kind` is bars (put on each other) or lines, `format`
 * writes a value, `limit` is a value that is marked, and `link(slot, name)` is where a bar leads to.
 */
export function Chart({ title, kind = "bars", format, note, unit = "", wide, limit = null, cap = Infinity, data, link, class: more }) {
  const place = useRef();
  const plot = useRef();
  const [at, point] = useState(null);
  const [open, setOpen] = useState(false);
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const change = () => setTheme((count) => count + 1);
    addEventListener("themechange", change);
    const size = new ResizeObserver(() => {
      const width = place.current?.clientWidth ?? 0; // of a page that was left, there is no place any more
      if (plot.current && width > 0 && Math.abs(width - plot.current.width) > 1) plot.current.setSize({ width, height: HEIGHT });
    });
    size.observe(place.current);
    return () => { removeEventListener("themechange", change); size.disconnect(); plot.current?.destroy(); };
  }, []);
  useEffect(() => {
    plot.current?.destroy();
    plot.current = data?.starts.length && place.current ? draw(place.current, data, { kind, format, limit, cap, point, link }) : null;
  }, [data, theme]);
  const walk = (event) => {
    const last = data ? data.starts.length - 1 : -1;
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") point(null);
    if (event.key === "Enter" && link && at !== null) location.hash = link(at);
    if (!(event.key in moves) || last < 0) return;
    event.preventDefault();
    const from = at ?? (moves[event.key] < 0 ? last + 1 : -1);
    const next = Math.min(last, Math.max(0, from + moves[event.key]));
    plot.current.setCursor({ left: plot.current.valToPos(data.starts[next], "x") + 2, top: 10 });
    point(next);
    say(slotText(data, next, format));
  };
  const legend = h("ul.legend", { "aria-hidden": "true" }, (data?.series ?? []).map((one) => h("li", h(Dot, one), one.name)));
  return h(Panel, { title, note, aside: legend, wide, class: more },
    h("div.plot", { tabindex: 0, role: "img", "aria-label": data ? describe(title, data, link) : title, onkeydown: walk, onblur: () => point(null) },
      h("div", { ref: place }), at !== null && data && at < data.starts.length && plot.current ? h(Tip, { data, at, kind, format, plot: plot.current }) : null),
    h("details", { ontoggle: (event) => setOpen(event.target.open) }, h("summary", "Show as table"),
      open && data ? h(Rows, { title, data, unit, format, link }) : null));
}

function Dot({ tone, pattern = 0, dash }) {
  return h("span.dot", { class: `tone-${tone} pattern-${pattern}${dash ? " dash" : ""}` });
}

function Tip({ data, at, kind, format, plot }) {
  const { starts, series, every, zone, missing } = data;
  const known = series.filter(({ values }) => values[at] !== null && values[at] !== undefined && (kind !== "bars" || values[at] !== 0));
  const x = plot.valToPos(starts[at], "x");
  const left = plot.over.offsetLeft + Math.round(x);
  return h("div.tip", { "aria-hidden": "true", class: x > plot.over.clientWidth / 2 ? "left" : null, style: { left: `${left}px` } },
    h("p.faint", clock(every, zone)(starts[at])),
    known.length ? h("ul", known.map((one) => h("li", h(Dot, one), h("span", one.name), h("b", format(one.values[at]))))) : h("p", missing?.[at] ?? "nothing"),
    known.length && missing?.[at] ? h("p.unknown", missing[at]) : null);
}

function Rows({ title, data: { starts, series, every, zone, missing }, unit, format, link }) {
  const when = clock(every, zone);
  const columns = [
    { name: "at", label: "Time", cell: (at) => (link ? h("a", { href: link(at) }, when(starts[at])) : when(starts[at])), order: (at) => at },
    ...series.map((one, n) => ({
      name: `s${n}`, label: one.name, unit, number: true, order: (at) => one.values[at] ?? null,
      cell: (at) => (one.values[at] === null || one.values[at] === undefined ? "–" : format(one.values[at])),
    })),
    ...(missing ? [{ name: "missing", label: "Not known", cell: (at) => missing[at] ?? "" }] : []),
  ];
  return h(Table, { caption: title, columns, rows: starts.map((_, at) => at), sort: "-at" });
}

function slotText({ starts, series, every, zone, missing }, at, format) {
  const values = series.map((one) => `${one.name} ${one.values[at] === null || one.values[at] === undefined ? "nothing" : format(one.values[at])}`);
  return `${clock(every, zone)(starts[at])}: ${values.join(", ")}${missing?.[at] ? `, ${missing[at]}` : ""}`;
}

/** What the chart says in a sentence, for those who do not see it. */
function describe(title, { series, starts, every, zone }, link) {
  if (!starts.length) return `${title}: nothing`;
  const when = clock(every, zone);
  const names = series.map((one) => one.name).join(", ");
  return `${title}, ${when(starts[0])} to ${when(starts.at(-1))}: ${names}. Arrow keys read single values${link ? ", Enter opens their calls" : ""}; a table is below.`;
}

function draw(place, { starts, series, every, zone, until }, { kind, format, limit, cap, point, link }) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const tone = (number) => (number === 0 ? colour("strong") : colour(`s${number}`));
  const end = Math.max(until ?? 0, (starts.at(-1) ?? 0) + STEPS[every]);
  const stacked = kind === "bars";
  const columns = stacked ? pile(series, starts.length) : series.map((one) => one.values);
  const order = series.map((_, at) => at);
  if (stacked) order.reverse();
  const font = `11px ${style.getPropertyValue("--font")}`;
  const options = {
    width: Math.max(120, place.clientWidth), height: HEIGHT, legend: { show: false }, padding: [8, 18, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), zone),
    scales: { x: { range: [starts[0] ?? 0, end] }, y: { range: (_, low, high) => [0, Math.min(cap, top(Math.max(high ?? 0, limit ?? 0)))] } },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false }, dataIdx: (_, __, near, at) => (stacked ? before(starts, at) : near) },
    axes: [
      { stroke: colour("faint"), font, grid: { show: false }, ticks: { show: false }, space: 68, size: 28, values: (_, at) => at.map(marks(at, zone)) },
      { stroke: colour("faint"), font, grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, size: 54, space: 34, values: (_, at) => at.map((value) => format(value, true)) },
    ],
    series: [{}, ...order.map((at) => {
      const { pattern = 0, dash, values } = series[at];
      const own = tone(series[at].tone);
      return stacked
        ? { stroke: own, width: 0, fill: filling(own, colour("panel"), pattern), paths: uPlot.paths.bars({ size: [0.84, 64], align: 1, radius: 0 }), points: { show: false }, spanGaps: false }
        : { stroke: own, width: 1.8, dash: dash ? [5, 4] : DASHES[pattern], paths: uPlot.paths.linear(), points: { size: 4, fill: own, filter: () => alone(values) }, spanGaps: false };
    })],
    hooks: {
      setCursor: [(plot) => point(plot.cursor.left < 0 ? null : plot.cursor.idx ?? null)],
      draw: limit === null ? [] : [(plot) => line(plot, limit, colour("bad"))],
    },
  };
  const plot = new uPlot(options, [starts, ...order.map((at) => columns[at])], place);
  if (link) {
    plot.over.classList.add("leads");
    plot.over.addEventListener("click", () => {
      const { idx, top: y } = plot.cursor;
      if (idx !== null && idx !== undefined) location.hash = link(idx, stacked ? hit(series, columns, idx, plot.posToVal(y, "y")) : undefined);
    });
  }
  return plot;
}

/** The name of the bar at a height; undefined above all of them. */
function hit(series, columns, slot, height) {
  const at = columns.findIndex((column, n) => series[n].values[slot] && column[slot] >= height);
  return series[at]?.name;
}

/** How a bar is filled: plain, striped or dotted. */
function filling(colour, ground, pattern) {
  if (!pattern) return colour;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const brush = tile.getContext("2d");
  brush.fillStyle = colour;
  brush.fillRect(0, 0, 8, 8);
  brush.fillStyle = brush.strokeStyle = ground;
  if (pattern === 1) {
    brush.lineWidth = 2;
    brush.beginPath();
    for (const from of [-4, 4, 12]) {
      brush.moveTo(from - 6, 10);
      brush.lineTo(from + 6, -2);
    }
    brush.stroke();
  } else for (const [x, y] of [[1, 1], [5, 5]]) brush.fillRect(x, y, 2, 2);
  return brush.createPattern(tile, "repeat");
}

/** Series put on each other: each with those before it; null where none of them has a value. */
function pile(series, length) {
  const sums = Array(length).fill(null);
  return series.map((one) => one.values.map((value, at) => {
    if (value !== null && value !== undefined) sums[at] = (sums[at] ?? 0) + value;
    return sums[at];
  }));
}

/** The slot that a moment is in. */
function before(starts, at) {
  let [low, high] = [0, starts.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The values without a neighbour that a line could lead to. */
function alone(values) {
  const there = (at) => (values[at] ?? null) !== null;
  return values.flatMap((_, at) => (there(at) && !there(at - 1) && !there(at + 1) ? [at] : []));
}

function top(high) {
  if (!(high > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(high));
  return Math.ceil((high * 1.04) / (size / 2)) * (size / 2);
}

function marks(all, zone) {
  const days = all.length > 1 && all[1] - all[0] >= 86000;
  const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short" });
  const hour = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
  return (at) => {
    if (days) return day.format(at * 1000);
    const text = hour.format(at * 1000);
    return text === "00:00" ? day.format(at * 1000) : text;
  };
}

function line(plot, value, colour) {
  const y = Math.round(plot.valToPos(value, "y", true)) + 0.5;
  const { left, width } = plot.bbox;
  plot.ctx.save();
  plot.ctx.strokeStyle = colour;
  plot.ctx.lineWidth = devicePixelRatio;
  plot.ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  plot.ctx.beginPath();
  plot.ctx.moveTo(left, y);
  plot.ctx.lineTo(left + width, y);
  plot.ctx.stroke();
  plot.ctx.restore();
}
