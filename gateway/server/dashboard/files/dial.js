// The curve of the quality dial: what each of its positions keeps of the quality, and what it costs.
import { h } from "./elements.js";
import { count, percent, usd } from "./figures.js";
import { Panel, Segments } from "./parts.js";
import { Grid } from "./trace.js";
import { useEffect, useState } from "./vendor/preact.js";

const SOURCES = [["", "Golden prompts", "Of golden prompts"], ["24h", "24 h", "Of calls of the last 24 hours"], ["7d", "7 d", "Of calls of the last 7 days"], ["30d", "30 d", "Of calls of the last 30 days"]];
const TIERS = ["fast", "smart", "reasoning"];
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [640, 270, 68, 50, 14, 34];

/** The gateway decides all prompts or calls once for each position: so it does that only when somebody asks. */
export function Dial({ page }) {
  const [since, setSince] = useState(null);
  const [found, setFound] = useState(null);
  useEffect(() => {
    if (since === null) return undefined;
    const ending = new AbortController();
    setFound({ isComputing: true });
    page.api("/admin/dial", { query: { since }, signal: ending.signal }).then(setFound, (error) => {
      if (error.name === "AbortError") return;
      if (error.status === 401) dispatchEvent(new CustomEvent("trouble", { detail: error }));
      setFound({ problem: error.message });
    });
    return () => ending.abort();
  }, [since]);
  return h(Panel, { title: "Quality dial", note: "What each position would give", aside: h(Segments, { label: "The curve of", options: SOURCES, value: since, onchange: setSince }) },
    !found ? h("p.soft", "The curve is computed when you choose what it is of. Nothing is sent to anybody.") : null,
    found?.isComputing ? h("p.soft", { role: "status" }, "Deciding at each position") : null,
    found?.problem ? h("p.soft", { role: "status" }, found.problem) : null,
    found?.points?.length ? h(Curve, found) : null,
    found?.points && !found.points.length ? h("p.soft", { role: "status" }, "No calls in this time that a classifier decided at a lab with known prices.") : null);
}

function Curve({ points, current, file }) {
  const [shown, show] = useState(null);
  const drawn = points.filter((point) => point.quality !== null && point.cost !== null);
  const set = current.filter((one) => one.position !== null);
  return h("div.dial",
    drawn.length > 1 ? h(Plot, { points: drawn, shown, show }) : h("p.soft", "Prices or scores are unknown, so there is no curve to draw."),
    h("div",
      h(Grid, { caption: "Positions of the dial", heads: ["Position", "#Fast", "#Smart", "#Reasoning", "#Kept", "#USD per 1,000", "#Right"], rows: points.map(cells) }),
      h("p.faint", file ? `Golden prompts of ${file}. ` : "", "Kept is a share of the quality of the reasoning tier, as the classifier expects it. ",
        set.length ? `Set now: ${set.map((one) => `${one.lab} at ${one.position}`).join(", ")}.` : "No position is set now: a classifier decides by its thresholds.")));
}

function cells(point) {
  return [
    name(point), ...TIERS.map((tier) => percent(point.tiers[tier] / point.prompts)), percent(point.quality), point.cost === null ? "unknown" : usd(point.cost),
    point.agreed === null ? "–" : `${count(point.agreed)} of ${count(point.prompts)}`,
  ];
}

function name(point) {
  if (point.position !== null) return String(point.position);
  return point.is_set || point.agreed !== null ? "as set" : "as decided";
}

/** Cost to the right, quality upwards: a line through the positions, and a ring where the gateway stands. */
function Plot({ points, shown, show }) {
  const costs = points.map((point) => point.cost);
  const qualities = points.map((point) => point.quality);
  const most = Math.max(...costs) * 1.05 || 1;
  const low = Math.floor(Math.min(...qualities) * 20 - 0.2) / 20;
  const high = Math.max(1, ...qualities);
  const x = (cost) => LEFT + (cost / most) * (WIDTH - LEFT - RIGHT);
  const y = (quality) => TOP + ((high - quality) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
  const line = points.filter((point) => point.position !== null).sort((one, other) => one.position - other.position);
  const rows = Array.from({ length: 5 }, (_, at) => low + ((high - low) * at) / 4);
  const columns = Array.from({ length: 5 }, (_, at) => (most * at) / 4);
  const best = line.at(-1);
  return h("div.plot.curve",
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Quality by cost, ${line.length} positions: from ${percent(line[0]?.quality)} kept at ${usd(line[0]?.cost)} to ${percent(best?.quality)} at ${usd(best?.cost)} for 1,000 answers. The table has all.` },
      rows.map((quality) => [h("line.grid-line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(quality), y2: y(quality) }), h("text", { x: LEFT - 8, y: y(quality) + 4, "text-anchor": "end" }, percent(quality))]),
      columns.map((cost) => h("text", { x: x(cost), y: HEIGHT - BOTTOM + 20, "text-anchor": "middle" }, usd(cost))),
      h("text", { x: (WIDTH + LEFT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "USD for 1,000 answers"),
      h("polyline.curve-line", { points: line.map((point) => `${x(point.cost)},${y(point.quality)}`).join(" ") }),
      points.map((point) => h("circle", {
        class: point.position === null ? "curve-now" : "curve-point", cx: x(point.cost), cy: y(point.quality), r: point.position === null ? 8 : 4.5,
        onmouseenter: () => show(point), onmouseleave: () => show(null),
      }))),
    shown ? h("div.tip", { "aria-hidden": "true", class: shown.cost > most / 2 ? "left" : null, style: { left: `${(x(shown.cost) / WIDTH) * 100}%` } },
      h("p.faint", shown.position === null ? name(shown) : `Position ${name(shown)}`), h("p", `${percent(shown.quality)} kept, ${usd(shown.cost)} for 1,000`)) : null);
}
