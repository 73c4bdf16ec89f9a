"""The configuration of claude-code-router (config.json): its routes become tiers and rules."""

import hashlib
import re
from urllib.parse import urlsplit

from gateway.core.target import TIERS, Tier
from gateway.importers import providers
from gateway.importers.draft import (
    ConfigDraft,
    DraftTarget,
    Part,
    count,
    mapping,
    plain,
    rows,
    safe,
    seconds,
    slug,
    span,
    text,
)
from gateway.importers.providers import ShippedProviders
from gateway.settings.errors import Path

_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
_LONG = 60_000
_PINS = "a model that is named is a pin, before all rules. Set ANTHROPIC_MODEL=claude-auto."
_ENDS = {
    "/chat/completions": ("openai-chat", "bearer"),
    "/messages": ("anthropic-messages", "x-api-key"),
    "/responses": ("openai-responses", "bearer"),
    "/v1beta/models": ("gemini", "x-goog-api-key"),
}
_DONE = {
    "maxtoken": "",
    "anthropic": "the provider is called in Anthropic's dialect.",
    "tooluse": "is not needed: tools are translated as they are.",
    "enhancetool": "is not carried over: arguments of tools are not repaired.",
    "reasoning": "is not needed: reasoning is translated.",
    "sampling": "is not needed: what a model cannot take is dropped and named.",
    "cleancache": "is not needed: cache marks stay out where a dialect has none.",
}
_HOSTS = ("deepseek", "gemini", "openrouter", "groq", "openai", "cerebras", "vercel")
_QUIET = {"log": "the log is on standard error.", "log_level": "the log is on standard error."}


