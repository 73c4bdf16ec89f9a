// Charts over time, drawn by uPlot: a panel with a legend, a plot that the arrow keys walk through, and a table of
// the same figures. Colours are those of the style sheet, in both themes.
import { clear, h, panel, say, table } from "./draw.js";

const HEIGHT = 190;
const TONES = { fast: 2, smart: 1, reasoning: 5 };
const live = new Set();

addEventListener("themechange", () => { for (const one of live) one.draw(); });

/** A colour for each name: tiers have their own, others in turn. */
export function tones(names) {
  const taken = new Set(names.filter((name) => Object.hasOwn(TONES, name)).map((name) => TONES[name]));
  const free = [1, 2, 3, 4, 5, 6, 7, 8].filter((tone) => !taken.has(tone));
  let next = 0;
  return names.map((name) => (name === "other" ? 0 : Object.hasOwn(TONES, name) ? TONES[name] : free[next++ % free.length]));
}

/** How a moment is shown on an axis and in a table, by what slots are. */
export function clock(every, zone) {
  const forms = {
    minute: { hour: "2-digit", minute: "2-digit" },
    hour: { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
    day: { weekday: "short", day: "numeric", month: "short" },
  };
  const form = new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...forms[every] });
  return (at) => form.format(at * 1000);
}

/**
 * A chart. `set({starts, every, zone, until, series: [{name, values, tone, dash}]})` draws it: values stand by the slots
 * that begin at `starts`, null where nothing is known. `format` writes a value; `kind` is bars (put on each other) or
 * lines. `limit` is a value that is marked. The panel is `element`.
 */
export class Chart {
  constructor(title, { kind = "bars", format, note, unit = "", signal, wide = false, most, cap = Infinity } = {}) {
    Object.assign(this, { title, kind, format, unit, most, cap });
    this.legend = h("ul.legend", { "aria-hidden": "true" });
    this.tip = h("div.tip", { hidden: true, "aria-hidden": "true" });
    this.place = h("div.plot", { tabindex: 0, role: "img", "aria-label": title, onkeydown: (event) => this.walk(event), onblur: () => this.point(null) });
    this.rows = h("details", h("summary", "Show as table"));
    this.rows.addEventListener("toggle", () => this.list());
    this.element = panel(title, { note, aside: this.legend }, this.place, this.rows);
    if (wide) this.element.classList.add("wide");
    live.add(this);
    new ResizeObserver(() => this.fit()).observe(this.place);
    signal?.addEventListener("abort", () => { live.delete(this); this.plot?.destroy(); this.plot = null; });
  }

  set(data) {
    this.data = data;
    this.draw();
    this.list();
  }

