// The rules in force, the calls that each matched, what is in vain, and what others would have done with past calls.
import { Dial } from "../dial.js";
import { h, say } from "../elements.js";
import { count, moment, money, share, usd } from "../figures.js";
import { Choice, Empty, Panel, Segments, damageNote } from "../parts.js";
import { usePolling } from "../polling.js";
import { Facts, Grid, Part } from "../trace.js";
import { useEffect, useRef, useState } from "../vendor/preact.js";

export const title = "Rules";

const SPANS = [["1h", "1 h", "Last hour"], ["24h", "24 h", "Last 24 hours"], ["7d", "7 d", "Last 7 days"], ["30d", "30 d", "Last 30 days"]];
const REPLAYED = [["1h", "the last hour"], ["24h", "the last 24 hours"], ["7d", "the last 7 days"], ["30d", "the last 30 days"], ["", "all calls"]];
const FILTERED = { guard: "guard", choice: "rule" };

export function Page({ page }) {
  const asked = page.params.get("range");
  const [range, setRange] = useState(SPANS.some(([name]) => name === asked) ? asked : "7d");
  const rules = usePolling((signal) => page.api("/admin/rules", { query: { since: range }, signal }), 0, range);
  return h("div.page",
    h("div.bar", h(Segments, { label: "Range", options: SPANS, value: range, onchange: (next) => { setRange(next); page.keep({ range: next }); } })),
    rules ? [h(InForce, { rules, range }), h(Findings, { rules }), h(Dial, { page }), h(Editor, { page, written: rules.yaml, file: rules.file, range })] : null);
}

function InForce({ rules, range }) {
  const all = rules.total.calls;
  const calls = (kind, name, hits) => {
    const filter = FILTERED[kind.replace("former ", "")];
    return filter && hits.calls ? h("a", { href: `#/calls?${new URLSearchParams({ range, [filter]: name })}` }, count(hits.calls)) : count(hits.calls);
  };
  const line = (kind, name, hits, where = "") => [
    h("span.tag", kind), h("span.wrap", name), calls(kind, name, hits), share(hits.calls, all), hits.cost === undefined ? "–" : money(hits.cost, hits.unknown), where,
  ];
  const rows = [
    ...rules.rules.map((one) => line(one.kind, one.name, one.hits, one.text ? h("details", h("summary", `${one.file}${one.line ? `:${one.line}` : ""}`), h("pre", { tabindex: 0 }, one.text)) : one.file)),
    ...rules.former.map((one) => line(`former ${one.kind}`, one.name, one)),
    ...rules.others.map((one) => line("other", one.source ?? "refused before a decision", one)),
  ];
  return h(Panel, { title: "Rules in force", note: `Version ${rules.version}, ${count(all)} calls` },
    rows.length ? h(Grid, { caption: "Rules in order", heads: ["Kind", "Name", "#Calls", "#Share", "#Cost", "Where"], rows })
      : h(Empty, { title: "There are no rules" }, "Every call is decided by its pin, its conversation, or the classifier."),
    h("p.faint", "Calls that a choice decided, and calls that a guard applied to: several guards may apply to one call, and a choice decide it too. ", damageNote(rules)));
}

const ofRules = (one) => /^(guards|choices)\b/.test(one.path);

function Findings({ rules }) {
  const found = rules.findings.filter(ofRules);
  const others = rules.findings.length - found.length;
  return h(Panel, { title: "Findings", note: others ? `${count(others)} more of other parts: tiergate check` : "" },
    found.length ? h(FindingList, { findings: found }) : h("p.soft", "No rule is unreachable, contradictory or in vain."));
}

/** What is wrong, with its place; `jump(line)` goes to a line of the edited rules. */
function FindingList({ findings, jump }) {
  return h("ul.findings", findings.map((one) => {
    const where = `${one.file}${one.line ? `:${one.line}` : ""}`;
    return h("li",
      h("span.tag", { class: one.level === "error" ? "bad" : "warn" }, one.level),
      jump && one.file === "edited rules" && one.line ? h("button.quiet.link", { type: "button", onclick: () => jump(one.line) }, where) : h("code", where),
      h("span.wrap", `${one.path ? `${one.path}: ` : ""}${one.message}${one.hint ? ` ${one.hint}` : ""}`));
  }));
}

