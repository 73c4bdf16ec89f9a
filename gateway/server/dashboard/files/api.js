// What is asked of the gateway, and who asks: the same API as everybody has, by the session's cookie.

/** The gateway has refused; its message says what to do. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Nobody is signed in any more. */
export class Signed extends Refused {}

export const session = {
  signedIn: false,
  /** Whether an admin key is set: without one this machine is answered as it is. */
  needed: true,
  /** Whether calls need no key. */
  open: false,
  refused: null,
  zone: "UTC",
  version: "",
  token: null,
  /** Whether people may sign in by an identity provider. */
  provider: false,
  /** Who has signed in by it; null with an admin key. */
  person: null,
  role: "admin",
  /** The team whose calls alone are shown; empty for those of all. */
  team: "",
  async load() {
    take(await ask("/dashboard/session"));
  },
  async begin(key) {
    take(await ask("/dashboard/session", { method: "POST", json: { key } }));
  },
  async end() {
    take(await ask("/dashboard/session", { method: "DELETE" }));
  },
};

function take(told) {
  session.signedIn = told.signed_in;
  session.token = told.token;
  for (const name of ["needed", "open", "refused", "zone", "version", "provider", "person", "role", "team"]) if (name in told) session[name] = told[name];
}

/**
 * Asks for a path and returns its JSON. `query` is an object (lists repeat their name, empty values are left out),
 * `json` a body; `headers` more of them. Throws Refused, or Signed where the session has ended.
 */
export async function api(path, { query = {}, json, method, headers, signal, raw = false } = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) search.append(name, one);
  }
  const url = search.size ? `${path}?${search}` : path;
  try {
    return await ask(url, { method: method ?? (json === undefined ? "GET" : "POST"), json, headers, signal, raw });
  } catch (error) {
    if (error.status === 401 && session.needed && session.signedIn) throw new Signed(error.message, 401);
    throw error;
  }
}

async function ask(url, { method = "GET", json, headers = {}, signal, raw = false } = {}) {
  const own = { ...headers };
  if (json !== undefined) own["content-type"] = "application/json";
  if (method !== "GET" && session.token) own["x-tiergate-csrf"] = session.token;
  let reply;
  try {
    reply = await fetch(url, { method, headers: own, body: json === undefined ? undefined : JSON.stringify(json), signal, credentials: "same-origin", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The gateway does not answer. Is it running?", 0);
  }
  if (raw && reply.ok) return reply;
  const told = await reply.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });
  if (!reply.ok) throw new Refused(told?.error?.message ?? `The gateway answered ${reply.status}.`, reply.status);
  return told;
}
