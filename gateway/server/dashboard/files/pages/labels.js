// Two answers to one request, to be compared: nothing on the page says whose they are.
import { h, say } from "../elements.js";
import { count } from "../figures.js";
import { Empty, Panel } from "../parts.js";
import { useEffect, useRef, useState } from "../vendor/preact.js";

export const title = "Labels";
const CHOICES = [["A", "A is better"], ["B", "B is better"], ["same", "The same"], ["skip", "Skip"]];

export function Page({ page }) {
  const [next, setNext] = useState(null);
  const [saving, setSaving] = useState(false);
  const heading = useRef();
  const fetchNext = async () => setNext(await page.api("/admin/labels", { signal: page.signal }));
  const trouble = (error) => {
    if (!page.signal.aborted) dispatchEvent(new CustomEvent("trouble", { detail: error }));
  };
  useEffect(() => { fetchNext().catch(trouble); }, []);

  async function choose(better) {
    setSaving(true);
    try {
      await page.api(`/admin/labels/${encodeURIComponent(next.pair.id)}`, { json: { better } });
      await fetchNext();
      say("Saved. The next pair is shown.");
      heading.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    } catch (error) {
      trouble(error);
    }
    setSaving(false);
  }

  if (next === null) return h("div.page");
  if (next.pair === null) return h("div.page", h(Nothing, { pairs: next.pairs }));
  return h("div.page",
    h(Panel, { title: "Request", note: `${count(next.waiting)} of ${count(next.pairs)} pairs wait` },
      h("pre.answer", { tabindex: 0, ref: heading }, next.pair.request)),
    h("div.compared",
      ["A", "B"].map((name) => h(Panel, { key: name, title: `Answer ${name}` }, h("pre.answer", { tabindex: 0 }, next.pair[name] || "(no text)")))),
    h("div.verdicts", { role: "group", "aria-label": "Which answer is better?" }, CHOICES.map(([name, text]) =>
      h("button", { type: "button", class: name === "skip" ? "quiet" : null, disabled: saving, onclick: () => choose(name) }, text))),
    h("p.faint", "The order of the answers is random. What counts is whether an answer is right, complete and does what was asked."));
}

function Nothing({ pairs }) {
  return h(Panel, { title: "Nothing to compare" }, pairs
    ? h(Empty, { title: "All pairs are compared" }, "`tiergate label --collect` writes their labels.")
    : h(Empty, { title: "No pairs of answers" }, "`tiergate label --person` asks tiers and puts their answers here."));
}