/** A copy of the rules to edit, and what they would have done with past calls. Nothing takes effect. */
function Editor({ page, written, file, range }) {
  const [since, setSince] = useState(range);
  const [lines, setLines] = useState(written.split("\n").length);
  const [outcome, setOutcome] = useState(null);
  const [running, setRunning] = useState(null);
  const area = useRef();
  const gutter = useRef();
  const recount = () => setLines(area.current.value.split("\n").length);
  const fill = (text) => { area.current.value = text; recount(); };
  const former = useRef(null);
  useEffect(() => { // the rules in force, unless somebody has edited them
    if (former.current === null || area.current.value === former.current) fill(written);
    former.current = written;
  }, [written]);
  const live = useRef();
  live.current = running;
  useEffect(() => () => live.current?.abort(), []);

  const replay = async () => {
    if (running) return;
    const ending = new AbortController();
    setRunning(ending);
    setOutcome({ text: "Deciding past calls again" });
    try {
      const answer = await page.api("/admin/replay", { json: { rules: area.current.value, since, limit: 50 }, signal: ending.signal });
      setOutcome({ answer });
      say(answer.ok ? summary(answer.report) : "The rules have a mistake");
    } catch (error) {
      if (page.signal.aborted) return;
      setOutcome(error.name === "AbortError" ? { text: "Cancelled." } : { problem: error.message });
      if (error.status === 401) throw error;
    } finally {
      setRunning(null);
    }
  };
  const jump = (line) => {
    const rows = area.current.value.split("\n");
    const start = rows.slice(0, line - 1).reduce((sum, row) => sum + row.length + 1, 0);
    area.current.focus();
    area.current.setSelectionRange(start, start + (rows[line - 1]?.length ?? 0));
    area.current.scrollTop = Math.max(0, (area.current.scrollHeight / rows.length) * (line - 4));
  };
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(area.current.value);
      say("Copied");
    } catch {
      area.current.focus();
      area.current.select();
      say("Selected: copy it with the keyboard");
    }
  };
  const download = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([area.current.value], { type: "application/yaml" }));
    link.download = "rules.yaml";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const mistakes = new Set((outcome?.answer?.findings ?? []).filter((one) => one.file === "edited rules" && one.level === "error").map((one) => one.line));
  return h(Panel, { title: "Try other rules", note: "Nothing here takes effect" },
    h("p#edit-note.soft", "Edit the guards and choices, and decide past calls again by them. To put them in force, write them into ",
      file ? h("code", file) : "the files of the configuration", "; the gateway reads its files again when they change, or by ", h("code", "POST /admin/reload"), "."),
    h("div.editor",
      h("div.lines", { "aria-hidden": "true", ref: gutter }, Array.from({ length: lines }, (_, at) => h("div", { class: mistakes.has(at + 1) ? "bad" : null }, String(at + 1)))),
      h("textarea.yaml", { rows: 22, spellcheck: "false", wrap: "off", "aria-label": "Guards and choices, as YAML", "aria-describedby": "edit-note", autocapitalize: "off", ref: area, oninput: recount, onscroll: () => { gutter.current.scrollTop = area.current.scrollTop; } })),
    h("div.bar",
      h(Choice, { label: "Replay", options: REPLAYED, value: since, onchange: setSince }),
      h("button.main", { type: "button", disabled: Boolean(running), onclick: replay }, "Replay"),
      running ? h("button.danger", { type: "button", onclick: () => running.abort() }, "Cancel") : null,
      h("div.end",
        h("button.quiet", { type: "button", onclick: () => { fill(written); say("As in force"); } }, "Reset"),
        h("button", { type: "button", onclick: copy }, "Copy"),
        h("button", { type: "button", onclick: download }, "Download"))),
    outcome ? h("div.result", h(Outcome, { ...outcome, zone: page.session.zone, jump })) : null);
}

function Outcome({ text, problem, answer, zone, jump }) {
  if (text) return h("p.soft", { role: "status" }, text);
  if (problem) return h("div.notice.bad", { role: "alert" }, problem);
  if (!answer.ok) return [h("div.notice.bad", { role: "alert" }, "These rules cannot be used."), h(FindingList, { findings: answer.findings, jump })];
  return h(Report, { report: answer.report, findings: answer.findings.filter(ofRules), zone, jump });
}

function summary(report) {
  return `${count(report.changed)} of ${count(report.calls - report.undecided)} calls would go elsewhere`;
}

function Report({ report, findings, zone, jump }) {
  const tiers = Object.entries(report.tiers).map(([name, { before, after }]) => [name, count(before), count(after), sign(after - before)]);
  const by = Object.entries(report.by).filter(([, one]) => one.before || one.after).sort(([, a], [, b]) => b.after - a.after)
    .map(([name, { before, after }]) => [h("span.wrap", name), count(before), count(after), sign(after - before)]);
  const guards = Object.entries(report.guards).map(([name, calls]) => [h("span.wrap", name), count(calls)]);
  return [
    h("p.headline", `${summary(report)}.`),
    h(Facts, { pairs: [
      ["USD before", report.usd.before], ["USD after", report.usd.after], ["Difference", usd(Number(report.usd.after) - Number(report.usd.before))],
      ["Of unknown cost, in no sum", report.usd.unknown ? count(report.usd.unknown) : null],
      ["Undecided", report.undecided ? count(report.undecided) : null],
      ["Refused before a decision", report.apart ? count(report.apart) : null],
      ["Prompt caches lost", Number(report.cache.lost) ? usd(report.cache.lost) : null],
      ["Prompt caches gained", Number(report.cache.gained) ? usd(report.cache.gained) : null],
    ] }),
    Object.entries(report.unread).map(([what, calls]) => h("p.soft", `${count(calls)} cannot be decided again: the ledger does not have ${what}.`)),
    h(Part, { title: "Tiers" }, h(Grid, { caption: "Tiers before and after", heads: ["Tier", "#Before", "#After", "#Change"], rows: tiers })),
    h(Part, { title: "Decided by" }, h(Grid, { caption: "What decides before and after", heads: ["Rule or other", "#Before", "#After", "#Change"], rows: by })),
    guards.length ? h(Part, { title: "Guards that apply" }, h(Grid, { caption: "Guards", heads: ["Guard", "#Calls"], rows: guards })) : null,
    report.list.length ? h(Part, { title: "Changed calls, those of most money first" },
      h(Grid, { caption: "Changed calls", heads: ["Call", "Received", "Key", "#USD", "Before", "After"], rows: report.list.map((one) => changed(one, zone)) })) : null,
    findings.length ? h(Part, { title: "Findings" }, h(FindingList, { findings, jump })) : null,
  ];
}

function changed(one, zone) {
  const end = (side) => h("span.wrap", `${side.target === null ? "refused" : `${side.tier ?? "untiered"} ${side.target}`} by ${side.by}`);
  return [h("a.mono", { href: `#/calls/${encodeURIComponent(one.id)}` }, one.id), moment(one.at, zone), one.key, one.usd === null ? "unknown" : usd(one.usd), end(one.before), end(one.after)];
}

function sign(value) {
  return value > 0 ? `+${count(value)}` : count(value);
}