class ClaudeCodeRouterConfig:
    """One such configuration."""

    def __init__(self, config: Part, draft: ConfigDraft, shipped: ShippedProviders) -> None:
        self._config = config
        self._draft = draft
        self._shipped = shipped
        self._targets: dict[str, DraftTarget] = {}
        """By `provider,model`."""

    def convert(self) -> None:
        """Fill the draft."""
        config = self._config
        for name in ("Providers", "providers"):
            for at, row in enumerate(rows(config.get(name))):
                self._provider(mapping(row), (name, at))
        router = next((name for name in ("Router", "router") if name in config), "Router")
        self._routes(mapping(config.get(router)), (router,))
        self._draft.cache = {"ttl": "0s"}
        self._server()
        used = {
            "Providers",
            "providers",
            router,
            "APIKEY",
            "HOST",
            "PORT",
            "API_TIMEOUT_MS",
            "PROXY_URL",
        }
        for name in config:
            if name not in used:
                why = _QUIET.get(
                    name.lower(), "is not carried over: this gateway has nothing of that name."
                )
                if name in ("transformers", "CUSTOM_ROUTER_PATH"):
                    why = "is a program of yours: say it in rules (docs/routing.md)."
                self._draft.note("dropped", (name,), why)

    def _provider(self, row: Part, path: Path) -> None:
        name, url = text(row.get("name")), plain(text(row.get("api_base_url"))).rstrip("/")
        models = [one for one in rows(row.get("models")) if isinstance(one, str) and one.strip()]
        if not name or not models or not providers.is_url(url):
            self._draft.note("dropped", path, "has no name, no models, or no api_base_url of HTTP.")
            return
        refers = _reference(row.get("api_key"))
        host = slug(name)
        credential = self._draft.variable(
            row.get("api_key"), host, (*path, "api_key"), refers=refers
        )
        transformer = mapping(row.get("transformer"))
        part = self._door(url, _uses(transformer))
        if credential is None:
            part["auth"] = "none"
        else:
            part["accounts"] = {"main": credential}
        proxy = text(self._config.get("PROXY_URL"))
        if proxy and not providers.is_local(url):
            if providers.is_url(plain(proxy)) and "@" not in proxy:
                part["proxy"] = plain(proxy)
                self._draft.note(
                    "kept", ("PROXY_URL",), "for each provider that is not on this machine."
                )
            else:
                self._draft.note(
                    "dropped",
                    ("PROXY_URL",),
                    "has a password, or is no URL: write it as a variable.",
                )
        total = seconds(self._config.get("API_TIMEOUT_MS"), 1000.0)
        if total:
            part["timeouts"] = {"total": span(total)}
            self._draft.note(
                "kept", ("API_TIMEOUT_MS",), f"{total:g} s for a whole answer of each provider."
            )
        provider = self._draft.provider(host, part)
        lines: list[DraftTarget] = []
        for model in models:
            most, params = self._transformed(transformer, model, path)
            target = DraftTarget(provider, plain(model), most, params)
            self._targets[f"{name},{model}"] = target
            lines.append(target)
            self._draft.models |= self._shipped.facts(model)
        lab = self._draft.lab(name, dict.fromkeys(TIERS, lines))
        for target, model in zip(lines, models, strict=True):
            self._draft.alias(f"{name},{model}", target.model, path)
        self._draft.note("kept", path, f"{len(models)} models of {name} are the lab {lab}.")

    def _door(self, url: str, uses: list[str]) -> Part:
        """Where a provider is, what it speaks and how it is told a key."""
        for end, (dialect, auth) in _ENDS.items():
            if url.endswith(end):
                base = url.removesuffix(end) + ("/v1beta" if dialect == "gemini" else "")
                door = "" if dialect == "gemini" else end
                if dialect == "gemini":
                    base, door = url.removesuffix("/v1beta/models"), "/v1beta"
                return {"base_url": base, "dialects": {dialect: door}, "auth": auth}
        if any(use.lower() == "anthropic" for use in uses):
            return {
                "base_url": url,
                "dialects": {"anthropic-messages": "/v1/messages"},
                "auth": "x-api-key",
            }
        whole = urlsplit(url).path
        return {
            "base_url": url,
            "dialects": {"openai-chat": "/chat/completions" if whole else "/v1/chat/completions"},
        }

    def _transformed(self, transformer: Part, model: str, path: Path) -> tuple[int | None, Part]:
        """Most tokens of an answer and parameters, by what the provider's transformers do."""
        most: int | None = None
        params: Part = {}
        here: Path = (*path, "transformer")
        for use, options in [*_parsed(transformer), *_parsed(mapping(transformer.get(model)))]:
            word = use.lower()
            if word == "maxtoken":
                most = count(options.get("max_tokens")) or most
                if most:
                    self._draft.note("kept", here, f"maxtoken: {most} tokens at most.")
            elif word == "openrouter" and isinstance(options.get("provider"), dict):
                params["provider"] = safe(options["provider"])
                self._draft.note("kept", here, "openrouter: which hosts it may take.")
            elif word in _DONE:
                self._draft.note("changed", here, f"{use}: {_DONE[word]}")
            elif word in _HOSTS:
                self._draft.note("kept", here, f"{use}: is how this provider is called.")
            else:
                self._draft.note("dropped", here, f"{use}: nothing here does what it did.")
        return most, params

    def _routes(self, router: Part, path: Path) -> None:
        found = {
            name: self._route(router, name, path)
            for name in (
                "default",
                "background",
                "think",
                "longContext",
                "webSearch",
                "image",
                "fallback",
            )
        }
        first = found["default"] or next(iter(self._targets.values()), None)
        if first is None:
            return
        again = [one for one in (found["fallback"],) if one is not None]
        tiers: dict[Tier, list[DraftTarget]] = {
            "fast": [found["background"] or first, *again],
            "smart": [first, *again],
            "reasoning": [found["think"] or first, *again],
        }
        about = "The routes: background is fast, default is smart, think is reasoning."
        self._draft.default = {"lab": self._draft.lab("main", tiers, about), "tier": "smart"}
        if found["default"]:
            self._draft.note(
                "kept", (*path, "default"), "is the tier smart, and what decides nothing else."
            )
        if found["background"]:
            self._draft.note(
                "kept", (*path, "background"), "is the tier fast: calls that name a haiku model."
            )
        if found["think"]:
            told = (
                "is the tier reasoning: calls that name an opus model, or that are hard to answer."
            )
            self._draft.note("changed", (*path, "think"), told)
        if found["fallback"]:
            self._draft.note("kept", (*path, "fallback"), "stands behind each tier.")
        self._rules(router, found, path)
        known = {*found, "longContextThreshold"}
        for name in router:
            if name not in known:
                self._draft.note("dropped", (*path, name), "is no route that is known here.")

    def _rules(self, router: Part, found: dict[str, DraftTarget | None], path: Path) -> None:
        most = count(router.get("longContextThreshold")) or _LONG
        whens: dict[str, tuple[str, Part]] = {
            "longContext": ("long contexts", {"prompt_tokens": {"min": most + 1}}),
            "webSearch": ("searches of the web", {"tool_names": ["web_search*"]}),
            "image": ("images", {"images": True}),
        }
        for route, (name, when) in whens.items():
            if (target := found[route]) is None:
                continue
            self._draft.choices.append({"name": name, "when": when, "model": target.model})
            more = f", above {most:,} tokens" if route == "longContext" else ""
            told = f"the rule {name!r}{more}, for clients that ask for claude-auto: {_PINS}"
            self._draft.note("changed", (*path, route), told)

    def _route(self, router: Part, name: str, path: Path) -> DraftTarget | None:
        said = router.get(name)
        if said is None or said == "":
            return None
        found = self._targets.get(text(said)) or self._targets.get(
            re.sub(r"\s*,\s*", ",", text(said), count=1)
        )
        if found is None:
            self._draft.note(
                "dropped", (*path, name), f"{said!r} is no model of a provider that was kept."
            )
        return found

    def _server(self) -> None:
        host, port = text(self._config.get("HOST")), count(self._config.get("PORT"), 65_535)
        key = self._config.get("APIKEY")
        if isinstance(key, str) and key.strip() and _reference(key) is None:
            digest = hashlib.sha256(key.strip().encode("utf-8", "replace")).hexdigest()
            self._draft.environ["TIERGATE_KEYS"] = f"claude-code={digest}"
            self._draft.note(
                "changed", ("APIKEY",), "still opens calls: its hash is in TIERGATE_KEYS."
            )
        elif key:
            self._draft.note(
                "changed", ("APIKEY",), "set TIERGATE_KEYS to claude-code=<its SHA-256>."
            )
        closed = "TIERGATE_KEYS" in self._draft.environ
        if (
            host
            and re.fullmatch(r"[A-Za-z0-9.:-]+", host)
            and (closed or host in ("127.0.0.1", "localhost"))
        ):
            self._draft.server["host"] = host
            self._draft.note("kept", ("HOST",), host)
        elif host:
            self._draft.note("dropped", ("HOST",), "beyond this machine clients need keys.")
        if port is not None:
            self._draft.server["port"] = port
            self._draft.note("kept", ("PORT",), str(port))


def _reference(value: object) -> str | None:
    found = _VARIABLE.fullmatch(value.strip()) if isinstance(value, str) else None
    return found[1] if found else None


def _parsed(transformer: Part) -> list[tuple[str, Part]]:
    """The transformers of a list: names, or names with options."""
    found: list[tuple[str, Part]] = []
    for one in rows(transformer.get("use")):
        if isinstance(one, str):
            found.append((one, {}))
        elif isinstance(one, list) and one and isinstance(one[0], str):
            found.append((one[0], mapping(one[1]) if len(one) > 1 else {}))
    return found


def _uses(transformer: Part) -> list[str]:
    return [name for name, _ in _parsed(transformer)]
