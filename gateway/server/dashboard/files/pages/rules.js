// The rules in force, the calls that each matched, what is in vain, and what others would have done with past calls.
import { choice, clear, empty, h, panel, say, segments } from "../draw.js";
import { count, moment, money, share, usd } from "../figures.js";
import { facts, grid, part } from "../trace.js";

export const title = "Rules";

const SPANS = [["1h", "1 h", "Last hour"], ["24h", "24 h", "Last 24 hours"], ["7d", "7 d", "Last 7 days"], ["30d", "30 d", "Last 30 days"]];
const REPLAYED = [["1h", "the last hour"], ["24h", "the last 24 hours"], ["7d", "the last 7 days"], ["30d", "the last 30 days"], ["", "all calls"]];

export async function render(root, { api, params, signal, keep, session }) {
  let range = SPANS.some(([name]) => name === params.get("range")) ? params.get("range") : "7d";
  let since = range;
  let running = null;
  let written = ""; // as it is in force
  const body = h("div.page");
  const area = h("textarea.yaml", { rows: 22, spellcheck: false, wrap: "off", "aria-label": "Guards and choices, as YAML", "aria-describedby": "edit-note", autocapitalize: "off", oninput: () => gutter(), onscroll: () => { lines.scrollTop = area.scrollTop; } });
  const lines = h("div.lines", { "aria-hidden": "true" });
  const result = h("div.result");
  const go = h("button.main", { type: "button", onclick: () => replay() }, "Replay");
  const cancel = h("button.danger", { type: "button", hidden: true, onclick: () => running?.abort() }, "Cancel");
  const place = h("span");
  const editor = panel("Try other rules", { note: "Nothing here takes effect" },
    h("p#edit-note.soft", "Edit the guards and choices, and decide past calls again by them. To put them in force, write them into ", place, "; the gateway reads its files again when they change, or by ", h("code", "POST /admin/reload"), "."),
    h("div.editor", lines, area),
    h("div.bar",
      choice("Replay", REPLAYED, since, (value) => { since = value; }),
      go, cancel,
      h("div.end",
        h("button.quiet", { type: "button", onclick: () => { area.value = written; gutter(); say("As in force"); } }, "Reset"),
        h("button", { type: "button", onclick: copy }, "Copy"),
        h("button", { type: "button", onclick: download }, "Download"))),
    result);
  root.append(
    h("div.bar", segments("Range", SPANS, range, (value) => { range = value; keep({ range }); load(); })),
    body, editor);
  signal.addEventListener("abort", () => running?.abort());
  await load();

  async function load() {
    const told = await api("/admin/rules", { query: { since: range }, signal });
    if (signal.aborted) return;
    if (!area.value || area.value === written) {
      area.value = told.yaml;
      gutter();
    }
    written = told.yaml;
    place.replaceChildren(told.file ? h("code", told.file) : "the files of the configuration");
    body.replaceChildren(...parts(told));
  }

  function parts(told) {
    const all = told.total.calls;
    const line = (kind, name, hits, where = "") => [
      h("span.tag", kind), h("span.wrap", name), count(hits.calls), share(hits.calls, all), hits.cost === undefined ? "–" : money(hits.cost, hits.unknown), where,
    ];
    const rules = told.rules.map((one) => {
      const text = one.text ? h("details", h("summary", `${one.file}${one.line ? `:${one.line}` : ""}`), h("pre", { tabindex: 0 }, one.text)) : one.file;
      return line(one.kind, one.name, one.hits, text);
    });
    const rest = [
      ...told.former.map((one) => line(`former ${one.kind}`, one.name, one)),
      ...told.others.map((one) => line("other", one.source ?? "refused before a decision", one)),
    ];
    const found = told.findings.filter((one) => /^(guards|choices)\b/.test(one.path));
    const else_ = told.findings.length - found.length;
    return [
      panel("Rules in force", { note: `Version ${told.version}, ${count(all)} calls` },
        rules.length + rest.length ? grid("Rules in order", ["Kind", "Name", "#Calls", "#Share", "#Cost", "Where"], [...rules, ...rest]) : empty("There are no rules", "Every call is decided by its pin, its conversation, or the classifier."),
        h("p.faint", "Calls that a choice decided, and calls that a guard applied to: several guards may apply to one call, and a choice decide it too.")),
      panel("Findings", { note: else_ ? `${count(else_)} more of other parts: tiergate check` : "" },
        found.length ? h("ul.findings", found.map(finding)) : h("p.soft", "No rule is unreachable, contradictory or in vain.")),
    ];
  }

  function finding(one) {
    const edited = one.file === "edited rules" && one.line;
    const where = `${one.file}${one.line ? `:${one.line}` : ""}`;
    return h("li",
      h("span.tag", { class: one.level === "error" ? "bad" : "warn" }, one.level),
      edited ? h("button.quiet.link", { type: "button", onclick: () => jump(one.line) }, where) : h("code", where),
      h("span.wrap", `${one.path ? `${one.path}: ` : ""}${one.message}${one.hint ? ` ${one.hint}` : ""}`));
  }

  function jump(line) {
    const rows = area.value.split("\n");
    const start = rows.slice(0, line - 1).reduce((sum, row) => sum + row.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (rows[line - 1]?.length ?? 0));
    area.scrollTop = Math.max(0, (area.scrollHeight / rows.length) * (line - 4));
  }

  function gutter(wrong = new Set()) {
    const many = area.value.split("\n").length;
    lines.replaceChildren(...Array.from({ length: many }, (_, at) => h("div", { class: wrong.has(at + 1) ? "bad" : null }, String(at + 1))));
    lines.scrollTop = area.scrollTop;
  }

  async function replay() {
    if (running) return;
    running = new AbortController();
    go.disabled = true;
    cancel.hidden = false;
    clear(result).append(h("p.soft", { role: "status" }, "Deciding past calls again"));
    try {
      const told = await api("/admin/replay", { json: { rules: area.value, since, limit: 50 }, signal: running.signal });
      if (signal.aborted) return;
      gutter(new Set(told.findings.filter((one) => one.file === "edited rules" && one.level === "error").map((one) => one.line)));
      result.replaceChildren(...(told.ok ? outcome(told) : wrong(told)));
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) throw error;
      const left = error.name === "AbortError";
      result.replaceChildren(left ? h("p.soft", { role: "status" }, "Cancelled.") : h("div.notice.bad", { role: "alert" }, error.message));
    } finally {
      running = null;
      go.disabled = false;
      cancel.hidden = true;
    }
  }

  function wrong(told) {
    say("The rules have a mistake");
    return [h("div.notice.bad", { role: "alert" }, "These rules cannot be used."), h("ul.findings", told.findings.map(finding))];
  }

  function outcome({ report, findings }) {
    const decided = report.calls - report.undecided;
    say(`${count(report.changed)} of ${count(decided)} calls would go elsewhere`);
    const found = findings.filter((one) => /^(guards|choices)\b/.test(one.path));
    const rows = Object.entries(report.tiers).map(([name, { before, after }]) => [name, count(before), count(after), sign(after - before)]);
    const by = Object.entries(report.by).filter(([, one]) => one.before || one.after).sort(([, a], [, b]) => b.after - a.after)
      .map(([name, { before, after }]) => [h("span.wrap", name), count(before), count(after), sign(after - before)]);
    const difference = Number(report.usd.after) - Number(report.usd.before);
    return [
      h("p.headline", `${count(report.changed)} of ${count(decided)} calls would go elsewhere.`),
      facts([
        ["USD before", report.usd.before], ["USD after", report.usd.after], ["Difference", usd(difference)],
        ["Of unknown cost, in no sum", report.usd.unknown ? count(report.usd.unknown) : null],
        ["Undecided", report.undecided ? count(report.undecided) : null],
        ["Refused before a decision", report.apart ? count(report.apart) : null],
        ["Prompt caches lost", Number(report.cache.lost) ? usd(report.cache.lost) : null],
        ["Prompt caches gained", Number(report.cache.gained) ? usd(report.cache.gained) : null],
      ]),
      ...Object.entries(report.unread).map(([what, many]) => h("p.soft", `${count(many)} cannot be decided again: the ledger does not have ${what}.`)),
      part("Tiers", grid("Tiers before and after", ["Tier", "#Before", "#After", "#Change"], rows)),
      part("Decided by", grid("What decides before and after", ["Rule or other", "#Before", "#After", "#Change"], by)),
      Object.keys(report.guards).length ? part("Guards that apply", grid("Guards", ["Guard", "#Calls"], Object.entries(report.guards).map(([name, many]) => [h("span.wrap", name), count(many)]))) : null,
      report.list.length ? part("Changed calls, those of most money first", grid("Changed calls", ["Call", "Received", "Key", "#USD", "Before", "After"], report.list.map(changed))) : null,
      found.length ? part("Findings", h("ul.findings", found.map(finding))) : null,
    ].filter(Boolean);
  }

  function changed(one) {
    const end = (side) => h("span.wrap", `${side.target === null ? "refused" : `${side.tier ?? "untiered"} ${side.target}`} by ${side.by}`);
    return [h("a.mono", { href: `#/calls/${encodeURIComponent(one.id)}` }, one.id), moment(one.at, session.zone), one.key, one.usd === null ? "unknown" : usd(one.usd), end(one.before), end(one.after)];
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(area.value);
      say("Copied");
    } catch {
      area.focus();
      area.select();
      say("Selected: copy it with the keyboard");
    }
  }

  function download() {
    const url = URL.createObjectURL(new Blob([area.value], { type: "application/yaml" }));
    h("a", { href: url, download: "rules.yaml" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }
}

function sign(value) {
  return value > 0 ? `+${count(value)}` : count(value);
}
