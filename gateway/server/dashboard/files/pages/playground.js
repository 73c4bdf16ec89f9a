// A prompt, what would be decided for it on every lab, and the real answer through the gateway's own endpoint.
import { h, say } from "../elements.js";
import { count, seconds, usd } from "../figures.js";
import { Choice } from "../parts.js";
import { readEvents, readText } from "../stream.js";
import { Decision, Facts, Part, estimate, tier } from "../trace.js";
import { useEffect, useRef, useState } from "../vendor/preact.js";

export const title = "Playground";

const CHAT = "/v1/chat/completions";
const GUESSED = 500; // tokens of an answer whose length nobody has bounded
const AT_ONCE = 4;
const LOOKS = 20;
const TIERS = [["", "As it is decided"], ["fast", "Fast"], ["smart", "Smart"], ["reasoning", "Reasoning"]];
const BILLED = "Calls are billed to the key that you enter; it stays in this page only.";

export function Page({ page }) {
  const key = useRef();
  const [known, setKnown] = useState({ note: page.session.open ? "" : BILLED, labs: [], models: [], asked: false });
  const [prompt, setPrompt] = useState({ model: "auto", tags: "", most: "", lab: "", tier: "", system: "", turns: [{ role: "user", text: "" }] });
  const [cards, setCards] = useState([]);
  const [answer, setAnswer] = useState(null);
  const [deciding, setDeciding] = useState(false);
  const running = useRef(null);
  useEffect(() => { learn(); return () => running.current?.abort(); }, []);

  /** Asks as a client does: with the key alone, never with the session of those who are signed in. */
  function ask(path, { headers = {}, json, signal } = {}) {
    const own = { ...headers };
    if (key.current.value) own.authorization = `Bearer ${key.current.value}`;
    if (json !== undefined) own["content-type"] = "application/json";
    return fetch(path, { method: json === undefined ? "GET" : "POST", headers: own, body: json === undefined ? undefined : JSON.stringify(json), signal, credentials: "omit", redirect: "error" });
  }

  /** What this key may ask for. The key stays in this page: it is in no address and in no storage. */
  async function learn() {
    if (!key.current.value && !page.session.open) {
      setKnown((former) => ({ ...former, note: BILLED }));
      return;
    }
    try {
      const reply = await ask("/v1/models", { signal: page.signal });
      const models = await reply.json();
      if (!reply.ok) {
        setKnown((former) => ({ ...former, note: models.error.message }));
        return;
      }
      const names = models.data.map((one) => one.id);
      const labs = names.filter((name) => name.endsWith("/auto")).map((name) => name.slice(0, -"/auto".length));
      setKnown({ asked: true, models: names, labs, note: key.current.value ? "Calls are billed to this key; it stays in this page only." : "Keys are open: none is needed." });
    } catch (error) {
      if (!page.signal.aborted) setKnown((former) => ({ ...former, note: explain(error) }));
    }
  }

  function body() {
    const messages = prompt.turns.map(({ role, text }) => ({ role, content: text }));
    if (prompt.system) messages.unshift({ role: "system", content: prompt.system });
    return { model: prompt.model.trim(), messages, ...(prompt.most ? { max_completion_tokens: Number(prompt.most) } : {}) };
  }

  function steering(lab = prompt.lab) {
    const tags = prompt.tags.split(",").map((one) => one.trim()).filter(Boolean).join(",");
    return { ...(tags ? { "x-tiergate-tags": tags } : {}), ...(lab ? { "x-tiergate-lab": lab } : {}), ...(prompt.tier ? { "x-tiergate-tier": prompt.tier } : {}) };
  }

  /** The decision on every lab, without asking a provider. */
  async function decide() {
    setDeciding(true);
    const asked = body();
    const labs = known.labs.length ? known.labs : [""];
    const found = labs.map((name) => ({ name }));
    setCards([...found]);
    let next = 0;
    const work = async () => {
      while (next < labs.length) {
        const at = next;
        next += 1;
        found[at] = { name: labs[at], asked, ...(await decideOn(labs[at], asked)) };
        if (!page.signal.aborted) setCards([...found]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (page.signal.aborted) return;
    setDeciding(false);
    say(`Decided on ${count(labs.length)} ${labs.length === 1 ? "lab" : "labs"}`);
  }

  async function decideOn(lab, asked) {
    try {
      const reply = await ask("/v1/route", { json: asked, headers: steering(lab || undefined), signal: page.signal });
      const decision = await reply.json();
      return reply.ok ? { decision } : { problem: decision.error.message };
    } catch (error) {
      return { problem: explain(error) };
    }
  }

  /** The answer, streamed by the same endpoint as every client's. */
  async function send() {
    if (running.current) return;
    const ending = new AbortController();
    running.current = ending;
    const began = performance.now();
    let state = { text: "", thought: "", tone: "", state: "waiting", problem: "", first: null, usage: null, id: null, row: null, running: true, ended: false };
    const set = (changes) => { state = { ...state, ...changes }; if (!page.signal.aborted) setAnswer(state); };
    set({});
    const seen = () => {
      if (state.first !== null) return {};
      const first = (performance.now() - began) / 1000;
      return { first, state: `first token after ${seconds(first)}` };
    };
    try {
      const reply = await ask(CHAT, { json: { ...body(), stream: true, stream_options: { include_usage: true } }, headers: steering(), signal: ending.signal });
      set({ id: reply.headers.get("x-request-id") });
      if (!reply.ok) {
        set({ tone: "bad", state: String(reply.status), text: errorText(await reply.text()) });
        return;
      }
      for await (const event of readEvents(reply.body)) {
        if (event.error) {
          set({ tone: "bad", problem: event.error.message ?? JSON.stringify(event) });
          continue;
        }
        const delta = event.choices?.[0]?.delta ?? {};
        const thought = readText(delta.reasoning_content ?? delta.reasoning ?? "");
        const text = readText(delta.content ?? "");
        set({ usage: event.usage ?? state.usage, ...(thought || text ? seen() : {}), thought: state.thought + thought, text: state.text + text + readText(delta.refusal ?? "") });
      }
      if (state.tone !== "bad") set({ tone: "good", state: "complete" });
      say("The answer is complete");
    } catch (error) {
      if (page.signal.aborted) return;
      const stopped = error.name === "AbortError";
      set({ tone: stopped ? "warn" : "bad", state: stopped ? "stopped" : "failed", problem: stopped ? "" : explain(error) });
      say(stopped ? "Stopped" : "The answer has failed");
    } finally {
      running.current = null;
      set({ running: false, ended: true });
    }
    await bill(() => state.id, (row) => set({ row }));
  }

  /** What it came to, as soon as the ledger has it. */
  async function bill(readId, set) {
    const id = readId();
    for (let look = 0; id && look < LOOKS && !page.signal.aborted; look += 1) {
      try {
        set(await page.api(`/admin/entries/${encodeURIComponent(id)}`, { signal: page.signal }));
        return;
      } catch (error) {
        if (error.status !== 404) throw error;
        await new Promise((done) => { setTimeout(done, 250); });
      }
    }
  }

  const set = (changes) => setPrompt((former) => ({ ...former, ...changes }));
  const field = (name) => ({ value: prompt[name], oninput: (event) => set({ [name]: event.target.value }) });
  const quick = (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    send();
  };
  return h("div.page",
    h("form.panel.ask", { "aria-label": "Prompt", autocomplete: "off", onsubmit: (event) => { event.preventDefault(); send(); }, onkeydown: quick },
      h("div.pair",
        h(Named, { id: "key", label: "Gateway key" }, h("input#key", { type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": "key-note", ref: key, onchange: learn }), h("p#key-note.faint", { role: "status" }, known.note)),
        h(Named, { id: "model", label: "Model" }, h("input#model", { type: "text", list: "models", autocomplete: "off", spellcheck: "false", ...field("model") })),
        h(Named, { id: "tags", label: "Tags" }, h("input#tags", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "support, eu", ...field("tags") })),
        h(Named, { id: "most", label: "Most tokens of the answer" }, h("input#most", { type: "number", min: 1, max: 1000000, step: 1, ...field("most") }))),
      known.asked ? h("div.bar",
        h(Choice, { label: "Lab", options: [["", "As the key has it"], ...known.labs.map((name) => [name, name])], value: prompt.lab, onchange: (lab) => set({ lab }) }),
        h(Choice, { label: "Tier", options: TIERS, value: prompt.tier, onchange: (pin) => set({ tier: pin }) })) : null,
      h(Named, { id: "system", label: "System" }, h("textarea#system", { rows: 2, ...field("system") })),
      h(Turns, { turns: prompt.turns, set: (turns) => set({ turns }) }),
      h("div.bar", h("button.quiet", { type: "button", onclick: () => set({ turns: [...prompt.turns, { role: "user", text: "", isNew: true }] }) }, "Add a message"),
        h("div.end",
          h("button", { type: "button", disabled: deciding, onclick: decide }, "Decide"),
          answer?.running ? h("button.danger", { type: "button", onclick: () => running.current?.abort() }, "Stop") : null,
          h("button.main", { type: "submit", disabled: Boolean(answer?.running) }, "Send")))),
    h("datalist#models", known.models.map((name) => h("option", { value: name }))),
    answer ? h(Answer, { answer }) : null,
    cards.length ? h("div.cards", cards.map((one) => h(Card, { key: one.name, ...one }))) : null);
}

function Named({ id, label, children }) {
  return h("div.named", h("label", { for: id }, label), children);
}

function Turns({ turns, set }) {
  const change = (at, changes) => set(turns.map((turn, n) => (n === at ? { ...turn, ...changes } : turn)));
  return h("div.turns", turns.map((turn, at) => h(Turn, { key: at, turn, number: at + 1, change: (changes) => change(at, changes), remove: () => set(turns.filter((_, n) => n !== at)) })));
}

function Turn({ turn, number, change, remove }) {
  const area = useRef();
  useEffect(() => { if (turn.isNew) area.current.focus(); }, []);
  return h("div.turn",
    h("div.turn-head",
      h("select", { "aria-label": `Role of message ${number}`, value: turn.role, onchange: (event) => change({ role: event.target.value }) }, h("option", { value: "user" }, "User"), h("option", { value: "assistant" }, "Assistant")),
      number > 1 ? h("button.quiet", { type: "button", "aria-label": `Remove message ${number}`, onclick: remove }, "Remove") : null),
    h("textarea", { rows: 4, "aria-label": `Message ${number}`, value: turn.text, oninput: (event) => change({ text: event.target.value }), ref: area }));
}

function Card({ name, asked, decision, problem }) {
  return h("section.panel.card", { "aria-label": name || "Decision" }, h("div.panel-head", h("h2", name || "Decision")),
    problem ? h("p.wrong", problem) : decision ? [
      h(Facts, { pairs: facts(decision, asked) }),
      h("details", h("summary", "Why"), h(Decision, { decision })),
    ] : h("p.faint", "Deciding"));
}

function facts(decision, asked) {
  const length = asked.messages.reduce((sum, one) => sum + one.content.length, 0);
  const input = Math.max(1, Math.ceil(length / 4));
  const output = asked.max_completion_tokens ?? GUESSED;
  const [first] = decision.plan;
  const cost = estimate(first?.price, input, output);
  const rules = decision.trace.filter((step) => step.matched && ["rule", "guard"].includes(step.step)).map((step) => step.why);
  const score = decision.trace.find((step) => step.step === "classifier");
  const sure = decision.confidence < 0.5 ? "low" : decision.confidence < 0.8 ? "medium" : "high";
  return [
    ["Tier", tier(decision.tier)],
    ["Model", `${first.provider}/${first.model}`],
    ["Decided by", decision.rule ? `${decision.source} “${decision.rule}”` : decision.source],
    ["Rules that matched", rules.join(", ")],
    ["Classifier", score && `${score.why}${decision.confidence === null ? "" : `, confidence ${sure}`}`],
    ["Estimate", cost === null ? "price unknown" : `${usd(cost)} for about ${count(input)} tokens in and ${count(output)} out`],
  ];
}

function Answer({ answer }) {
  const { text, thought, tone, state, problem, ended } = answer;
  return h("div.answer", h("section.panel", { "aria-label": "Answer" },
    h("div.panel-head", h("h2", "Answer"), h("span.tag", { class: tone || null }, state)),
    thought ? h("details", h("summary", "Reasoning"), h("pre.said.thought", { tabindex: 0, "aria-label": "Reasoning" }, thought)) : null,
    h("pre.said", { tabindex: 0, "aria-label": "Answer" }, text),
    h("div", { role: "status" }, problem ? h("p.wrong", problem) : null, ended ? h("div.bill", h(Bill, answer)) : null)));
}

function Bill({ id, first, usage, row }) {
  return h(Part, { title: "What it came to" }, h(Facts, { pairs: [
    ["First token here", first === null ? null : seconds(first)],
    ["Tier", row && tier(row.tier)],
    ["Model", row && `${row.provider}/${row.model}`],
    ["Tokens in", count(row ? sum(row, ["input", "cache_read", "cache_write"]) : usage?.prompt_tokens)],
    ["Tokens out", count(row ? sum(row, ["output", "reasoning"]) : usage?.completion_tokens)],
    ["Cost", row ? (row.cost === null ? "unknown" : `${usd(row.cost)} (${row.cost})`) : null],
    ["Billed to", row?.key],
    ["State", row?.state],
    ["Call", id && h("a", { href: `#/calls/${encodeURIComponent(id)}` }, id)],
  ] }));
}

function errorText(text) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return text;
  }
}

function explain(error) {
  return error instanceof TypeError ? `It could not be sent: ${error.message}` : error.message;
}

function sum(row, names) {
  const known = names.map((name) => row[name]).filter((one) => one !== null);
  return known.length ? known.reduce((all, one) => all + one, 0) : null;
}