  draw() {
    if (!this.data) return;
    const { starts, series, every, zone, until } = this.data;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const tone = (number) => (number === 0 ? colour("strong") : colour(`s${number}`));
    const step = { minute: 60, hour: 3600, day: 86400 }[every];
    const end = Math.max(until ?? 0, (starts.at(-1) ?? 0) + step);
    const stacked = this.kind === "bars";
    const columns = stacked ? pile(series, starts.length) : series.map((one) => one.values);
    clear(this.legend).append(...series.map((one) => h("li", h("span.dot", { class: `tone-${one.tone}${one.dash ? " dash" : ""}` }), one.name)));
    this.place.setAttribute("aria-label", this.told());
    const order = stacked ? series.map((_, at) => at).reverse() : series.map((_, at) => at);
    const bars = uPlot.paths.bars({ size: [0.84, 64], align: 1, radius: 0 });
    const font = `11px ${style.getPropertyValue("--font")}`;
    const grid = { stroke: colour("line"), width: 1 };
    const most = this.most?.() ?? null;
    const options = {
      width: Math.max(120, this.place.clientWidth), height: HEIGHT, legend: { show: false }, padding: [8, 18, 0, 0],
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), zone),
      scales: { x: { range: [starts[0] ?? 0, end] }, y: { range: (_, low, high) => [0, Math.min(this.cap, top(Math.max(high ?? 0, most ?? 0)))] } },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false }, dataIdx: (_, __, near, at) => (stacked ? before(starts, at) : near) },
      axes: [
        { stroke: colour("faint"), font, grid: { show: false }, ticks: { show: false }, space: 68, size: 28, values: (_, at) => at.map(marks(at, zone)) },
        { stroke: colour("faint"), font, grid, ticks: { show: false }, size: 54, space: 34, values: (_, at) => at.map((value) => this.format(value, true)) },
      ],
      series: [{}, ...order.map((at) => ({
        stroke: stacked ? undefined : tone(series[at].tone), fill: stacked ? tone(series[at].tone) : undefined,
        width: stacked ? 0 : 1.8, dash: series[at].dash ? [5, 4] : undefined,
        paths: stacked ? bars : uPlot.paths.linear(), points: stacked ? { show: false } : { size: 4, fill: tone(series[at].tone), filter: () => alone(series[at].values) },
        spanGaps: false,
      }))],
      hooks: { setCursor: [(plot) => this.hover(plot.cursor.left < 0 ? null : plot.cursor.idx)], draw: most === null ? [] : [(plot) => line(plot, most, colour("bad"))] },
    };
    this.plot?.destroy();
    this.tip.hidden = true;
    clear(this.place);
    if (!starts.length) return;
    this.plot = new uPlot(options, [starts, ...order.map((at) => columns[at])], this.place);
    this.plot.over.append(this.tip);
  }

  fit() {
    const width = this.place.clientWidth;
    if (this.plot && width > 0 && Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: HEIGHT });
  }

  /** What the chart says in a sentence, for whoever does not see it. */
  told() {
    const { series, starts, every, zone } = this.data;
    if (!starts.length) return `${this.title}: nothing`;
    const when = clock(every, zone);
    return `${this.title}, ${when(starts[0])} to ${when(starts.at(-1))}: ${series.map((one) => one.name).join(", ")}. Arrow keys read single values; a table is below.`;
  }

  hover(at) {
    const { starts, series, every, zone } = this.data;
    if (at === null || at === undefined || !(at in starts)) {
      this.tip.hidden = true;
      return;
    }
    const known = series.filter((one) => one.values[at] !== null && one.values[at] !== undefined && (this.kind !== "bars" || one.values[at] !== 0));
    clear(this.tip).append(h("p.faint", clock(every, zone)(starts[at])),
      known.length ? h("ul", known.map((one) => h("li", h("span.dot", { class: `tone-${one.tone}` }), h("span", one.name), h("b", this.format(one.values[at]))))) : h("p", this.data.missing?.[at] ?? "nothing"),
      known.length && this.data.missing?.[at] ? h("p.unknown", this.data.missing[at]) : "");
    this.tip.hidden = false;
    const x = this.plot.valToPos(starts[at], "x");
    this.tip.classList.toggle("left", x > this.plot.over.clientWidth / 2);
    this.tip.style.left = `${Math.round(x)}px`;
  }

  point(at) {
    this.at = at;
    if (!this.plot) return;
    if (at === null) this.plot.setCursor({ left: -10, top: -10 });
    else this.plot.setCursor({ left: this.plot.valToPos(this.data.starts[at], "x") + 2, top: 10 });
  }

  walk(event) {
    const last = this.data ? this.data.starts.length - 1 : -1;
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this.point(null);
    if (!(event.key in moves) || last < 0) return;
    event.preventDefault();
    const from = this.at ?? (moves[event.key] < 0 ? last + 1 : -1);
    const at = Math.min(last, Math.max(0, from + moves[event.key]));
    this.point(at);
    const values = this.data.series.map((one) => `${one.name} ${one.values[at] === null || one.values[at] === undefined ? "nothing" : this.format(one.values[at])}`);
    say(`${clock(this.data.every, this.data.zone)(this.data.starts[at])}: ${values.join(", ")}${this.data.missing?.[at] ? `, ${this.data.missing[at]}` : ""}`);
  }

  list() {
    if (!this.rows.open || !this.data) return;
    const { starts, series, every, zone, missing } = this.data;
    const when = clock(every, zone);
    const columns = [
      { name: "at", label: "Time", cell: (at) => when(starts[at]), order: (at) => at, number: false },
      ...series.map((one, n) => ({
        name: `s${n}`, label: one.name, unit: this.unit, number: true, order: (at) => one.values[at] ?? null,
        cell: (at) => (one.values[at] === null || one.values[at] === undefined ? "–" : this.format(one.values[at])),
      })),
      ...(missing ? [{ name: "missing", label: "Not known", cell: (at) => missing[at] ?? "" }] : []),
    ];
    const body = table(this.title, columns, starts.map((_, at) => at), { sort: "-at" });
    this.rows.replaceChildren(this.rows.firstChild, body);
  }
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
