// Which time a page is about, and how it is put together: controls that several pages have.
import { choice, h, segments } from "./draw.js";

export const RANGES = { "1h": 3600, "24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400 };
const NAMES = [["1h", "1 h", "Last hour"], ["24h", "24 h", "Last 24 hours"], ["7d", "7 d", "Last 7 days"], ["30d", "30 d", "Last 30 days"], ["custom", "Custom", "Custom range"]];
export const GROUPS = [["tier", "Tier"], ["lab", "Lab"], ["model", "Model"], ["key", "Key"], ["user", "User"], ["team", "Team"], ["tenant", "Tenant"], ["rule", "Rule"], ["arm", "Arm"]];
const BEAT = { "1h": 10, "24h": 30, "7d": 60, "30d": 300, custom: 0 };

/**
 * What is asked for, as the address has it: {range, since, until, by}. `times()` are the parameters of the API, and
 * `bar(changed)` the controls, which keep the address.
 */
export function question({ params, keep, session }, { groups = GROUPS } = {}) {
  const asked = {
    range: Object.hasOwn(RANGES, params.get("range")) || params.get("range") === "custom" ? params.get("range") : "24h",
    since: params.get("since") ?? "",
    until: params.get("until") ?? "",
    by: groups.some(([name]) => name === params.get("by")) ? params.get("by") : groups[0][0],
  };
  const kept = () => keep({ range: asked.range, by: asked.by, ...(asked.range === "custom" ? { since: asked.since, until: asked.until } : {}) });
  return Object.assign(asked, {
    zone: session.zone,
    /** Seconds between two looks; 0 where what is asked for is over. */
    beat: () => BEAT[asked.range],
    times() {
      if (asked.range === "custom" && asked.since) return { since: asked.since, until: asked.until };
      return { since: asked.range === "custom" ? "24h" : asked.range };
    },
    bar(changed, ...more) {
      const change = () => { kept(); changed(); };
      const box = (name, label) => h("label.field", h("span", label), h("input", {
        type: "datetime-local", value: asked[name], onchange: (event) => { asked[name] = event.target.value; change(); },
      }));
      const custom = h("div.bar", { hidden: asked.range !== "custom" }, box("since", "From"), box("until", "to"), h("span.faint", session.zone));
      return h("div.bar",
        segments("Range", NAMES, asked.range, (value) => { asked.range = value; custom.hidden = value !== "custom"; change(); }),
        custom,
        choice("Split by", groups, asked.by, (value) => { asked.by = value; change(); }),
        h("div.end", more));
    },
  });
}
