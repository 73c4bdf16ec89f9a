// The frame of all pages: who is signed in, navigation by the address's hash, the theme.
import { api, session, Refused, Signed } from "./api.js";
import { clear, h, icon, say } from "./draw.js";
import { readQuestion, sharedPairs } from "./question.js";

const PAGES = [
  ["overview", "Overview", "chart"],
  ["calls", "Calls", "list"],
  ["latency", "Latency", "clock"],
  ["targets", "Targets", "target"],
  ["budgets", "Budgets", "coin"],
  ["keys", "Keys", "key"],
  ["playground", "Playground", "play"],
  ["rules", "Rules", "rules"],
];
const FIRST = PAGES[0][0];
/** The pages whose time and filters are the same. */
const CARRYING = new Set(["overview", "calls", "latency"]);
const TEAM_PAGES = ["overview", "calls", "latency"]; // for people who see one team alone

let left = new AbortController(); // ends what the page before has begun
let main, heading, nav;
let gone; // to this page, last of all

start();

async function start() {
  addEventListener("hashchange", () => show());
  try {
    await session.load();
  } catch (error) {
    frame();
    failed(error);
    return;
  }
  enter();
}

/** Draws what whoever is here may see: the pages, or the door. */
function enter() {
  if (session.refused) door(h("p", session.refused.split(" Set TIERGATE")[0]), setting());
  else if (session.signedIn) {
    frame();
    show();
  } else door(form(failure()));
}

/** Why a sign-in by the identity provider has failed, as the address says. */
function failure() {
  const texts = {
    "no-role": "You are known to the identity provider, and have no role here. Ask the operator.",
    away: "The identity provider cannot be reached. Try again soon.",
    failed: "The sign-in has failed or took too long. Begin again.",
  };
  return texts[new URLSearchParams(location.search).get("sign-in")] ?? "";
}

function frame() {
  gone = undefined;
  nav = h("nav", { "aria-label": "Pages" }, h("ul", seen().map(link)));
  main = h("main#main", { tabindex: -1 });
  heading = h("h1", { tabindex: -1 });
  const tools = h("div.tools", session.person ? h("p.faint", `${session.person}, ${session.team ? `${session.role} of ${session.team}` : session.role}`) : null, theme(), session.needed ? leave() : null);
  const skip = h("a.skip", { href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "Skip to content");
  const brand = h("a.brand", { href: `#/${FIRST}`, "aria-label": "tiergate, overview" }, icon("mark"), h("span", "tiergate"));
  const side = h("header.side", brand, nav, tools);
  document.body.replaceChildren(skip, h("div.frame", side, main), h("p#said.hidden", { role: "status", "aria-live": "polite" }));
}

/** The pages that whoever is here may see. */
function seen() {
  return session.team ? PAGES.filter(([name]) => TEAM_PAGES.includes(name)) : PAGES;
}

function link([name, label, picture]) {
  return h("li", h("a", { href: `#/${name}`, "data-page": name }, icon(picture), h("span", label)));
}

/** The page that the hash names: `#/name?a=b`, or `#/name/item?a=b`. */
async function show() {
  if (!main) return;
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, item = ""] = path.split("/");
  const page = seen().some(([one]) => one === name) ? name : FIRST;
  left.abort();
  left = new AbortController();
  const { signal } = left;
  for (const one of nav.querySelectorAll("a")) {
    if (one.dataset.page === page) {
      one.setAttribute("aria-current", "page");
      one.scrollIntoView({ block: "nearest", inline: "center" });
    } else one.removeAttribute("aria-current");
  }
  const moved = gone !== undefined && gone !== page;
  gone = page;
  try {
    const module = await import(`./pages/${page}.js`);
    if (signal.aborted) return;
    main.dataset.page = page;
    document.title = `${module.title} · tiergate`;
    heading.textContent = module.title;
    const root = h("div.page");
    clear(main).append(heading, root);
    if (moved) heading.focus({ preventScroll: true });
    scrollTo(0, 0);
    if (CARRYING.has(page)) carry(query);
    await module.render(root, { api, params: new URLSearchParams(query), signal, keep, session, item: plain(item) });
  } catch (error) {
    if (!signal.aborted) failed(error);
  }
}

/** Keeps what was chosen on this page in the address, without drawing it again: an object, or `[name, value]` pairs. */
function keep(params, item = "") {
  history.replaceState(null, "", address(item ? `${main.dataset.page}/${encodeURIComponent(item)}` : main.dataset.page, params));
  carry(params);
}

