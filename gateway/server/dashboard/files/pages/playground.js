// A prompt, what would be decided for it on every lab, and the real answer through the gateway's own endpoint.
import { choice, clear, h, say } from "../draw.js";
import { count, seconds, usd } from "../figures.js";
import { decision, estimate, facts, part, tier } from "../trace.js";

export const title = "Playground";

const CHAT = "/v1/chat/completions";
const GUESSED = 500; // tokens of an answer whose length nobody has bounded
const AT_ONCE = 4;
const LOOKS = 20;

export async function render(root, { api, signal, session }) {
  let running = null; // of an answer that is streaming
  let labs = [];

  const key = h("input#key", { type: "password", autocomplete: "off", spellcheck: false, "aria-describedby": "key-note", onchange: () => know() });
  const note = h("p#key-note.faint", { role: "status" });
  const model = h("input#model", { type: "text", value: "auto", list: "models", autocomplete: "off", spellcheck: false });
  const models = h("datalist#models");
  const tags = h("input#tags", { type: "text", autocomplete: "off", spellcheck: false, placeholder: "support, eu" });
  const most = h("input#most", { type: "number", min: 1, max: 1000000, step: 1 });
  let lab = "";
  let pin = "";
  const places = h("div.bar");
  const system = h("textarea#system", { rows: 2 });
  const turns = h("div.turns");
  const decide = h("button", { type: "button", onclick: () => decided() }, "Decide");
  const send = h("button.main", { type: "submit" }, "Send");
  const stop = h("button.danger", { type: "button", hidden: true, onclick: () => running?.abort() }, "Stop");
  const answer = h("div.answer", { hidden: true });
  const cards = h("div.cards");
  const form = h("form.panel.ask", { "aria-label": "Prompt", autocomplete: "off", onsubmit: (event) => { event.preventDefault(); sent(); }, onkeydown: quick },
    h("div.pair", named("Gateway key", key, note), named("Model", model), named("Tags", tags), named("Most tokens of the answer", most)),
    places, named("System", system), turns,
    h("div.bar", h("button.quiet", { type: "button", onclick: () => add("user", "", true) }, "Add a message"), h("div.end", decide, stop, send)));
  root.append(form, models, answer, cards);
  add("user", "");
  signal.addEventListener("abort", () => running?.abort());
  await know();

  function named(label, box, ...more) {
    return h("div.named", h("label", { for: box.id }, label), box, more);
  }

  function quick(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      sent();
    }
  }

  function add(role, text, go = false) {
    const number = turns.children.length + 1;
    const words = h("textarea", { rows: 4, "aria-label": `Message ${number}`, value: text });
    const who = choice("Role", [["user", "User"], ["assistant", "Assistant"]], role, () => {}, { hide: true });
    const turn = h("div.turn", h("div.turn-head", who, number > 1 ? h("button.quiet", { type: "button", "aria-label": `Remove message ${number}`, onclick: () => turn.remove() }, "Remove") : null), words);
    turns.append(turn);
    if (go) words.focus();
  }

  /** What this key may ask for. The key stays in this page: it is in no address and in no storage. */
  async function know() {
    if (!key.value && !session.open) {
      note.textContent = "Calls are billed to the key that you enter; it stays in this page only.";
      return;
    }
    try {
      const reply = await door("/v1/models", { signal });
      const told = await reply.json();
      if (!reply.ok) {
        note.textContent = told.error.message;
        return;
      }
      const names = told.data.map((one) => one.id);
      labs = names.filter((name) => name.endsWith("/auto")).map((name) => name.slice(0, -"/auto".length));
      models.replaceChildren(...names.map((name) => h("option", { value: name })));
      note.textContent = key.value ? "Calls are billed to this key; it stays in this page only." : "Keys are open: none is needed.";
      clear(places).append(
        choice("Lab", [["", "As the key has it"], ...labs.map((name) => [name, name])], lab, (value) => { lab = value; }),
        choice("Tier", [["", "As it is decided"], ["fast", "Fast"], ["smart", "Smart"], ["reasoning", "Reasoning"]], pin, (value) => { pin = value; }));
    } catch (error) {
      if (!signal.aborted) note.textContent = told(error);
    }
  }

  /** Asks as a client does: with the key alone, never with the session of whoever is signed in. */
  function door(path, { headers = {}, json, signal: ends } = {}) {
    const own = { ...headers };
    if (key.value) own.authorization = `Bearer ${key.value}`;
    if (json !== undefined) own["content-type"] = "application/json";
    return fetch(path, { method: json === undefined ? "GET" : "POST", headers: own, body: json === undefined ? undefined : JSON.stringify(json), signal: ends, credentials: "omit", redirect: "error" });
  }

  function body() {
    const messages = [...turns.children].map((turn) => ({ role: turn.querySelector("select").value, content: turn.querySelector("textarea").value }));
    if (system.value) messages.unshift({ role: "system", content: system.value });
    return { model: model.value.trim(), messages, ...(most.value ? { max_completion_tokens: Number(most.value) } : {}) };
  }

  function steering(more = {}) {
    const found = { ...more };
    const said = tags.value.split(",").map((one) => one.trim()).filter(Boolean).join(",");
    if (said) found["x-tiergate-tags"] = said;
    if (lab && !found["x-tiergate-lab"]) found["x-tiergate-lab"] = lab;
    if (pin) found["x-tiergate-tier"] = pin;
    return found;
  }

  /** The decision on every lab, without asking a provider. */
  async function decided() {
    decide.disabled = true;
    clear(cards);
    try {
      const asked = body();
      const places = labs.length ? labs : [""];
      const boxes = places.map((name) => h("section.panel.card", { "aria-label": name || "Decision" }, h("div.panel-head", h("h2", name || "Decision")), h("p.faint", "Deciding")));
      cards.append(...boxes);
      let next = 0;
      const work = async () => {
        while (next < places.length) {
          const at = next;
          next += 1;
          await one(places[at], boxes[at], asked);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      if (!signal.aborted) say(`Decided on ${count(places.length)} ${places.length === 1 ? "lab" : "labs"}`);
    } finally {
      decide.disabled = false;
    }
  }

  async function one(name, box, asked) {
    const head = h("div.panel-head", h("h2", name || "Decision"));
    try {
      const reply = await door("/v1/route", { json: asked, headers: steering(name ? { "x-tiergate-lab": name } : {}), signal });
      const found = await reply.json();
      if (!reply.ok) box.replaceChildren(head, h("p.wrong", found.error.message));
      else box.replaceChildren(head, ...card(found, asked));
    } catch (error) {
      if (!signal.aborted) box.replaceChildren(head, h("p.wrong", told(error)));
    }
  }

  function card(found, asked) {
    const length = asked.messages.reduce((sum, one) => sum + one.content.length, 0);
    const input = Math.max(1, Math.ceil(length / 4));
    const output = asked.max_completion_tokens ?? GUESSED;
    const cost = estimate(found.plan[0]?.price, input, output);
    const rules = found.trace.filter((step) => step.matched && ["rule", "guard"].includes(step.step)).map((step) => step.why);
    const score = found.trace.find((step) => step.step === "classifier");
    return [
      facts([
        ["Tier", tier(found.tier)],
        ["Model", `${found.plan[0].provider}/${found.plan[0].model}`],
        ["Decided by", found.rule ? `${found.source} “${found.rule}”` : found.source],
        ["Rules that matched", rules.join(", ")],
        ["Classifier", score && `${score.why}${found.confidence === null ? "" : `, confidence ${found.confidence < 0.5 ? "low" : found.confidence < 0.8 ? "medium" : "high"}`}`],
        ["Estimate", cost === null ? "price unknown" : `${usd(cost)} for about ${count(input)} tokens in and ${count(output)} out`],
      ]),
      h("details", h("summary", "Why"), decision(found)),
    ];
  }

  /** The answer, streamed by the same endpoint as every client's. */
  async function sent() {
    if (running) return;
    running = new AbortController();
    const ends = running.signal;
    const text = h("pre.said", { tabindex: 0, "aria-label": "Answer" });
    const thought = h("pre.said.thought", { tabindex: 0, "aria-label": "Reasoning" });
    const thinking = h("details", { hidden: true }, h("summary", "Reasoning"), thought);
    const state = h("span.tag", "waiting");
    const after = h("div", { role: "status" });
    answer.hidden = false;
    answer.replaceChildren(h("section.panel", { "aria-label": "Answer" }, h("div.panel-head", h("h2", "Answer"), state), thinking, text, after));
    send.disabled = true;
    stop.hidden = false;
    const began = performance.now();
    let first = null;
    let usage = null;
    let id = null;
    const seen = () => {
      if (first === null) {
        first = (performance.now() - began) / 1000;
        state.textContent = `first token after ${seconds(first)}`;
      }
    };
    try {
      const asked = { ...body(), stream: true, stream_options: { include_usage: true } };
      const reply = await door(CHAT, { json: asked, headers: steering(), signal: ends });
      id = reply.headers.get("x-request-id");
      if (!reply.ok) {
        state.className = "tag bad";
        state.textContent = String(reply.status);
        text.textContent = raw(await reply.text());
        return;
      }
      for await (const event of events(reply.body)) {
        if (event.error) {
          state.className = "tag bad";
          after.append(h("p.wrong", event.error.message ?? raw(JSON.stringify(event))));
          continue;
        }
        usage = event.usage ?? usage;
        const delta = event.choices?.[0]?.delta ?? {};
        const reasoned = delta.reasoning_content ?? delta.reasoning;
        if (reasoned) {
          seen();
          thinking.hidden = false;
          thought.append(words(reasoned));
        }
        if (delta.content?.length) {
          seen();
          text.append(words(delta.content));
        }
        if (delta.refusal) text.append(delta.refusal);
      }
      if (!state.classList.contains("bad")) {
        state.className = "tag good";
        state.textContent = "complete";
      }
      say("The answer is complete");
    } catch (error) {
      if (signal.aborted) return;
      const stopped = error.name === "AbortError";
      state.className = stopped ? "tag warn" : "tag bad";
      state.textContent = stopped ? "stopped" : "failed";
      if (!stopped) after.append(h("p.wrong", told(error)));
      say(stopped ? "Stopped" : "The answer has failed");
    } finally {
      running = null;
      send.disabled = false;
      stop.hidden = true;
    }
    if (!signal.aborted) await bill(id, first, usage, after);
  }

  /** What it came to, as the ledger has it. */
  async function bill(id, first, usage, after) {
    const shown = h("div.bill");
    after.append(shown);
    const draw = (row) => shown.replaceChildren(part("What it came to", facts([
      ["First token here", first === null ? null : seconds(first)],
      ["Tier", row && tier(row.tier)],
      ["Model", row && `${row.provider}/${row.model}`],
      ["Tokens in", count(row ? sum(row, ["input", "cache_read", "cache_write"]) : usage?.prompt_tokens)],
      ["Tokens out", count(row ? sum(row, ["output", "reasoning"]) : usage?.completion_tokens)],
      ["Cost", row ? (row.cost === null ? "unknown" : `${usd(row.cost)} (${row.cost})`) : null],
      ["Billed to", row?.key],
      ["State", row?.state],
      ["Call", id && h("a", { href: `#/calls/${encodeURIComponent(id)}` }, id)],
    ])));
    draw(null);
    for (let look = 0; id && look < LOOKS && !signal.aborted; look += 1) {
      try {
        draw(await api(`/admin/entries/${encodeURIComponent(id)}`, { signal }));
        return;
      } catch (error) {
        if (error.status !== 404) throw error;
        await new Promise((done) => { setTimeout(done, 250); });
      }
    }
  }
}

/** The events of a stream of Chat Completions. */
async function* events(stream) {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const frames = rest.split(/\r?\n\r?\n/);
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
    if (done) return;
  }
}

/** The text of a piece of an answer; some providers send lists of parts. */
function words(piece) {
  if (Array.isArray(piece)) return piece.map(words).join("");
  return typeof piece === "string" ? piece : words(piece?.text ?? piece?.thinking ?? "");
}

function raw(text) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return text;
  }
}

function told(error) {
  return error instanceof TypeError ? `It could not be sent: ${error.message}` : error.message;
}

function sum(row, names) {
  const known = names.map((name) => row[name]).filter((one) => one !== null);
  return known.length ? known.reduce((all, one) => all + one, 0) : null;
}
