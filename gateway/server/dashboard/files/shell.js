// The frame of all pages: who is signed in, navigation by the address's hash, the theme, and what goes wrong.
import { api, session, Refused, Signed } from "./api.js";
import { h, icon, say } from "./elements.js";
import { readQuestion, sharedPairs } from "./question.js";
import { Component, render, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact.js";

const PAGES = [
  ["overview", "Overview", "chart"],
  ["calls", "Calls", "list"],
  ["latency", "Latency", "clock"],
  ["targets", "Targets", "target"],
  ["budgets", "Budgets", "coin"],
  ["keys", "Keys", "key"],
  ["playground", "Playground", "play"],
  ["rules", "Rules", "rules"],
  ["arms", "Arms", "split"],
  ["labels", "Labels", "check"],
];
const FIRST = PAGES[0][0];
/** The pages whose time and filters are the same. */
const CARRYING = new Set(["overview", "calls", "latency", "arms"]);
const TEAM_PAGES = ["overview", "calls", "latency", "arms"]; // for people who see one team alone
const FAILURES = {
  "no-role": "You are known to the identity provider, and have no role here. Ask the operator.",
  away: "The identity provider cannot be reached. Try again soon.",
  failed: "The sign-in has failed or took too long. Begin again.",
};

addEventListener("unhandledrejection", (event) => { // what a control has asked for, and was refused
  const { reason } = event;
  if (reason?.name === "AbortError") event.preventDefault();
  if (!(reason instanceof Refused)) return;
  event.preventDefault();
  dispatchEvent(new CustomEvent("trouble", { detail: reason }));
});

render(h(Dashboard), document.getElementById("dashboard"));

/** What those who are here may see: the pages, or the door. */
function Dashboard() {
  const [stage, setStage] = useState("");
  const [message, setMessage] = useState(() => FAILURES[new URLSearchParams(location.search).get("sign-in")] ?? "");
  const enter = (text = "") => {
    setMessage(text);
    setStage(session.refused ? "refused" : session.signedIn ? "pages" : "door");
  };
  useEffect(() => { session.load().then(() => enter(message), (error) => { setMessage(error.message); setStage("failed"); }); }, []);
  const leave = (text) => { session.signedIn = false; enter(text); };
  return [
    stage === "pages" ? h(Frame, { leave }) : null,
    stage === "door" ? h(Door, {}, h(SignIn, { message, enter })) : null,
    stage === "refused" ? h(Door, {}, h("p", session.refused.split(" Set TIERGATE")[0]), h(AdminKeyHelp)) : null,
    stage === "failed" ? h(Door, {}, h("div.notice.bad", { role: "alert" }, h("p", message), h("button", { type: "button", onclick: () => location.reload() }, "Try again"))) : null,
    h("p#said.hidden", { role: "status", "aria-live": "polite" }),
  ];
}

/** The page that the hash names: `#/name?a=b`, or `#/name/item?a=b`. */
function readRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, item = ""] = path.split("/");
  return { name: seen().some(([one]) => one === name) ? name : FIRST, item: plain(item), params: new URLSearchParams(query) };
}

/** The pages that those who are here may see. */
function seen() {
  return session.team ? PAGES.filter(([name]) => TEAM_PAGES.includes(name)) : PAGES;
}

/** A part of an address, if it can be read. */
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

function shared(params) {
  return sharedPairs(readQuestion(new URLSearchParams(params), { range: "any" }));
}

function Frame({ leave }) {
  const [route, setRoute] = useState(readRoute);
  const [trouble, setTrouble] = useState("");
  const [carried, carry] = useState([]);
  const main = useRef();
  useLayoutEffect(() => { // at once: an address that changes right after the first drawing counts
    const go = () => setRoute(readRoute());
    const hear = ({ detail: error }) => {
      if (error instanceof Signed) leave("Your session has ended. Sign in again.");
      else setTrouble(error?.message ?? "");
    };
    addEventListener("hashchange", go);
    addEventListener("trouble", hear);
    return () => { removeEventListener("hashchange", go); removeEventListener("trouble", hear); };
  }, []);
  useEffect(() => {
    setTrouble("");
    if (CARRYING.has(route.name)) carry(shared(route.params));
  }, [route]);
  const keep = (params, item = "") => {
    history.replaceState(null, "", address(item ? `${route.name}/${encodeURIComponent(item)}` : route.name, params));
    if (CARRYING.has(route.name)) carry(shared(params));
  };
  const page = useMemo(() => h(PlaceOfPage, { route, keep }), [route]);
  const skip = (event) => { event.preventDefault(); main.current.focus(); };
  return [
    h("a.skip", { href: "#main", onclick: skip }, "Skip to content"),
    h("div.frame",
      h("header.side",
        h("a.brand", { href: `#/${FIRST}`, "aria-label": "tiergate, overview" }, icon("mark"), h("span", "tiergate")),
        h("nav", { "aria-label": "Pages" }, h("ul", seen().map((one) => h(PageLink, { one, current: route.name === one[0], carried })))),
        h("div.tools",
          session.person ? h("p.faint", `${session.person}, ${session.team ? `${session.role} of ${session.team}` : session.role}`) : null,
          h(Theme),
          session.needed ? h("button.quiet", { type: "button", onclick: async () => { await session.end(); leave(""); } }, icon("leave"), h("span", "Sign out")) : null)),
      h("main#main", { tabindex: -1, ref: main, "data-page": route.name }, page,
        trouble ? h("div.notice.warn.trouble", { role: "alert" }, h("p", trouble)) : null)),
  ];
}