/** Lets the links to pages of calls keep the time and the filters. */
function carry(params) {
  const shared = sharedPairs(readQuestion(new URLSearchParams(params), { range: "any" }));
  for (const one of nav.querySelectorAll("a")) if (CARRYING.has(one.dataset.page)) one.href = address(one.dataset.page, shared);
}

/** A part of an address, where it can be read. */
function plain(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

function address(page, params) {
  const query = new URLSearchParams([...new URLSearchParams(params)].filter(([, value]) => value !== ""));
  return `#/${page}${query.size ? `?${query}` : ""}`;
}

function failed(error) {
  if (error instanceof Signed) {
    session.signedIn = false;
    left.abort();
    door(form("Your session has ended. Sign in again."));
    return;
  }
  if (error.name === "AbortError") return;
  const known = error instanceof Refused;
  if (!known) console.error(error);
  const text = known ? error.message : "This page could not be drawn.";
  clear(main).append(heading, h("div.notice.bad", { role: "alert" }, h("p", text), h("button", { type: "button", onclick: () => show() }, "Try again")));
}
/** What went wrong on a page that goes on, above it; it goes where nothing is wrong any more. */
function trouble(error) {
  if (error instanceof Signed) return failed(error);
  const old = main?.querySelector(":scope > .trouble");
  if (!error || !main) return old?.remove();
  if (old?.textContent === error.message) return undefined;
  old?.remove();
  return heading.after(h("div.notice.warn.trouble", { role: "alert" }, h("p", error.message)));
}
addEventListener("trouble", (event) => trouble(event.detail));
// What a control has asked for, and was refused.
addEventListener("unhandledrejection", (event) => {
  const { reason } = event;
  if (reason?.name === "AbortError") event.preventDefault();
  if (!(reason instanceof Refused)) return;
  event.preventDefault();
  trouble(reason);
});

function door(...parts) {
  main = undefined;
  document.title = "Sign in · tiergate";
  const box = h("main.door", h("div.brand", icon("mark"), h("span", "tiergate")), ...parts);
  document.body.replaceChildren(box, h("p#said.hidden", { role: "status", "aria-live": "polite" }));
  box.querySelector("input")?.focus();
}

function form(told = "") {
  const key = h("input#key", { type: "password", autocomplete: "current-password", required: true, spellcheck: false, "aria-describedby": "told hint" });
  const note = h("p#told.wrong", { role: "alert" }, told);
  const button = h("button.main", { type: "submit" }, "Sign in");
  const provider = session.provider ? h("p", h("a.button.main", { href: "/dashboard/sign-in" }, "Sign in with your organisation")) : null;
  const made = h("form", { onsubmit: enters },
    h("h1", "Sign in"),
    provider,
    h("label", { for: "key" }, "Admin key"), key, note, button,
    h("p#hint.faint", "It is the value of ", h("code", "TIERGATE_ADMIN_KEY"), ", or a key with ", h("code", "admin: true"), "."));
  async function enters(event) {
    event.preventDefault();
    button.disabled = true;
    try {
      await session.begin(key.value);
      key.value = "";
      enter();
    } catch (error) {
      note.textContent = error.message;
      key.setAttribute("aria-invalid", "true");
      key.select();
      key.focus();
    } finally {
      button.disabled = false;
    }
  }
  return made;
}

/** How an admin key is set, for whoever may not see anything without one. */
function setting() {
  return h("div",
    h("h1", "Set an admin key"),
    h("ol",
      h("li", "Make one, for example with ", h("code", "openssl rand -hex 32"), "."),
      h("li", "Start the gateway with ", h("code", "TIERGATE_ADMIN_KEY=<key>"), " in its environment."),
      h("li", "Open this page again, and sign in with it.")),
    h("p.faint", "Without one, only a browser on the gateway's own machine sees the dashboard."));
}

function leave() {
  const act = async () => {
    await session.end();
    left.abort();
    enter();
  };
  return h("button.quiet", { type: "button", onclick: act }, icon("leave"), h("span", "Sign out"));
}

function theme() {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark")) === "dark";
  const button = h("button.quiet", { type: "button" });
  const tell = () => clear(button).append(icon(dark() ? "sun" : "moon"), h("span", dark() ? "Light theme" : "Dark theme"));
  button.onclick = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem("tiergate-theme", root.dataset.theme);
    tell();
    say(`${dark() ? "Dark" : "Light"} theme`);
    dispatchEvent(new Event("themechange"));
  };
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => {
    tell();
    dispatchEvent(new Event("themechange"));
  });
  tell();
  return button;
}
