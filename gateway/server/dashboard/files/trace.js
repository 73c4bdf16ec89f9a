// Why a call was decided so: what `tiergate explain` and `/v1/route` print, drawn the same for every page.
import { h } from "./elements.js";
import { count, percent, usd } from "./figures.js";

const MILLION = 1e6;
const TIERS = new Set(["fast", "smart", "reasoning"]);

/** Names and values below each other; what is null, undefined or empty is left out. */
export function Facts({ pairs }) {
  return h("dl.pairs", pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => h("div", h("dt", name), h("dd", value))));
}

/** A small table of texts and elements; heads that begin with # are of numbers. */
export function Grid({ caption, heads, rows }) {
  const tone = (at) => (heads[at].startsWith("#") ? "number" : null);
  return h("div.scroll.inset", { tabindex: 0, role: "region", "aria-label": caption },
    h("table", h("caption.hidden", caption), h("thead", h("tr", heads.map((one, at) => h("th", { scope: "col", class: tone(at) }, one.replace(/^#/, ""))))),
      h("tbody", rows.map((cells) => h("tr", cells.map((one, at) => h(at ? "td" : "th", { scope: at ? null : "row", class: tone(at) }, one)))))));
}

export function Part({ title, children }) {
  return h("section.part", h("h3", title), children);
}

/** Everything of a decision: steps, bounds of the classifier, targets in order, those that may not serve. */
export function Decision({ decision }) {
  const { why, trace, thresholds, switch: move, plan, skipped, basis } = decision;
  return [
    why ? h("p.notice.warn", why) : null,
    trace ? h(Part, { title: "Steps" }, h(Grid, { caption: "Steps of the decision", heads: ["Step", "Effect", "Why"], rows: trace.map(step) })) : null,
    thresholds ? h(Part, { title: "Classifier" }, bounds(decision)) : null,
    move ? h(Part, { title: "Conversation" }, moved(move)) : null,
    plan ? h(Part, { title: "Targets, in order" }, h("ol.plan", plan.map(target))) : null,
    skipped?.length ? h(Part, { title: "Skipped" }, h("ul.plan", skipped.map((one) => h("li", h("strong", one.target), one.tier ? ` (${one.tier})` : "", h("span.faint", ` ${one.reason}`))))) : null,
    basis ? h(Part, { title: "What the row keeps" }, h(Tree, { value: basis })) : null,
  ];
}

function step(one) {
  return [
    h("span", { class: one.matched ? "matched" : null }, one.step),
    one.effect || "–",
    h("span.wrap", one.why, one.ms >= 0.05 ? h("span.faint", ` ${one.ms.toFixed(1)} ms`) : null),
  ];
}

function bounds({ confidence, thresholds: { id, fast, smart, cut } }) {
  return h(Facts, { pairs: [
    ["Sure of the tier", confidence === null || confidence === undefined ? null : percent(confidence)],
    ["Fast suffices from", number(fast)],
    ["Smart suffices from", number(smart)],
    ["Cut for shares", cut && `smart ${number(cut.smart)}, reasoning ${number(cut.reasoning)}`],
    ["Thresholds", id],
  ] });
}

function moved(one) {
  return h(Facts, { pairs: [
    [one.moved ? "Left" : "Stays on", `${one.lab}/${one.tier} ${one.target}`],
    [one.moved ? "For" : "Instead of", one.to],
    ["Tokens in its prompt cache", count(one.tokens)],
    ["Price of losing it, once", usd(one.cost)],
    ["Saved by each call there", one.saving === null ? null : usd(one.saving)],
    ["Calls expected yet", one.calls === null ? null : count(one.calls)],
    ["Saved by them all, less that price", one.margin === null ? null : usd(one.margin)],
  ] });
}

function target(one) {
  const price = one.price ? `$${one.price.input} in, $${one.price.output} out per million` : "price unknown";
  const losses = (one.losses ?? []).map((loss) => h("li", `${loss.field} is ${loss.action}: ${loss.why}`));
  return h("li", h("strong", one.target), one.effort ? ` at effort ${one.effort}` : "", h("span.faint", ` ${price}, ${one.dialect}`), losses.length ? h("ul", losses) : null);
}

/** Any JSON value as nested names and values. */
export function Tree({ value }) {
  if (value === null) return "–";
  if (typeof value !== "object") return String(value);
  const pairs = Object.entries(value);
  if (!pairs.length) return "–";
  if (Array.isArray(value) && value.every((one) => one === null || typeof one !== "object")) return value.join(", ");
  return h("dl.tree", pairs.map(([name, inside]) => [h("dt", name), h("dd", h(Tree, { value: inside }))]));
}

function number(value) {
  return value === null || value === undefined ? null : String(Number(value.toFixed(3)));
}

/** What a first target would cost for so many tokens in and out; null where its price is unknown. */
export function estimate(price, input, output) {
  if (!price || price.input === null || price.output === null) return null;
  return (Number(price.input) * input + Number(price.output) * output) / MILLION;
}

/** A tier in the colour that charts give it. */
export function tier(name) {
  return name ? h("span.tag", { class: TIERS.has(name) ? name : null }, name) : h("span.faint", "–");
}