function PageLink({ one: [name, label, picture], current, carried }) {
  const link = useRef();
  useEffect(() => { if (current) link.current.scrollIntoView({ block: "nearest", inline: "center" }); }, [current]);
  return h("li", h("a", { href: address(name, CARRYING.has(name) ? carried : []), "data-page": name, "aria-current": current ? "page" : null, ref: link }, icon(picture), h("span", label)));
}

/** The page of a route, once its file is here; whatever it has begun ends when another route comes. */
function PlaceOfPage({ route, keep }) {
  const [loaded, setLoaded] = useState(null);
  const heading = useRef();
  const former = useRef(route.name);
  useEffect(() => {
    let current = true;
    const ending = new AbortController();
    import(`./pages/${route.name}.js`).then(
      (module) => { if (current) setLoaded({ module, route, ending }); },
      () => { if (current) dispatchEvent(new CustomEvent("trouble", { detail: new Refused("This page could not be loaded. Load the dashboard again.", 0) })); });
    return () => { current = false; ending.abort(); };
  }, [route]);
  useLayoutEffect(() => {
    if (!loaded) return;
    document.title = `${loaded.module.title} · tiergate`;
    if (former.current !== loaded.route.name) heading.current.focus({ preventScroll: true });
    former.current = loaded.route.name;
    scrollTo(0, 0);
  }, [loaded]);
  const isCurrent = loaded?.route === route;
  return [
    h("h1", { tabindex: -1, ref: heading }, loaded?.module.title),
    isCurrent ? h(Boundary, {}, h(loaded.module.Page, {
      page: { api, session, keep, params: route.params, item: route.item, signal: loaded.ending.signal },
    })) : null,
  ];
}

/** Says so if a page cannot be drawn. */
class Boundary extends Component {
  componentDidCatch(error) {
    console.error(error);
    this.setState({ failed: true });
  }

  render() {
    if (!this.state.failed) return this.props.children;
    return h("div.notice.bad", { role: "alert" }, h("p", "This page could not be drawn."), h("button", { type: "button", onclick: () => this.setState({ failed: false }) }, "Try again"));
  }
}

function Door({ children }) {
  useEffect(() => {
    document.title = "Sign in · tiergate";
    document.querySelector(".door input")?.focus();
  }, []);
  return h("main.door", h("div.brand", icon("mark"), h("span", "tiergate")), children);
}

function SignIn({ message, enter }) {
  const key = useRef();
  const [wrong, setWrong] = useState(message);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await session.begin(key.current.value);
      key.current.value = "";
      enter();
    } catch (error) {
      setBusy(false);
      setWrong(error.message);
      key.current.setAttribute("aria-invalid", "true");
      key.current.select();
      key.current.focus();
    }
  };
  return h("form", { onsubmit: submit },
    h("h1", "Sign in"),
    session.provider ? h("p", h("a.button.main", { href: "/dashboard/sign-in" }, "Sign in with your organisation")) : null,
    h("label", { for: "key" }, "Admin key"),
    h("input#key", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "wrong hint", ref: key }),
    h("p#wrong.wrong", { role: "alert" }, wrong),
    h("button.main", { type: "submit", disabled: busy }, "Sign in"),
    h("p#hint.faint", "It is the value of ", h("code", "TIERGATE_ADMIN_KEY"), ", or a key with ", h("code", "admin: true"), "."));
}

/** How to set an admin key, for those who may not see anything without one. */
function AdminKeyHelp() {
  return h("div",
    h("h1", "Set an admin key"),
    h("ol",
      h("li", "Make one, for example with ", h("code", "openssl rand -hex 32"), "."),
      h("li", "Start the gateway with ", h("code", "TIERGATE_ADMIN_KEY=<key>"), " in its environment."),
      h("li", "Open this page again, and sign in with it.")),
    h("p.faint", "Without one, only a browser on the gateway's own machine sees the dashboard."));
}

function Theme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: light)");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "light" : "dark")) === "dark";
  const [dark, setDark] = useState(isDark);
  const change = () => {
    setDark(isDark());
    dispatchEvent(new Event("themechange"));
  };
  useEffect(() => {
    system.addEventListener("change", change);
    return () => system.removeEventListener("change", change);
  }, []);
  const press = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    localStorage.setItem("tiergate-theme", root.dataset.theme);
    say(`${isDark() ? "Dark" : "Light"} theme`);
    change();
  };
  return h("button.quiet", { type: "button", onclick: press }, icon(dark ? "sun" : "moon"), h("span", dark ? "Light theme" : "Dark theme"));
}
