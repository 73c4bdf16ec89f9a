// How targets and accounts stand.
import { empty, every, h, icon, panel, table } from "../draw.js";
import { ago, count, seconds } from "../figures.js";

export const title = "Targets";
const TONES = { closed: ["good", "check", "asked"], open: ["bad", "off", "out"], half_open: ["warn", "warn", "on trial"] };

export async function render(root, page) {
  const body = h("div.page");
  root.append(body);
  async function load() {
    const told = await page.api("/admin/health", { signal: page.signal });
    if (!page.signal.aborted) body.replaceChildren(...parts(told));
  }
  await every(5, load, page.signal);
}

function state({ state: found }) {
  const [tone, picture, text] = TONES[found] ?? ["", "warn", found];
  return h("span.tag", { class: tone }, icon(picture), text);
}

function parts({ targets }) {
  if (!targets.length) return [panel("Targets", {}, empty("No target can be asked", "No provider has a credential. `tiergate check` says which are off and why."))];
  return [panel("Targets", { note: "As this worker knows them" }, table("Targets", [
    { name: "model", label: "Model", cell: (row) => row.model, order: (row) => row.model },
    { name: "provider", label: "Provider", cell: (row) => row.provider, order: (row) => row.provider },
    { name: "account", label: "Account", cell: (row) => row.account, order: (row) => row.account },
    { name: "state", label: "State", cell: state, order: (row) => row.state },
    { name: "answered", label: "Answered", number: true, cell: (row) => count(row.answered), order: (row) => row.answered },
    { name: "failed", label: "Failed", number: true, cell: (row) => count(row.failed), order: (row) => row.failed },
    { name: "usual", label: "Usual time", number: true, cell: (row) => seconds(row.usual), order: (row) => row.usual },
    { name: "error", label: "Last error", cell: (row) => (row.error ? `${row.error}, ${ago(row.error_at)}` : "–") },
  ], targets, { sort: "model" }))];
}
