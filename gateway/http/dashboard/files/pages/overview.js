// What calls cost, and who made them.
import { empty, every, h, panel, table } from "../draw.js";
import { brief, count, figure, money, share } from "../figures.js";
import { GROUPS, question } from "../range.js";

export const title = "Overview";

export async function render(root, page) {
  const asked = question(page);
  const body = h("div.page");
  root.append(asked.bar(() => load()), body);

  async function load() {
    const query = { by: asked.by, ...asked.times() };
    const told = await page.api("/admin/costs", { query, signal: page.signal });
    if (!page.signal.aborted) body.replaceChildren(...parts(told, asked));
  }
  await every(asked.beat(), load, page.signal);
}

function parts({ total, groups }, asked) {
  if (total.calls === 0) {
    return [panel("No calls in this time", {}, empty("There is nothing to show yet",
      "Point an application at this gateway, or widen the range. Calls are here a second after they end."))];
  }
  const tokens = total.input === null && total.output === null ? null : (total.input ?? 0) + (total.cache_read ?? 0) + (total.cache_write ?? 0) + (total.output ?? 0);
  const label = GROUPS.find(([name]) => name === asked.by)[1];
  const name = (row) => row[asked.by] ?? "none";
  return [
    h("dl.figures",
      figure("Cost", money(total.cost, total.unknown)),
      figure("Saved", money(total.saved)),
      figure("Calls", brief(total.calls)),
      figure("Tokens", brief(tokens)),
      figure("From the cache", share(total.cached, total.calls)),
      figure("Failed", share(total.failed, total.calls), { tone: total.failed ? "bad" : null })),
    panel(`By ${label.toLowerCase()}`, {}, table(`Calls by ${label.toLowerCase()}`, [
      { name: "name", label, cell: name, order: name },
      { name: "calls", label: "Calls", number: true, cell: (row) => count(row.calls), order: (row) => row.calls },
      { name: "cost", label: "Cost", unit: "USD", number: true, cell: (row) => money(row.cost, row.unknown), order: (row) => (row.cost === null ? null : Number(row.cost)) },
      { name: "saved", label: "Saved", unit: "USD", number: true, cell: (row) => money(row.saved), order: (row) => (row.saved === null ? null : Number(row.saved)) },
      { name: "failed", label: "Failed", number: true, cell: (row) => count(row.failed), order: (row) => row.failed },
    ], groups, { sort: "-cost" })),
  ];
}
